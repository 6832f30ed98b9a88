// TarReader: the entries of a tar stream, by libarchive.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "archive/block_pipe.h"
#include "base/context.h"
#include "format/tree.h"

namespace thaw::archive {

enum class EntryKind { file, folder, symlink, hard_link, fifo, device, other };

// An entry as it stands in the archive: hostile input, nothing of it was judged.
struct TarEntry {
  std::string name;  // any bytes, also "../../etc/passwd"
  EntryKind kind = EntryKind::file;
  uint32_t mode = 0;  // as st_mode
  Owner owner;
  int64_t mtime_ns = 0;
  uint64_t size_bytes = 0;  // of a file, holes included
  bool sparse = false;      // a file that holds less than its size
  std::string target;       // of a symbolic or hard link
  Device device;            // what does not fit is the largest number
  XattrSet xattrs;  // sorted, unique, of at most limits::kXattrBytes; only names that a save keeps
  uint32_t attributes_dropped = 0;  // those of other names
};

// One thread at a time. Errors: corrupt (and the last entry that was whole is named), and what the
// supply answers.
class TarReader {
 public:
  // A run of a file's bytes; what lies between runs is zeros. Ascending, within the size.
  using DataSink = std::function<Result<>(uint64_t offset, Bytes)>;

  // The uncompressed stream. The context and the supply outlive the reader.
  static Result<std::unique_ptr<TarReader>> open(const Context& context, BlockSupply supply);
  virtual ~TarReader() = default;

  // The next entry, in place of the last one; false at the end of the stream.
  virtual Result<bool> next(TarEntry& entry) = 0;
  // The bytes of the file at hand; at most once for each entry, and who does not ask skips them.
  virtual Result<> read(const DataSink& sink) = 0;
  // Bytes of the stream that were read so far.
  virtual uint64_t stream_bytes() const = 0;
};

// All of the file at hand, holes as zeros. Precondition: `into` is as long as the file.
Result<> read_whole(TarReader& reader, MutableBytes into);

}  // namespace thaw::archive
