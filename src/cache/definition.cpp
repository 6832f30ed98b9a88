#include "cache/definition.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <optional>
#include <system_error>

#include "cache/file_checksum.h"
#include "cache/preset.h"
#include "cache/yaml_value.h"

namespace thaw::cache {
namespace {

using Kind = YamlValue::Kind;

constexpr std::pair<const char*, AgentFact> kFacts[] = {{"os", AgentFact::os},
                                                        {"arch", AgentFact::arch},
                                                        {"branch", AgentFact::branch},
                                                        {"step", AgentFact::step},
                                                        {"pipeline", AgentFact::pipeline}};
constexpr const char* kFiles[] = {".thaw/cache.yml", ".thaw/cache.yaml", ".buildkite/cache.yml",
                                  ".buildkite/cache.yaml"};
constexpr size_t kTextBytes = 4096;

// Text that a path, a pattern or a variable's name may be.
bool is_plain_text(std::string_view text) {
  return !text.empty() && text.size() <= kTextBytes && text.find('\0') == std::string_view::npos;
}

// Reads one file; holds its name for messages.
class Reader {
 public:
  explicit Reader(const std::string& origin) : origin_(origin) {}

  Result<std::vector<Definition>> caches(const YamlValue& document) const;
  // Appends what the part says to `draft`; `limited` once there was a fallback limit.
  Result<> key_part(const YamlValue& value, Definition& draft, bool& limited) const;

 private:
  Error wrong(const YamlValue& at, std::string_view what) const {
    return yaml_error(origin_, at, what);
  }
  Result<Definition> cache(const YamlValue& value) const;
  Result<> name(const YamlValue& value, Definition& draft) const;
  Result<> key(const YamlValue& value, Definition& draft) const;
  Result<> targets(const YamlValue& value, Definition& draft) const;
  Result<> preset(const YamlValue& value, Definition& draft) const;
  Result<KeyPart> source(const YamlField& field) const;
  Result<ChecksumPart> checksum(const YamlValue& value) const;
  Result<std::string> text_of(const YamlValue& value, std::string_view what) const;

  const std::string& origin_;
};

Result<std::string> Reader::text_of(const YamlValue& value, std::string_view what) const {
  if (value.kind != Kind::scalar || !is_plain_text(value.text)) {
    return wrong(value,
                 fmt::format("{} must be text, not empty, of at most {} bytes", what, kTextBytes));
  }
  return value.text;
}

Result<std::vector<Definition>> Reader::caches(const YamlValue& document) const {
  THAW_ASSIGN(const auto fields, fields_of(document, origin_, "the file"));
  const YamlValue* list = nullptr;
  for (const YamlField& field : fields) {
    // Names that begin so hold what anchors share, by a habit of other tools' files.
    if (field.name->text.starts_with("x-") || field.name->text.starts_with('.')) continue;
    if (field.name->text != "caches") {
      return wrong(*field.name,
                   fmt::format("unknown name \"{}\": a file holds \"caches\"", field.name->text));
    }
    list = field.value;
  }
  if (list == nullptr) return wrong(document, "there is no \"caches\"");
  if (list->kind != Kind::list || list->items.empty())
    return wrong(*list, "\"caches\" must be a list of caches");
  if (list->items.size() > kMostCaches)
    return wrong(*list, fmt::format("more than {} caches", kMostCaches));
  std::vector<Definition> found;
  for (const YamlValue& item : list->items) {
    THAW_ASSIGN(Definition definition, cache(item));
    const bool twice = std::any_of(found.begin(), found.end(), [&](const Definition& each) {
      return each.name == definition.name;
    });
    if (twice) return wrong(item, fmt::format("a second cache \"{}\"", definition.name));
    found.push_back(std::move(definition));
  }
  return found;
}

Result<Definition> Reader::cache(const YamlValue& value) const {
  THAW_ASSIGN(const auto fields, fields_of(value, origin_, "a cache"));
  Definition draft;
  // The preset first: what is written beside it counts more.
  for (const YamlField& field : fields) {
    if (field.name->text == "preset") THAW_CHECK(preset(*field.value, draft));
  }
  for (const YamlField& field : fields) {
    if (field.name->text == "name") {
      THAW_CHECK(name(*field.value, draft));
    } else if (field.name->text == "cache_key") {
      THAW_CHECK(key(*field.value, draft));
    } else if (field.name->text == "target_paths") {
      THAW_CHECK(targets(*field.value, draft));
    } else if (field.name->text != "preset") {
      return wrong(*field.name,
                   fmt::format("unknown name \"{}\": a cache has name, cache_key, target_paths and "
                               "preset",
                               field.name->text));
    }
  }
  if (draft.name.empty()) return wrong(value, "a cache needs a name");
  if (draft.key.empty()) return wrong(value, "cache \"" + draft.name + "\" needs a cache_key");
  if (draft.targets.empty()) return wrong(value, "cache \"" + draft.name + "\" needs target_paths");
  return draft;
}

Result<> Reader::name(const YamlValue& value, Definition& draft) const {
  if (value.kind != Kind::scalar) return wrong(value, "name must be text");
  if (const auto checked = check_name(value.text); !checked)
    return wrong(value, checked.error().text());
  draft.name = value.text;
  return {};
}

Result<> Reader::key(const YamlValue& value, Definition& draft) const {
  if (value.kind != Kind::list || value.items.empty())
    return wrong(value, "cache_key must be a list of key parts");
  draft.key.clear();
  bool limited = false;
  for (const YamlValue& item : value.items) THAW_CHECK(key_part(item, draft, limited));
  if (!limited) draft.required_parts = draft.key.size();
  return {};
}

Result<> Reader::key_part(const YamlValue& value, Definition& draft, bool& limited) const {
  bool limits = false;
  std::optional<KeyPart> part;
  if (value.kind == Kind::scalar) {
    THAW_ASSIGN(std::string text, text_of(value, "a key part"));
    part = LiteralPart{std::move(text)};
  } else {
    THAW_ASSIGN(const auto fields, fields_of(value, origin_, "a key part that is no text"));
    for (const YamlField& field : fields) {
      if (field.name->text == "fallback_limit") {
        if (field.value->text != "true" && field.value->text != "false")
          return wrong(*field.value, "fallback_limit is true or false");
        limits = field.value->text == "true";
        continue;
      }
      if (part) return wrong(*field.name, "a key part has one source");
      THAW_ASSIGN(part, source(field));
    }
    if (!part && !limits)
      return wrong(value, "a key part is text, agent, env, checksum or fallback_limit");
  }
  if (part) draft.key.push_back(*std::move(part));
  if (draft.key.size() > kMostKeyParts)
    return wrong(value, fmt::format("more than {} key parts", kMostKeyParts));
  if (!limits) return {};
  if (limited) return wrong(value, "a second fallback_limit");
  if (draft.key.empty()) return wrong(value, "no key part stands before fallback_limit");
  limited = true;
  draft.required_parts = draft.key.size();
  return {};
}

Result<KeyPart> Reader::source(const YamlField& field) const {
  const std::string& name = field.name->text;
  if (name == "agent") {
    for (const auto& [word, fact] : kFacts) {
      if (field.value->text == word) return KeyPart(AgentPart{fact});
    }
    return wrong(*field.value, "agent is os, arch, branch, step or pipeline");
  }
  if (name == "env") {
    THAW_ASSIGN(std::string variable, text_of(*field.value, "env"));
    if (variable.find('=') != std::string::npos)
      return wrong(*field.value, "env is the name of a variable");
    return KeyPart(EnvPart{std::move(variable)});
  }
  if (name == "checksum") {
    THAW_ASSIGN(ChecksumPart part, checksum(*field.value));
    return KeyPart(std::move(part));
  }
  return wrong(*field.name,
               fmt::format("unknown key part \"{}\": write text, agent, env, checksum or "
                           "fallback_limit",
                           name));
}

Result<ChecksumPart> Reader::checksum(const YamlValue& value) const {
  ChecksumPart part;
  const bool is_list = value.kind == Kind::list;
  if (is_list && value.items.empty()) return wrong(value, "checksum names no file");
  if (is_list && value.items.size() > kMostKeyParts)
    return wrong(value, fmt::format("more than {} patterns", kMostKeyParts));
  for (size_t i = 0; i < (is_list ? value.items.size() : 1); ++i) {
    THAW_ASSIGN(std::string pattern,
                text_of(is_list ? value.items[i] : value, "a path or pattern"));
    if (const auto checked = check_pattern(pattern); !checked)
      return wrong(is_list ? value.items[i] : value, checked.error().text());
    part.patterns.push_back(std::move(pattern));
  }
  return part;
}

Result<> Reader::targets(const YamlValue& value, Definition& draft) const {
  if (value.kind != Kind::list || value.items.empty())
    return wrong(value, "target_paths must be a list of paths");
  if (value.items.size() > kMostTargets)
    return wrong(value, fmt::format("more than {} target paths", kMostTargets));
  draft.targets.clear();
  for (const YamlValue& item : value.items) {
    // A plain ~ is YAML's word for nothing.
    const std::string text = item.kind == Kind::null ? "~" : item.text;
    if (item.kind != Kind::scalar && item.kind != Kind::null)
      return wrong(item, "a target path must be text");
    auto target = Target::parse(text);
    if (!target) return wrong(item, target.error().text());
    target->set_written_at(yaml_place(origin_, item));
    if (std::find(draft.targets.begin(), draft.targets.end(), *target) != draft.targets.end())
      return wrong(item, fmt::format("a second target path \"{}\"", target->text()));
    draft.targets.push_back(*std::move(target));
  }
  std::sort(draft.targets.begin(), draft.targets.end());
  return {};
}

Result<> Reader::preset(const YamlValue& value, Definition& draft) const {
  const Definition* known = find_preset(value.text);
  if (value.kind != Kind::scalar || known == nullptr)
    return wrong(value, "preset is " + preset_names());
  draft = *known;
  for (Target& target : draft.targets) target.set_written_at(yaml_place(origin_, value));
  return {};
}

}  // namespace

Result<> check_name(std::string_view name) {
  const bool fine = !name.empty() && name.size() <= kNameBytes &&
                    std::all_of(name.begin(), name.end(), [](char c) {
                      return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
                             (c >= '0' && c <= '9') || c == '_';
                    });
  if (fine) return {};
  return Error(Code::invalid,
               fmt::format("a cache's name has 1 to {} letters, digits and _", kNameBytes));
}

Result<std::vector<Definition>> parse_cache_file(std::string_view text, const std::string& origin) {
  THAW_ASSIGN(const YamlValue document, parse_yaml(text, origin));
  return Reader(origin).caches(document);
}

Result<Definition> define_cache(const std::string& name, const std::vector<std::string>& key_parts,
                                const std::vector<std::string>& paths) {
  THAW_CHECK(check_name(name).within("--name"));
  Definition definition;
  definition.name = name;
  bool limited = false;
  for (const std::string& part : key_parts) {
    const std::string origin = "--key";
    THAW_ASSIGN(const YamlValue value, parse_yaml(part, origin));
    THAW_CHECK(Reader(origin).key_part(value, definition, limited));
  }
  if (definition.key.empty()) return Error(Code::invalid, "a cache without a file needs --key");
  if (!limited) definition.required_parts = definition.key.size();
  for (const std::string& path : paths) {
    THAW_ASSIGN(Target target, Target::parse(path).within("--path"));
    target.set_written_at("--path");
    definition.targets.push_back(std::move(target));
  }
  if (paths.empty()) return Error(Code::invalid, "a cache without a file needs --path");
  if (paths.size() > kMostTargets) return Error(Code::invalid, "--path: too many");
  std::sort(definition.targets.begin(), definition.targets.end());
  const auto twice = std::adjacent_find(definition.targets.begin(), definition.targets.end());
  if (twice != definition.targets.end())
    return Error(Code::invalid, "--path: \"" + twice->text() + "\" twice");
  return definition;
}

Result<std::string> find_cache_file(const std::string& directory) {
  std::vector<std::string> found;
  for (const char* file : kFiles) {
    std::error_code fault;
    const std::filesystem::path path = std::filesystem::path(directory) / file;
    if (std::filesystem::exists(path, fault)) found.emplace_back(file);
  }
  if (found.empty()) {
    return Error(Code::invalid,
                 fmt::format("there is no {} here, nor {}: write one, or name a cache by --name, "
                             "--key and --path",
                             kFiles[0], kFiles[2]));
  }
  if (found.size() > 1) {
    return Error(Code::invalid, fmt::format("both {} and {} are here: keep one, or say --file",
                                            found[0], found[1]));
  }
  return found.front();
}

}  // namespace thaw::cache
