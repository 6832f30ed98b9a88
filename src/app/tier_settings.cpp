#include "app/tier_settings.h"

#include <fmt/format.h>

#include <bit>
#include <charconv>

#include "app/nearest.h"
#include "app/setting_values.h"
#include "app/size.h"

namespace thaw {
namespace {

constexpr size_t kMostTiers = 16;

Result<uint64_t> size_of(const SettingValue& value) {
  THAW_ASSIGN(const std::string text, text_of(value));
  return parse_size(text);
}

Result<uint32_t> block_size_of(const SettingValue& value) {
  constexpr uint64_t kLeast = 64 * 1024;
  constexpr uint64_t kMost = 64 * 1024 * 1024;
  THAW_ASSIGN(const uint64_t bytes, size_of(value));
  if (bytes < kLeast || bytes > kMost || !std::has_single_bit(bytes)) {
    return expected("a power of two from 64KiB to 64MiB");
  }
  return static_cast<uint32_t>(bytes);
}

Result<TierFill> fill_of(const SettingValue& value) {
  const auto* text = std::get_if<std::string>(&value);
  if (text != nullptr && *text == "async") return TierFill::async;
  if (text != nullptr && *text == "off") return TierFill::off;
  return expected("\"async\" or \"off\"");
}

// A directory has one by default: it costs nothing to keep. Machines that share a bucket have to be
// told where the index is that they share.
Result<> choose_index(const std::optional<std::string>& wanted, TierConfig& tier) {
  const bool disk = tier.kind == TierConfig::Kind::disk;
  const std::string text = wanted.value_or(disk ? "sqlite" : "off");
  if (text == "off") {
    tier.index = TierConfig::Index::off;
    return {};
  }
  if (text == "sqlite") {
    tier.index = TierConfig::Index::sqlite;
    if (disk) return {};
    return Error(Code::invalid, "index: a bucket has no place for \"sqlite\"");
  }
  tier.index = TierConfig::Index::redis;
  THAW_ASSIGN(tier.redis, parse_redis_url(text).within("index"));
  if (!disk || !tier.redis.prefix.empty()) return {};
  return Error(Code::invalid,
               "index: the URL for a directory needs a prefix, another for each machine");
}

}  // namespace

Result<> TierSettings::set(Draft& draft, std::string_view name, const SettingValue& value) {
  if (name == "kind") {
    THAW_ASSIGN(draft.kind, text_of(value));
    if (*draft.kind == "disk" || *draft.kind == "bucket") return {};
    return expected("\"disk\" or \"bucket\"");
  }
  if (name == "path") {
    THAW_ASSIGN(draft.path, text_of(value));
    if (draft.path->starts_with('/')) return {};
    return expected("an absolute path");
  }
  if (name == "url") {
    THAW_ASSIGN(draft.url, text_of(value));
  } else if (name == "max_bytes") {
    THAW_ASSIGN(draft.tier.max_bytes, size_of(value));
  } else if (name == "block_size") {
    THAW_ASSIGN(draft.tier.block_bytes, block_size_of(value));
  } else if (name == "fill") {
    THAW_ASSIGN(draft.tier.fill, fill_of(value));
  } else if (name == "index") {
    THAW_ASSIGN(draft.index, text_of(value));
    if (*draft.index == "off" || *draft.index == "sqlite") return {};
    if (!is_redis_url(*draft.index)) return expected("\"sqlite\", \"off\" or a redis:// URL");
    THAW_CHECK(parse_redis_url(*draft.index));
  } else {
    const std::vector<std::string> names = {"kind",       "path", "url",  "max_bytes",
                                            "block_size", "fill", "index"};
    return Error(Code::invalid, "no tier has such a setting" + did_you_mean(name, names));
  }
  return {};
}

Result<> TierSettings::apply(const Setting& setting) {
  const std::string_view rest = std::string_view(setting.name).substr(kPrefix.size());
  size_t number = 0;
  const auto [end, fault] = std::from_chars(rest.data(), rest.data() + rest.size(), number);
  const auto length = static_cast<size_t>(end - rest.data());
  // A list has at most so many elements, but a section may be called by any number.
  if (fault != std::errc() || number < 1 || number > kMostTiers || length >= rest.size() ||
      rest[length] != '.') {
    return Error(Code::invalid, setting.where + ": tiers are a list: write [[tier]]");
  }
  if (drafts_.size() < number) drafts_.resize(number);
  Draft& draft = drafts_[number - 1];
  if (draft.tier.where.empty()) draft.tier.where = setting.where;
  return set(draft, rest.substr(length + 1), setting.value)
      .within(setting.name)
      .within(setting.where);
}

Result<std::vector<TierConfig>> TierSettings::finish() const {
  std::vector<TierConfig> tiers;
  for (const Draft& draft : drafts_) {
    auto refuse = [&](std::string_view why) {
      return Error(Code::invalid, fmt::format("{}: a tier {}", draft.tier.where, why));
    };
    if (!draft.kind) return refuse("needs a kind: \"disk\" or \"bucket\"");
    const bool disk = *draft.kind == "disk";
    if (disk && (!draft.path || draft.url)) {
      return refuse("of kind \"disk\" needs a path, and no url");
    }
    if (!disk && (!draft.url || draft.path)) {
      return refuse("of kind \"bucket\" needs a url, and no path");
    }
    TierConfig tier = draft.tier;
    tier.kind = disk ? TierConfig::Kind::disk : TierConfig::Kind::bucket;
    tier.place = disk ? *draft.path : *draft.url;
    THAW_CHECK(choose_index(draft.index, tier).within(tier.where));
    tiers.push_back(std::move(tier));
  }
  return tiers;
}

}  // namespace thaw
