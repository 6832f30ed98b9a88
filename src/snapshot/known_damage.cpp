#include "snapshot/known_damage.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <filesystem>
#include <system_error>

#include "base/clock.h"
#include "base/fd.h"
#include "base/log.h"

namespace thaw {
namespace {

constexpr int64_t kKeptNs = int64_t{30} * 24 * 3600 * 1'000'000'000;
// So that a store which lost everything does not fill a cache with notes.
constexpr uint32_t kMostNotes = 1000;

Result<> note(const std::string& folder, const RandomId& id) {
  THAW_CHECK(make_directories(folder));
  THAW_ASSIGN(const UniqueFd fd,
              open_path(folder + "/" + id.hex(), O_WRONLY | O_CREAT | O_NOFOLLOW, 0666));
  // One that is known counts from now on.
  if (::futimens(fd.get(), nullptr) != 0) return errno_error(errno, "touch " + id.hex());
  return {};
}

}  // namespace

void KnownDamage::remember(const RandomId& id) const {
  if (!folder_ || remembered_.fetch_add(1) >= kMostNotes) return;
  const auto noted = note(*folder_, id);
  if (!noted) log::info("damage was not remembered: {}", noted.error().text());
}

std::set<RandomId> KnownDamage::recall() const {
  std::set<RandomId> known;
  if (!folder_) return known;
  std::error_code fault;
  const int64_t now_ns = system_clock().now().ns;
  for (std::filesystem::directory_iterator each(*folder_, fault), end; !fault && each != end;
       each.increment(fault)) {
    const auto id = RandomId::parse(each->path().filename().string());
    if (!id) continue;
    struct stat status {};
    if (::lstat(each->path().c_str(), &status) != 0) continue;
    const int64_t age_ns = now_ns - int64_t{status.st_mtim.tv_sec} * 1'000'000'000;
    std::error_code unremoved;
    if (age_ns > kKeptNs)
      std::filesystem::remove(each->path(), unremoved);
    else
      known.insert(*id);
  }
  return known;
}

}  // namespace thaw
