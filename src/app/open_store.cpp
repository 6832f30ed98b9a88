#include "app/open_store.h"

#include <filesystem>
#include <system_error>

#include "app/store_url.h"
#include "object/disk.h"
#include "object/retrying.h"

namespace thaw {
namespace {

// As far as the path exists, without symbolic links; unchanged where that cannot be found out.
std::string resolved(const std::string& path) {
  std::error_code fault;
  const auto canonical = std::filesystem::weakly_canonical(path, fault);
  if (fault) return path;
  std::string text = canonical.string();
  while (text.size() > 1 && text.back() == '/') text.pop_back();
  return text;
}

}  // namespace

Result<OpenedStore> open_store(const Config& config, const Locations& locations) {
  StoreUrl url{locations.store};
  if (config.store) {
    std::error_code fault;
    const auto here = std::filesystem::current_path(fault);
    // A relative name then fails on its own, an absolute one needs no working directory.
    THAW_ASSIGN(url, parse_store_url(*config.store, fault ? "/proc/self/cwd" : here.string()));
  }
  OpenedStore opened;
  opened.meter = std::make_unique<StoreMeter>();
  opened.local_path = resolved(url.path);
  THAW_ASSIGN(auto disk, open_disk_store(url.path));
  opened.store = metered(retrying(std::move(disk)), *opened.meter);
  return opened;
}

}  // namespace thaw
