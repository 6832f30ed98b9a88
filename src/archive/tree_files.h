// The files of a scanned directory, read ahead by several threads, in the order of the tree.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "archive/in_order.h"
#include "base/bytes.h"
#include "base/context.h"
#include "snapshot/reader.h"
#include "snapshot/scan.h"

namespace thaw::archive {

// A file whose bytes are at hand, or are about to come in pieces.
struct TreeFile {
  uint32_t node = 0;
  bool gone = false;  // it vanished after it was listed
  uint16_t mode = 0;
  Owner owner;
  int64_t mtime_ns = 0;
  XattrSet xattrs;
  uint64_t size_bytes = 0;
  std::vector<DataRun> runs;  // of a file with holes
  bool in_pieces = false;
  size_t offset = 0;  // of its bytes in the piece, when they are at hand
};

// What one thread has read: some small files, or a piece of a large one.
struct TreePiece {
  std::vector<TreeFile> files;
  ByteVector bytes;
  uint64_t hole_bytes = 0;  // of a large file: they come before these bytes, and nobody reads them
  bool last = true;         // of a large file, this is the end
};

// Takes nodes in their order and answers what was read of them in that order. Regular files alone;
// hard links are not read. Errors: busy (a file changed while it was read: three times for small
// ones, once for large ones, whose beginning has gone already), denied. The scan outlives it.
class TreeFiles {
 public:
  TreeFiles(const Context& context, const Scan& scan, std::string root_name, unsigned threads);
  ~TreeFiles();

  // The next piece; empty when all files were read.
  Result<std::optional<TreePiece>> next(const Context& context);

 private:
  struct Open;
  Result<> begin_more();
  std::string name_of(uint32_t node) const { return root_name_ + "/" + scan_.tree.path(node); }
  Result<TreePiece> read_run(const Context& context, const std::vector<uint32_t>& nodes) const;
  Result<bool> read_small(uint32_t node, TreePiece& piece) const;
  // What of a large file one thread reads: nothing, where it ends with a hole.
  struct Part {
    uint64_t hole_bytes = 0;
    uint64_t offset = 0;
    uint64_t length = 0;
    bool last = false;
  };
  Part next_part();
  Result<TreePiece> read_part(const Context& context, const std::shared_ptr<Open>& file,
                              const Part& part) const;
  Result<std::shared_ptr<Open>> open(uint32_t node) const;
  Result<> describe(const Open& file, TreeFile& into) const;

  const Scan& scan_;
  const std::string root_name_;
  std::vector<uint32_t> nodes_;
  size_t next_node_ = 0;
  std::shared_ptr<Open> large_;  // the one whose pieces are being read
  std::vector<DataRun> runs_;    // of it, that are not read yet
  size_t next_run_ = 0;
  uint64_t large_offset_ = 0;
  InOrder<TreePiece> work_;  // last: its threads use what is above
};

}  // namespace thaw::archive
