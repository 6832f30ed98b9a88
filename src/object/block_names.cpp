#include "object/block_names.h"

#include <fmt/format.h>

#include "format/checksum.h"
#include "format/tier_block.h"

namespace thaw {
namespace {

// 2^64 bytes in blocks of 64 KiB.
constexpr size_t kNumberDigits = 15;
constexpr std::string_view kFolder = "blocks/";
constexpr size_t kStoreDigits = 16;
constexpr size_t kStoreEnd = kFolder.size() + kStoreDigits;
constexpr std::string_view kDigits = "0123456789";

bool all_of(std::string_view text, std::string_view characters) {
  return !text.empty() && text.find_first_not_of(characters) == std::string_view::npos;
}

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
  std::string prefix = fmt::format("{}/{}/@/{}-{}/", block_folder(store_name), object.text(),
                                   version ? name_of(*version) : "once", block_bytes / 1024);
  if (!ObjectKey::parse(prefix + std::string(kNumberDigits, '9'))) return std::nullopt;
  return BlockNames(std::move(prefix));
}

std::string block_folder(std::string_view store_name) {
  return fmt::format("{}{:016x}", kFolder, checksum64(as_bytes(store_name)));
}

bool is_store_folder(std::string_view name) {
  return name.size() == kStoreEnd && name.starts_with(kFolder) &&
         all_of(name.substr(kFolder.size()), "0123456789abcdef");
}

// From the end, for an object's own name may hold a segment "@".
std::optional<BlockPlace> place_of_block(std::string_view name) {
  constexpr std::string_view kBefore = "/@/";
  if (name.size() <= kStoreEnd || !is_store_folder(name.substr(0, kStoreEnd))) return std::nullopt;
  const size_t number = name.rfind('/');
  const size_t version = number == 0 ? 0 : name.rfind('/', number - 1);
  if (version < kStoreEnd + kBefore.size()) return std::nullopt;
  const size_t end = version + 1 - kBefore.size();
  const std::string_view size = name.substr(version + 1, number - version - 1);
  const size_t dash = size.rfind('-');
  if (name.substr(end, kBefore.size()) != kBefore || dash == std::string_view::npos || dash == 0 ||
      !all_of(size.substr(dash + 1), kDigits) || !all_of(name.substr(number + 1), kDigits)) {
    return std::nullopt;
  }
  if (end < kStoreEnd + 2 || name[kStoreEnd] != '/') return std::nullopt;
  const std::string_view object = name.substr(0, end);
  return BlockPlace{object, object.substr(0, object.find('/', kStoreEnd + 1)),
                    name.substr(version + 1)};
}

std::optional<BlockNames> BlockNames::of_all_versions(std::string_view store_name,
                                                      const ObjectKey& object) {
  std::string prefix = fmt::format("{}/{}/@/", block_folder(store_name), object.text());
  if (!ObjectKey::parse(prefix + std::string(kNumberDigits, '9'))) return std::nullopt;
  return BlockNames(std::move(prefix));
}

ObjectKey BlockNames::block(uint64_t number) const {
  return *ObjectKey::parse(prefix_ + std::to_string(number));
}

}  // namespace thaw
