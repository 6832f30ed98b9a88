#include "cache/companions.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <string_view>

namespace thaw::cache {
namespace {

constexpr const char* kLabel = "cache.companions";
// Eight are 687 bytes at most, and a label holds 1,024.
constexpr size_t kInOneLabel = 8;

std::string label_of(size_t number) { return fmt::format("{}.{}", kLabel, number); }

std::string text_of(const Companion& companion) {
  return fmt::format("{}:{}", companion.generation, companion.snapshot.hex());
}

// Only what text_of() makes.
std::optional<Companion> parse_companion(std::string_view text) {
  const size_t colon = text.find(':');
  if (colon == std::string_view::npos) return std::nullopt;
  Companion companion;
  const auto [end, fault] = std::from_chars(text.data(), text.data() + colon, companion.generation);
  const auto snapshot = Digest::parse(text.substr(colon + 1));
  if (fault != std::errc() || end != text.data() + colon || !snapshot) return std::nullopt;
  companion.snapshot = *snapshot;
  if (companion.generation == 0 || text_of(companion) != text) return std::nullopt;
  return companion;
}

}  // namespace

void add_companions(const Companions& companions, Labels& labels) {
  if (companions.targets.empty()) return;
  labels[kLabel] = companions.address;
  for (size_t i = 0; i < companions.targets.size(); ++i) {
    std::string& value = labels[label_of(i / kInOneLabel)];
    if (i % kInOneLabel != 0) value += ' ';
    value += text_of(companions.targets[i]);
  }
}

std::optional<Companions> companions_of(const Labels& labels, size_t count) {
  Companions companions;
  if (count == 0) return companions;
  const auto address = labels.find(kLabel);
  if (address == labels.end() || !Digest::parse(address->second)) return std::nullopt;
  companions.address = address->second;
  for (size_t number = 0; companions.targets.size() < count; ++number) {
    const auto label = labels.find(label_of(number));
    if (label == labels.end()) return std::nullopt;
    std::string_view rest = label->second;
    while (!rest.empty()) {
      const size_t blank = std::min(rest.find(' '), rest.size());
      const auto companion = parse_companion(rest.substr(0, blank));
      if (!companion) return std::nullopt;
      companions.targets.push_back(*companion);
      rest.remove_prefix(std::min(blank + 1, rest.size()));
    }
  }
  // Nothing else: more companions, or the same ones laid out in another way, are of nobody's
  // making.
  Labels canonical;
  add_companions(companions, canonical);
  const auto is_theirs = [](const auto& label) { return label.first.starts_with(kLabel); };
  const auto named = std::count_if(labels.begin(), labels.end(), is_theirs);
  const bool is_canonical = companions.targets.size() == count &&
                            static_cast<size_t>(named) == canonical.size() &&
                            std::all_of(canonical.begin(), canonical.end(), [&](const auto& label) {
                              const auto there = labels.find(label.first);
                              return there != labels.end() && there->second == label.second;
                            });
  if (!is_canonical) return std::nullopt;
  return companions;
}

}  // namespace thaw::cache
