#include "index/index_contract.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

namespace thaw {
namespace {

constexpr int64_t kNsInUs = 1000;
constexpr size_t kStoreFolder = sizeof("blocks/0123456789abcdef") - 1;

Error no_block(const ObjectKey& name) {
  return {Code::invalid, "\"" + name.text() + "\" is no block's name"};
}

}  // namespace

int64_t use_of(Timestamp at) {
  return std::clamp(std::max<int64_t>(at.ns, 0) / kNsInUs, int64_t{0}, kUseMost);
}

int64_t bound_of(Timestamp at) {
  const int64_t ns = std::max<int64_t>(at.ns, 0);
  // What is past kUseMost lies behind every use.
  return std::min(ns / kNsInUs + (ns % kNsInUs == 0 ? 0 : 1), kUseMost + 1);
}

Timestamp time_of(int64_t use) { return Timestamp{std::min(use, INT64_MAX / kNsInUs) * kNsInUs}; }

Result<std::vector<BlockPlace>> places_of(std::span<const BlockNote> notes) {
  std::vector<BlockPlace> places;
  places.reserve(notes.size());
  for (const BlockNote& note : notes) {
    const auto place = place_of_block(note.block.text());
    if (!place) return no_block(note.block);
    if (note.kind == BlockNote::Kind::admit && note.bytes > kIndexedBytesMost) {
      return Error(Code::invalid, fmt::format("\"{}\": {} bytes are too large for a block",
                                              note.block.text(), note.bytes));
    }
    places.push_back(*place);
  }
  return places;
}

Result<> check_blocks(std::span<const ObjectKey> blocks) {
  for (const ObjectKey& block : blocks) {
    if (!place_of_block(block.text())) return no_block(block);
  }
  return {};
}

Result<> check_limit(size_t limit) {
  return limit > 0 ? Result<>() : Error(Code::invalid, "a page has at least one block");
}

Result<std::string> checked_prefix(std::string_view prefix) {
  while (prefix.ends_with('/')) prefix.remove_suffix(1);
  const bool whole = prefix.size() == kStoreFolder ||
                     (prefix.size() > kStoreFolder && prefix[kStoreFolder] == '/');
  if (!whole || !is_store_folder(prefix.substr(0, kStoreFolder)) ||
      !ObjectKey::parse(std::string(prefix))) {
    return Error(Code::invalid, fmt::format("\"{}\" names no store of a tier", prefix));
  }
  return std::string(prefix);
}

bool lies_in(std::string_view object, std::string_view prefix) {
  return object.starts_with(prefix) &&
         (object.size() == prefix.size() || object[prefix.size()] == '/');
}

std::string text_of(const Cursor& cursor) { return fmt::format("{} {}", cursor.use, cursor.block); }

Result<std::optional<Cursor>> cursor_of(std::string_view text) {
  if (text.empty()) return std::optional<Cursor>();
  Cursor cursor;
  const auto [end, fault] = std::from_chars(text.data(), text.data() + text.size(), cursor.use);
  const auto length = static_cast<size_t>(end - text.data());
  if (fault != std::errc() || length >= text.size() || text[length] != ' ' || cursor.use < 0 ||
      cursor.use > kUseMost) {
    return Error(Code::invalid, "no page of this index ended there");
  }
  cursor.block = text.substr(length + 1);
  return std::optional(std::move(cursor));
}

}  // namespace thaw
