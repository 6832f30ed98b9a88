// A small YAML document as values: bounded, whatever is in it.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace thaw::cache {

inline constexpr size_t kYamlBytes = 256 * 1024;
inline constexpr int kYamlDepth = 32;
inline constexpr size_t kYamlValues = 20'000;  // those that aliases repeat count again

// A plain value that owns all below it.
struct YamlValue {
  enum class Kind { null, scalar, list, map };
  Kind kind = Kind::null;
  std::string text;              // of a scalar, as it is written
  std::vector<YamlValue> items;  // of a list; of a map: key, value, key, value…
  int line = 1;                  // where it begins, from 1
  int column = 1;
};

// The one document in `text`; tags are ignored, aliases are replaced by what they stand for.
// Code::invalid, with "ORIGIN:LINE:COLUMN", where it is no YAML, or passes a bound.
Result<YamlValue> parse_yaml(std::string_view text, const std::string& origin);

// "ORIGIN:LINE:COLUMN"
std::string yaml_place(const std::string& origin, const YamlValue& at);
// The error that something in the document is wrong.
Error yaml_error(const std::string& origin, const YamlValue& at, std::string_view what);

struct YamlField {
  const YamlValue* name;
  const YamlValue* value;
};
// The fields of a map, each once: its own, then those that it merges (`<<`). Code::invalid where it
// is no map, where a name is no text, or stands there twice.
Result<std::vector<YamlField>> fields_of(const YamlValue& map, const std::string& origin,
                                         std::string_view what);

}  // namespace thaw::cache
