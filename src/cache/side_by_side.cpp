#include "cache/side_by_side.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <iterator>
#include <map>
#include <string>
#include <system_error>
#include <utility>

namespace thaw::cache {
namespace {

enum class Links { ignored, followed };

// A path as what it is compared by. NUL stands for '/', and so sorts before all that a name holds:
// what lies in a folder follows it at once. The root is "".
using Place = std::string;

Place place_of(const std::string& path, Links links) {
  std::string real = std::filesystem::path(path).lexically_normal().string();
  if (links == Links::followed) {
    std::error_code fault;
    const auto canonical = std::filesystem::weakly_canonical(path, fault);
    if (!fault) real = canonical.string();
  }
  while (real.ends_with('/')) real.pop_back();
  for (char& c : real) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
    if (c == '/') c = '\0';
  }
  return real;
}

bool is_at_or_below(const Place& place, const Place& folder) {
  return place.starts_with(folder) &&
         (place.size() == folder.size() || place[folder.size()] == '\0');
}

struct Owner {
  const Definition* cache;
  const Target* target;
};

std::string text_of(const Owner& owner) {
  return fmt::format("\"{}\" of cache \"{}\"", owner.target->text(), owner.cache->name);
}

// "f.yml:3:9: ", or nothing.
std::string where(const Owner& owner) {
  return owner.target->written_at().empty() ? "" : owner.target->written_at() + ": ";
}

// Places that are taken: none is in another.
class Ground {
 public:
  Ground(const Anchors& anchors, Links links) : anchors_(anchors), links_(links) {
    for (const std::string& anchor : {anchors.working_directory, anchors.home}) {
      if (!anchor.empty()) kept_.emplace_back(place_of(anchor, links), anchor);
    }
  }

  // Takes all targets of the cache, up to the first that is not free.
  Result<> take(const Definition& cache) {
    for (const Target& target : cache.targets) {
      const auto path = target.path(anchors_);
      if (!path) continue;
      THAW_CHECK(take_one(place_of(*path, links_), {&cache, &target}));
    }
    return {};
  }

 private:
  Result<> take_one(Place place, Owner owner) {
    for (const auto& [anchor_place, anchor] : kept_) {
      if (!is_at_or_below(anchor_place, place)) continue;
      return Error(Code::invalid, fmt::format("{}target path {} is, or holds, {}{}", where(owner),
                                              text_of(owner), anchor, how()));
    }
    const auto next = taken_.lower_bound(place);
    if (next != taken_.end() && is_at_or_below(next->first, place))
      return overlap(owner, next->second);
    if (next != taken_.begin()) {
      const auto before = std::prev(next);
      if (is_at_or_below(place, before->first)) return overlap(owner, before->second);
    }
    taken_.emplace_hint(next, std::move(place), owner);
    return {};
  }

  Error overlap(const Owner& owner, const Owner& other) const {
    const std::string& at = other.target->written_at();
    return {Code::invalid,
            fmt::format("{}target path {} overlaps {}{}{}", where(owner), text_of(owner),
                        text_of(other), at.empty() ? "" : " (" + at + ")", how())};
  }

  const char* how() const { return links_ == Links::followed ? ", as links lead here" : ""; }

  const Anchors& anchors_;
  const Links links_;
  std::vector<std::pair<Place, std::string>> kept_;  // the anchors themselves
  std::map<Place, Owner> taken_;
};

}  // namespace

Result<> check_side_by_side(const std::vector<Definition>& caches, const Anchors& anchors) {
  Ground ground(anchors, Links::ignored);
  for (const Definition& cache : caches) THAW_CHECK(ground.take(cache));
  return {};
}

std::vector<std::optional<Error>> blocked_by_links(const std::vector<Definition>& caches,
                                                   const Anchors& anchors) {
  Ground ground(anchors, Links::followed);
  std::vector<std::optional<Error>> blocked;
  for (const Definition& cache : caches) {
    const auto taken = ground.take(cache);
    blocked.push_back(taken ? std::nullopt : std::optional(taken.error()));
  }
  return blocked;
}

}  // namespace thaw::cache
