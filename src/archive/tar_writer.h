// TarWriter: a tree's nodes as a pax archive, by libarchive with fixed settings.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "archive/compress.h"
#include "base/bytes.h"
#include "base/result.h"
#include "format/tree.h"
#include "snapshot/reader.h"

namespace thaw::archive {

// What the archive says of one name.
struct TarNode {
  std::string name;  // "a/b"; "." for the root
  uint16_t mode = 0;
  Owner owner;
  int64_t mtime_ns = 0;
  const XattrSet* xattrs = nullptr;  // may be null
  std::string link_to;               // the name of the same file; for a symbolic link its target
  bool hard_link = false;
  Device device;
  uint64_t size_bytes = 0;
  std::vector<DataRun> runs;  // of a file with holes; empty: it has none
};

// One thread at a time. Equal nodes and bytes make equal archives. Errors: exhausted (libarchive
// cannot say it in tar), and what the sink answers.
class TarWriter {
 public:
  static Result<std::unique_ptr<TarWriter>> open(ByteSink sink);
  virtual ~TarWriter() = default;

  virtual Result<> begin(const TarNode& node) = 0;
  // The bytes of the file that was begun, in order: size_bytes of them in all, holes included.
  virtual Result<> data(Bytes bytes) = 0;
  // So much of it that lies in no run, and costs next to nothing however much it is.
  virtual Result<> hole(uint64_t length) = 0;
  // The end mark; everything has gone to the sink.
  virtual Result<> finish() = 0;
};

}  // namespace thaw::archive
