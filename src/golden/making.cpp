#include "golden/making.h"

#include "golden/processes.h"

namespace thaw::golden {

Result<Lock> lock_making(const Context& context, const Place& place, Wait wait) {
  const std::string& name = place.name().text();
  if (place.is_built_around_us()) {
    return Error(Code::busy, name +
                                 " is being built by the command that runs this one, which "
                                 "would wait for itself");
  }
  const std::string path = place.making_path();
  THAW_CHECK(make_lock_file(path));
  THAW_ASSIGN(std::optional<Lock> lock, try_lock_file(path, Share::exclusive));
  if (lock) return *std::move(lock);
  if (wait == Wait::for_others) return lock_file(context, path, Share::exclusive, kEndlessPatience);
  return Error(Code::busy, name + " is being built by " + text_of(holders_of(path, 5)));
}

std::string builds_variable(const Place& place) {
  return std::string(kBuildsVariable) + "=" + place.builds_around_us() + place.name().text() + ":";
}

}  // namespace thaw::golden
