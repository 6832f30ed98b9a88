// What the value of a setting may be: each answers Code::invalid and says what it expected.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "app/settings.h"
#include "base/result.h"

namespace thaw {

Error expected(std::string_view what);

Result<std::string> text_of(const SettingValue& value);
// true, false and the words for them.
Result<bool> switch_of(const SettingValue& value);
Result<int64_t> integer_of(const SettingValue& value, int64_t least, int64_t most);
// From 0 to 1.
Result<double> share_of(const SettingValue& value);

}  // namespace thaw
