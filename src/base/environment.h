// The environment variables of a process, or of a test.
#pragma once

#include <cstdlib>
#include <functional>
#include <optional>
#include <string>

namespace thaw {

// Answers a variable's value; a variable that is set to nothing counts as not set.
using Environment = std::function<std::optional<std::string>(const char* name)>;

// The process's own. Precondition: nobody calls setenv meanwhile.
inline Environment process_environment() {
  return [](const char* name) -> std::optional<std::string> {
    const char* value = std::getenv(name);
    if (value == nullptr || *value == '\0') return std::nullopt;
    return std::string(value);
  };
}

}  // namespace thaw
