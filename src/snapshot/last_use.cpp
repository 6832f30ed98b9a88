#include "snapshot/last_use.h"

#include "base/clock.h"

namespace thaw {

Result<> note_use(const Context& context, ObjectStore& store, const Entry& entry) {
  // By this machine's clock and the store's together: a wrong one costs a request, or leaves a use
  // out that a later one makes up for.
  const int64_t now_ns = system_clock().now().ns;
  const int64_t interval_ns = std::chrono::nanoseconds(kUseInterval).count();
  const auto is_recent = [&](int64_t then_ns) {
    return then_ns > now_ns - interval_ns && then_ns < now_ns + interval_ns;
  };
  if (is_recent(entry.created_ns)) return {};
  THAW_ASSIGN(const Key key, Key::parse(entry.key));
  THAW_ASSIGN(const ObjectKey object, ObjectKey::parse(last_use_name(key)));
  THAW_ASSIGN(const auto noted, store.find(context, object));
  if (noted && is_recent(noted->modified.ns)) return {};
  THAW_CHECK(store.put(context, object, Buffer(), PutMode::overwrite));
  return {};
}

}  // namespace thaw
