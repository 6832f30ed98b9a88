#include "object/block_names.h"

#include <fmt/format.h>

#include "format/checksum.h"
#include "format/tier_block.h"

namespace thaw {
namespace {

// 2^64 bytes in blocks of 64 KiB.
constexpr size_t kNumberDigits = 15;

std::string name_of(const ObjectVersion& version) {
  std::string text = version.etag;
  text.push_back('\0');
  text += std::to_string(version.size_bytes);
  return to_hex(checksum128(as_bytes(text)));
}

}  // namespace

bool is_write_once(const ObjectKey& object) {
  return object.text().starts_with("packs/") || object.text().starts_with("manifests/");
}

std::optional<BlockNames> BlockNames::of(std::string_view store_name, const ObjectKey& object,
                                         const std::optional<ObjectVersion>& version,
                                         uint32_t block_bytes) {
  if (!version && !is_write_once(object)) return std::nullopt;
  // Without an etag two versions of one size could not be told apart.
  if (version && (version->etag.empty() || version->etag.size() > kTierEtagMost)) {
    return std::nullopt;
  }
  std::string prefix =
      fmt::format("blocks/{:016x}/{}/@/{}-{}/", checksum64(as_bytes(store_name)), object.text(),
                  version ? name_of(*version) : "once", block_bytes / 1024);
  if (!ObjectKey::parse(prefix + std::string(kNumberDigits, '9'))) return std::nullopt;
  return BlockNames(std::move(prefix));
}

std::optional<BlockNames> BlockNames::of_all_versions(std::string_view store_name,
                                                      const ObjectKey& object) {
  std::string prefix =
      fmt::format("blocks/{:016x}/{}/@/", checksum64(as_bytes(store_name)), object.text());
  if (!ObjectKey::parse(prefix + std::string(kNumberDigits, '9'))) return std::nullopt;
  return BlockNames(std::move(prefix));
}

ObjectKey BlockNames::block(uint64_t number) const {
  return *ObjectKey::parse(prefix_ + std::to_string(number));
}

}  // namespace thaw
