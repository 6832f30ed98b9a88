#include "object/tier_marker.h"

#include "format/tier_block.h"
#include "object/disk_tier.h"

namespace thaw {
namespace {

ObjectKey marker() { return *ObjectKey::parse(std::string(kTierMarkerName)); }

// What a place that had no marker a moment ago holds if it is a tier: blocks, and a directory's
// file of claims and its index, which outlive the marker where somebody empties a tier in use.
bool is_of_a_tier(std::string_view name) {
  constexpr std::string_view kBlocks = "blocks/";
  constexpr size_t kStoreDigits = 16;
  // Another fill may make the marker right now.
  if (name == "claims" || name == kTierMarkerName || is_tier_index_name(name)) return true;
  if (!name.starts_with(kBlocks)) return false;
  const std::string_view store = name.substr(kBlocks.size(), kStoreDigits + 1);
  return store.find_first_not_of("0123456789abcdef") == kStoreDigits && store.back() == '/';
}

}  // namespace

Result<bool> check_tier(const Context& context, ObjectStore& fast) {
  const auto got =
      fast.get(context, marker(), ByteRange::of(0, kTierMarkerBytes + 1), Freshness::origin);
  if (got) {
    auto checked = check_tier_marker(got->bytes.view());
    if (checked) return true;
    return Error(Code::invalid, fast.describe() + ": " + checked.error().text());
  }
  if (got.error().code() != Code::not_found) return got.error();
  ListOptions few;
  few.limit = 2;
  THAW_ASSIGN(const ListPage page, fast.list(context, "", few));
  for (const Listed& each : page.objects) {
    if (is_of_a_tier(each.key.text())) continue;
    return Error(Code::invalid, fast.describe() + " holds " + each.key.text() + " and no " +
                                    std::string(kTierMarkerName) + ": it is no tier");
  }
  return false;
}

Result<> mark_tier(const Context& context, ObjectStore& fast) {
  THAW_CHECK(fast.put(context, marker(), encode_tier_marker(), PutMode::create)
                 .within("make the place a tier"));
  return {};
}

}  // namespace thaw
