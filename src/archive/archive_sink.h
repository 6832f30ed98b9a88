// Where an archive is written to: a file or an object, which appears whole or not at all.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "archive/decompress.h"
#include "base/context.h"
#include "object/multipart.h"
#include "object/store.h"

namespace thaw::archive {

// What is there already.
struct Previous {
  uint64_t size_bytes = 0;
  Compression compression = Compression::none;
};

// One thread at a time: previous(), then append() as often as one likes, then finish() or
// abandon().
class ArchiveSink {
 public:
  virtual ~ArchiveSink() = default;
  // Empty when nothing is there.
  virtual Result<std::optional<Previous>> previous() = 0;
  // Files of this machine that are the archive, the old one and the new: whoever packs the folder
  // they lie in leaves them out.
  virtual std::vector<std::string> own_paths() const = 0;
  virtual Result<> append(Bytes bytes) = 0;
  // The archive is there, durable, in the place of what was there.
  virtual Result<> finish() = 0;
  // Nothing is left of what was appended, and what was there stays. `farewell` is a context of its
  // own, for that of the work may be over. Best-effort: what stays is logged.
  virtual void abandon(const Context& farewell) = 0;
};

// A file: written without a name beside its place, then renamed. Its folder is there; the path may
// be a link, whose target is replaced. Errors: not_found, denied, invalid (no regular file).
Result<std::unique_ptr<ArchiveSink>> file_sink(const std::string& path);

// An object, uploaded in parts. The context and the stores outlive the sink.
std::unique_ptr<ArchiveSink> object_sink(const Context& context, ObjectStore& store,
                                         MultipartStore& parts, const ObjectKey& key,
                                         unsigned uploads);

}  // namespace thaw::archive
