#include "cache/yaml_value.h"

#include <fmt/format.h>
#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/exceptions.h>
#include <yaml-cpp/mark.h>
#include <yaml-cpp/parser.h>

#include <algorithm>
#include <exception>
#include <map>
#include <sstream>

#include "format/utf8.h"

namespace thaw::cache {
namespace {

// Those of scalars that aliases repeat count again, as values do.
constexpr size_t kYamlTextBytes = size_t{4} << 20;

Error error_at(const std::string& origin, int line, int column, std::string_view what) {
  return {Code::invalid, fmt::format("{}:{}:{}: {}", origin, line, column, what)};
}

size_t count_of(const YamlValue& value) {
  size_t count = 1;
  for (const YamlValue& item : value.items) count += count_of(item);
  return count;
}

size_t bytes_of(const YamlValue& value) {
  size_t bytes = value.text.size();
  for (const YamlValue& item : value.items) bytes += bytes_of(item);
  return bytes;
}

int depth_of(const YamlValue& value) {
  int deepest = 0;
  for (const YamlValue& item : value.items) deepest = std::max(deepest, depth_of(item));
  return deepest + 1;
}

// What ends the parser from within; it never leaves parse_yaml().
struct Refused {
  YAML::Mark at;
  std::string what;
};

// Builds values from the parser's events, so that no more is ever held than the bounds allow.
class Builder final : public YAML::EventHandler {
 public:
  void OnDocumentStart(const YAML::Mark&) override {}
  void OnDocumentEnd() override {}
  void OnNull(const YAML::Mark& at, YAML::anchor_t anchor) override {
    put(at, anchor, YamlValue{});
  }
  void OnScalar(const YAML::Mark& at, const std::string&, YAML::anchor_t anchor,
                const std::string& text) override {
    count_bytes(at, text.size());
    YamlValue value;
    value.kind = YamlValue::Kind::scalar;
    value.text = text;
    put(at, anchor, std::move(value));
  }
  void OnAlias(const YAML::Mark& at, YAML::anchor_t anchor) override {
    const auto known = anchors_.find(anchor);
    if (known == anchors_.end()) throw Refused{at, "an alias of something that holds it"};
    count(at, count_of(known->second) - 1);
    count_bytes(at, bytes_of(known->second));
    if (static_cast<int>(open_.size()) + depth_of(known->second) > kYamlDepth) too_deep(at);
    YamlValue copy = known->second;
    put(at, YAML::anchor_t{}, std::move(copy));
  }
  void OnSequenceStart(const YAML::Mark& at, const std::string&, YAML::anchor_t anchor,
                       YAML::EmitterStyle::value) override {
    open(at, anchor, YamlValue::Kind::list);
  }
  void OnSequenceEnd() override { close(); }
  void OnMapStart(const YAML::Mark& at, const std::string&, YAML::anchor_t anchor,
                  YAML::EmitterStyle::value) override {
    open(at, anchor, YamlValue::Kind::map);
  }
  void OnMapEnd() override { close(); }

  YamlValue take() { return std::move(root_); }

 private:
  struct Open {
    YamlValue value;
    YAML::anchor_t anchor;
  };

  [[noreturn]] static void too_deep(const YAML::Mark& at) {
    throw Refused{at, fmt::format("more than {} levels", kYamlDepth)};
  }

  void count(const YAML::Mark& at, size_t more) {
    count_ += more;
    if (count_ > kYamlValues) throw Refused{at, fmt::format("more than {} values", kYamlValues)};
  }

  void count_bytes(const YAML::Mark& at, size_t more) {
    bytes_ += more;
    if (bytes_ > kYamlTextBytes)
      throw Refused{at, fmt::format("values of more than {} MiB, as aliases repeat them",
                                    kYamlTextBytes >> 20U)};
  }

  static void place(YamlValue& value, const YAML::Mark& at) {
    value.line = at.line + 1;
    value.column = at.column + 1;
  }

  void put(const YAML::Mark& at, YAML::anchor_t anchor, YamlValue value) {
    count(at, 1);
    place(value, at);
    add(anchor, std::move(value));
  }

  void open(const YAML::Mark& at, YAML::anchor_t anchor, YamlValue::Kind kind) {
    count(at, 1);
    if (static_cast<int>(open_.size()) == kYamlDepth) too_deep(at);
    YamlValue value;
    value.kind = kind;
    place(value, at);
    open_.push_back({std::move(value), anchor});
  }

  void close() {
    Open done = std::move(open_.back());
    open_.pop_back();
    add(done.anchor, std::move(done.value));
  }

  void add(YAML::anchor_t anchor, YamlValue value) {
    if (anchor != YAML::NullAnchor) {
      // What anchors keep is bounded as what the document holds is.
      kept_ += count_of(value);
      kept_bytes_ += bytes_of(value);
      YAML::Mark at;
      at.line = value.line - 1;
      at.column = value.column - 1;
      if (kept_ > kYamlValues * 2)
        throw Refused{at, fmt::format("anchors hold more than {} values", kYamlValues * 2)};
      if (kept_bytes_ > kYamlTextBytes * 2)
        throw Refused{
            at, fmt::format("anchors hold values of more than {} MiB", kYamlTextBytes >> 19U)};
      anchors_[anchor] = value;
    }
    if (open_.empty()) {
      root_ = std::move(value);
    } else {
      open_.back().value.items.push_back(std::move(value));
    }
  }

  std::vector<Open> open_;
  std::map<YAML::anchor_t, YamlValue> anchors_;
  YamlValue root_;
  size_t count_ = 0;
  size_t kept_ = 0;
  size_t bytes_ = 0;  // of all scalars, and again for each alias
  size_t kept_bytes_ = 0;
};

bool holds(const std::vector<YamlField>& fields, const std::string& name) {
  return std::any_of(fields.begin(), fields.end(),
                     [&](const YamlField& each) { return each.name->text == name; });
}

constexpr std::string_view kMerge = "<<";
constexpr size_t kMostNames = 256;

// Those of `map` itself; what it merges is put aside.
Result<> collect_own(const YamlValue& map, const std::string& origin, std::string_view what,
                     std::vector<YamlField>& fields, std::vector<const YamlValue*>& merged) {
  if (map.kind != YamlValue::Kind::map) {
    return yaml_error(origin, map, fmt::format("{} must be a mapping (name: value)", what));
  }
  if (map.items.size() > 2 * kMostNames) {
    return yaml_error(origin, map, fmt::format("more than {} names in a mapping", kMostNames));
  }
  std::vector<YamlField> own;
  for (size_t i = 0; i + 1 < map.items.size(); i += 2) {
    const YamlValue& name = map.items[i];
    if (name.kind != YamlValue::Kind::scalar)
      return yaml_error(origin, name, "a name must be text");
    if (holds(own, name.text)) {
      return yaml_error(origin, name, fmt::format("\"{}\" stands here twice", name.text));
    }
    own.push_back({&name, &map.items[i + 1]});
  }
  for (const YamlField& field : own) {
    if (field.name->text != kMerge) {
      if (!holds(fields, field.name->text)) fields.push_back(field);
    } else if (field.value->kind == YamlValue::Kind::list) {
      for (const YamlValue& each : field.value->items) merged.push_back(&each);
    } else {
      merged.push_back(field.value);
    }
  }
  return {};
}

}  // namespace

std::string yaml_place(const std::string& origin, const YamlValue& at) {
  return fmt::format("{}:{}:{}", origin, at.line, at.column);
}

Error yaml_error(const std::string& origin, const YamlValue& at, std::string_view what) {
  return error_at(origin, at.line, at.column, what);
}

Result<YamlValue> parse_yaml(std::string_view text, const std::string& origin) {
  if (text.size() > kYamlBytes) {
    return Error(Code::invalid, fmt::format("{} has more than {} KiB", origin, kYamlBytes / 1024));
  }
  if (!is_utf8(text)) return Error(Code::invalid, origin + " is not valid UTF-8");
  // The library reports all that is wrong by exceptions; none of them leaves this function.
  try {
    std::istringstream stream{std::string(text)};
    YAML::Parser parser(stream);
    Builder builder;
    if (!parser.HandleNextDocument(builder)) return YamlValue{};
    YamlValue document = builder.take();
    Builder second;
    if (parser.HandleNextDocument(second)) {
      return Error(Code::invalid, origin + " holds more than one document");
    }
    return document;
  } catch (const Refused& refused) {
    return error_at(origin, refused.at.line + 1, refused.at.column + 1, refused.what);
  } catch (const YAML::Exception& fault) {
    return error_at(origin, fault.mark.line + 1, fault.mark.column + 1, fault.msg);
  } catch (const std::exception& fault) {
    return Error(Code::invalid, fmt::format("{}: {}", origin, fault.what()));
  }
}

Result<std::vector<YamlField>> fields_of(const YamlValue& map, const std::string& origin,
                                         std::string_view what) {
  std::vector<YamlField> fields;
  std::vector<const YamlValue*> pending = {&map};
  // A merged map may merge others; there are no more of them than values in the document.
  for (size_t next = 0; next < pending.size(); ++next) {
    THAW_CHECK(collect_own(*pending[next], origin, what, fields, pending));
  }
  return fields;
}

}  // namespace thaw::cache
