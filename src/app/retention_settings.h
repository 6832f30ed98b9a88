// [[retention]]: which generations `thaw gc` keeps; docs/gc.md, "Retention".
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "app/settings.h"
#include "base/result.h"
#include "gc/retention.h"

namespace thaw {

// The settings of one source's rules, put together one by one.
class RetentionSettings {
 public:
  static constexpr std::string_view kPrefix = "retention.";  // of the settings that belong here

  // "retention.2.keep_last". Precondition: the name begins with kPrefix.
  Result<> apply(const Setting& setting);
  // All of them; each has a prefix of its own, and says something.
  Result<std::vector<gc::RetentionRule>> finish() const;

 private:
  struct Draft {
    gc::RetentionRule rule;
    bool named = false;  // has a prefix
    std::string where;
  };
  static Result<> set(Draft& draft, std::string_view name, const SettingValue& value);

  std::vector<Draft> drafts_;
};

}  // namespace thaw
