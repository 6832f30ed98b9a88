#include "cli/store_place.h"

#include <filesystem>
#include <system_error>
#include <variant>

#include "app/store_url.h"

namespace thaw::cli {

std::string resolved_path(const std::string& path) {
  constexpr int kMostLinks = 16;
  std::error_code fault;
  std::filesystem::path name = path;
  for (int link = 0; link < kMostLinks && std::filesystem::is_symlink(name, fault); ++link) {
    name = name.parent_path() / std::filesystem::read_symlink(name, fault);
  }
  const auto canonical = std::filesystem::weakly_canonical(name, fault);
  std::string text = fault ? path : canonical.string();
  while (text.size() > 1 && text.back() == '/') text.pop_back();
  return text;
}

Result<std::string> store_place(const Config& config, const Locations& locations) {
  if (!config.store) return resolved_path(locations.store);
  std::error_code fault;
  const auto here = std::filesystem::current_path(fault);
  THAW_ASSIGN(const StoreUrl url,
              parse_store_url(*config.store, fault ? "/proc/self/cwd" : here.string()));
  const auto* directory = std::get_if<DirectoryUrl>(&url);
  return directory == nullptr ? *config.store : resolved_path(directory->path);
}

}  // namespace thaw::cli
