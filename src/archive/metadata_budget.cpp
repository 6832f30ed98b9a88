#include "archive/metadata_budget.h"

namespace thaw::archive {
namespace {

// Names of 5 million files, or attributes of 300,000 that all have others, or a million symbolic
// links. An import holds four times that for a moment, when it writes the manifest.
constexpr uint64_t kTextBytes = 96 * 1024 * 1024;
// An import holds about 130 bytes for each entry, and 200 for each content. A tgz of empty files
// that are alike but for their names has 10 bytes for each, and one of files as they are 100.
constexpr uint64_t kFreeEntries = 512 * 1024;
constexpr uint64_t kBytesPerEntry = 8;

}  // namespace

Result<> MetadataBudget::take_entry() {
  if (++entries_ <= kFreeEntries) return {};
  const uint64_t stored = archive_bytes_ ? archive_bytes_() : 0;
  if (entries_ <= kFreeEntries + stored / kBytesPerEntry) return {};
  return Error(
      Code::exhausted,
      "the archive has more than 524,288 entries, and less than 8 bytes for each of the rest");
}

Result<> MetadataBudget::take_text(size_t bytes) {
  text_bytes_ += bytes;
  if (text_bytes_ <= kTextBytes) return {};
  return Error(Code::exhausted,
               "the archive has more than 96 MiB of names, link targets and extended attributes");
}

}  // namespace thaw::archive
