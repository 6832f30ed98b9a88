#include "app/nearest.h"

#include <algorithm>
#include <vector>

namespace thaw {
namespace {

constexpr size_t kLongest = 64;  // longer words are no slips of any name of ours

// Levenshtein distance.
size_t edits_between(std::string_view from, std::string_view to) {
  std::vector<size_t> row(to.size() + 1);
  for (size_t j = 0; j <= to.size(); ++j) row[j] = j;
  for (size_t i = 1; i <= from.size(); ++i) {
    size_t diagonal = row[0];
    row[0] = i;
    for (size_t j = 1; j <= to.size(); ++j) {
      const size_t replaced = diagonal + (from[i - 1] == to[j - 1] ? 0 : 1);
      diagonal = row[j];
      row[j] = std::min({replaced, row[j] + 1, row[j - 1] + 1});
    }
  }
  return row.back();
}

std::string_view last_part(std::string_view name) { return name.substr(name.rfind('.') + 1); }

}  // namespace

std::optional<std::string> nearest_name(std::string_view wrong,
                                        std::span<const std::string> names) {
  if (wrong.size() > kLongest) return std::nullopt;
  const std::string* best = nullptr;
  // Two, so that swapped letters count as a slip.
  size_t fewest = (wrong.size() < 4 ? 1 : std::max<size_t>(2, wrong.size() / 3)) + 1;
  for (const std::string& name : names) {
    const size_t edits =
        std::min(edits_between(wrong, name), edits_between(last_part(wrong), last_part(name)));
    if (edits >= fewest) continue;
    fewest = edits;
    best = &name;
  }
  if (best == nullptr) return std::nullopt;
  return *best;
}

std::string did_you_mean(std::string_view wrong, std::span<const std::string> names) {
  const auto name = nearest_name(wrong, names);
  return name ? "; did you mean \"" + *name + "\"?" : "";
}

}  // namespace thaw
