#include "archive/name_table.h"

#include <fmt/format.h>
#include <xxhash.h>

#include <algorithm>

#include "base/random.h"
#include "format/limits.h"

namespace thaw::archive {
namespace {

// Of all names together. Names repeat in an archive of a few MB as often as somebody likes, and
// 4 million of them have 40 MB as a rule.
constexpr size_t kTextBytes = 256 * 1024 * 1024;
constexpr size_t kFirstSlots = 1024;  // a power of two

}  // namespace

NameTable::NameTable()
    : names_{{0, 0, 0, 0, NameKind::folder}},
      slots_(kFirstSlots, kNone),
      seed_(load_le<uint64_t>(RandomId::fresh().bytes.data())) {}

uint64_t NameTable::hash_of(uint32_t parent, std::string_view name) const {
  constexpr uint64_t kOdd = 0x9e3779b97f4a7c15;
  return ::XXH3_64bits_withSeed(name.data(), name.size(), seed_ + parent * kOdd);
}

uint32_t NameTable::find(uint32_t parent, std::string_view wanted) const {
  const size_t mask = slots_.size() - 1;
  for (size_t at = hash_of(parent, wanted) & mask; slots_[at] != kNone; at = (at + 1) & mask) {
    const uint32_t id = slots_[at];
    if (names_[id].parent == parent && name(id) == wanted) return id;
  }
  return kNone;
}

Result<uint32_t> NameTable::add(uint32_t parent, std::string_view name, NameKind kind) {
  const auto depth = static_cast<uint16_t>(names_[parent].depth + 1);
  if (name.size() > limits::kNameBytes) {
    return Error(Code::exhausted, "it has a name of more than 255 bytes in it");
  }
  if (depth > limits::kDepth) return Error(Code::exhausted, "it lies more than 1,024 folders deep");
  if (names_.size() >= limits::kNodes || text_end_ + name.size() > kTextBytes) {
    return Error(Code::exhausted, "the archive has more names than one tree can hold");
  }
  if (names_.size() * 2 >= slots_.size()) grow();
  const auto id = static_cast<uint32_t>(names_.size());
  names_.push_back({parent, keep(name), depth, static_cast<uint8_t>(name.size()), kind});
  const size_t mask = slots_.size() - 1;
  size_t at = hash_of(parent, name) & mask;
  while (slots_[at] != kNone) at = (at + 1) & mask;
  slots_[at] = id;
  return id;
}

uint32_t NameTable::keep(std::string_view name) {
  const auto blocks_end = static_cast<uint32_t>(blocks_.size() * kBlockBytes);
  if (blocks_end - text_end_ < name.size()) {
    text_end_ = blocks_end;
    blocks_.push_back(std::make_unique_for_overwrite<char[]>(kBlockBytes));
  }
  const uint32_t offset = text_end_;
  std::copy(name.begin(), name.end(), blocks_.back().get() + offset % kBlockBytes);
  text_end_ += static_cast<uint32_t>(name.size());
  return offset;
}

void NameTable::grow() {
  std::vector<uint32_t> slots(slots_.size() * 2, kNone);
  const size_t mask = slots.size() - 1;
  for (uint32_t id = 1; id < names_.size(); ++id) {
    size_t at = hash_of(names_[id].parent, name(id)) & mask;
    while (slots[at] != kNone) at = (at + 1) & mask;
    slots[at] = id;
  }
  slots_ = std::move(slots);
}

std::string NameTable::path(uint32_t id) const {
  std::vector<uint32_t> way;
  size_t length = 0;
  for (uint32_t at = id; at != 0; at = names_[at].parent) {
    way.push_back(at);
    length += names_[at].length + 1;
  }
  std::string path;
  path.reserve(length);
  for (auto at = way.rbegin(); at != way.rend(); ++at) {
    if (!path.empty()) path += '/';
    path += name(*at);
  }
  return path;
}

}  // namespace thaw::archive
