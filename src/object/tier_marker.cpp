#include "object/tier_marker.h"

#include "format/tier_block.h"

namespace thaw {
namespace {

ObjectKey marker() { return *ObjectKey::parse(std::string(kTierMarkerName)); }

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
  ListOptions one;
  one.limit = 1;
  THAW_ASSIGN(const ListPage page, fast.list(context, "", one));
  if (page.objects.empty()) return false;
  return Error(Code::invalid, fast.describe() + " holds " + page.objects.front().key.text() +
                                  " and no " + std::string(kTierMarkerName) + ": it is no tier");
}

Result<> mark_tier(const Context& context, ObjectStore& fast) {
  THAW_CHECK(fast.put(context, marker(), encode_tier_marker(), PutMode::create)
                 .within("make the place a tier"));
  return {};
}

}  // namespace thaw
