#include "cli/protected_paths.h"

#include <pwd.h>
#include <unistd.h>

#include <filesystem>
#include <system_error>

namespace thaw::cli {
namespace {

std::string home_of_user() {
  // The answer of getpwuid lives in static memory; no other thread runs yet.
  const struct passwd* user = ::getpwuid(::getuid());
  return user != nullptr && user->pw_dir != nullptr ? user->pw_dir : "";
}

// Whether a target may lie below a protected path.
enum class Inside { allowed, refused };

}  // namespace

std::vector<ProtectedPath> protected_paths(const Session& session) {
  std::vector<ProtectedPath> paths;
  auto protect = [&paths](const std::string& path, const char* what,
                          Inside inside = Inside::allowed) {
    if (!path.empty() && path.front() == '/')
      paths.push_back({path, what, inside == Inside::refused});
  };
  protect("/", "the root directory");
  protect(session.locations.home.value_or(""), "the home directory");
  protect(home_of_user(), "the home directory");
  std::error_code fault;
  protect(std::filesystem::current_path(fault).string(), "the working directory");
  protect(session.opened.local_path.value_or(""), "the store", Inside::refused);
  protect(session.locations.stat_cache, "thaw's cache directory", Inside::refused);
  for (const std::string& file : session.locations.config_files) {
    protect(std::filesystem::path(file).parent_path().string(), "thaw's configuration directory");
  }
  return paths;
}

}  // namespace thaw::cli
