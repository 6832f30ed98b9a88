// Settings as their sources give them: a name, a value, a place. What they mean is config.cpp's.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/context.h"
#include "base/result.h"

namespace thaw {

using SettingValue = std::variant<bool, int64_t, double, std::string>;

struct Setting {
  // "save.compression_level": sections joined by dots; "tier.2.path": of the second in a list
  std::string name;
  SettingValue value;
  std::string where;  // for messages: "/etc/thaw/thaw.toml:3", "--timeout"
};

inline constexpr size_t kConfigBytes = 1024 * 1024;

// Every scalar of a TOML document; other types are Code::invalid, but for lists of tables, whose
// elements are sections that are numbered from 1. `origin` names it in messages.
// Messages name places and types, never values: these may be secrets.
Result<std::vector<Setting>> settings_of_toml(std::string_view text, const std::string& origin);
// The same for JSON; null counts as not set.
Result<std::vector<Setting>> settings_of_json(std::string_view text, const std::string& origin);

// The whole text of a file, or of an open descriptor as "fd:N"; at most kConfigBytes. What never
// comes (a pipe that nobody writes to) is waited for as long as the context lives.
Result<std::string> read_config_source(const Context& context, const std::string& source);

}  // namespace thaw
