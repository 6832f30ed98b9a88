#include "cache/kept_paths.h"

#include "snapshot/replace_target.h"

namespace thaw::cache {

Result<> refuse_what_is_kept(const std::string& path, const std::vector<ProtectedPath>& kept) {
  for (const ProtectedPath& each : kept) {
    // One by one: the engine's own words name an option of `thaw restore`.
    if (refuse_protected_target(path, RestoreMode::replace, {each})) continue;
    return Error(Code::invalid, path + " is, holds or lies in " + each.what + " (" + each.path +
                                    "), which is no cache: name what is to be kept beside it");
  }
  return {};
}

}  // namespace thaw::cache
