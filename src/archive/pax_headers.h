// PaxHeaders: what the pax headers before an entry say, read beside libarchive.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/bytes.h"
#include "base/result.h"

namespace thaw::archive {

// What libarchive does not say, or wrongly.
struct PaxRecords {
  std::optional<int64_t> mtime_ns;  // it takes -1.5 for -0.5
  std::optional<int64_t> uid;       // it passes over global headers
  std::optional<int64_t> gid;
  // The extended attributes of SCHILY.xattr as they stand there, in order: libarchive encodes their
  // names and does not decode them. Views of the blocks that were read.
  struct Attribute {
    std::string_view name;
    std::string_view value;
  };
  std::vector<Attribute> attributes;
};

// The name of an attribute of SCHILY.xattr: "%3D" is "=", and "%" that no two digits follow is
// itself.
std::string attribute_name(std::string_view encoded);

// When libarchive cannot read one record, it passes over all of the header: over another name, size
// or time of the entry. Here such an archive is refused. Global headers hold until
// the end of their archive. One thread at a time.
class PaxHeaders {
 public:
  // `blocks`: all from the end of the last entry to the data of this one, as libarchive took them.
  // Those of the entry count before global ones. Errors: corrupt.
  Result<PaxRecords> read(Bytes blocks);

 private:
  PaxRecords global_;
};

}  // namespace thaw::archive
