#include "cache/address.h"

#include <fmt/format.h>

#include "cache/file_checksum.h"
#include "cache/scope.h"
#include "format/digest.h"
#include "format/utf8.h"

namespace thaw::cache {
namespace {

constexpr std::string_view kVersion = "thaw-cache-1\n";
constexpr size_t kShownBytes = 48;
constexpr size_t kTextBytes = 600;

std::string fact_of(const CiFacts& facts, AgentFact fact) {
  switch (fact) {
    case AgentFact::os:
      return facts.os;
    case AgentFact::arch:
      return facts.arch;
    case AgentFact::branch:
      return facts.branch;
    case AgentFact::step:
      return facts.step;
    case AgentFact::pipeline:
      return facts.pipeline;
  }
  return "";
}

Result<KeyValue> value_of(const Context& context, const KeyPart& part, const KeySources& sources) {
  if (const auto* literal = std::get_if<LiteralPart>(&part)) return KeyValue{'l', literal->text};
  if (const auto* agent = std::get_if<AgentPart>(&part))
    return KeyValue{'a', fact_of(sources.facts, agent->fact)};
  if (const auto* env = std::get_if<EnvPart>(&part))
    return KeyValue{'e', sources.environment(env->name.c_str()).value_or("")};
  THAW_ASSIGN(std::string checksum,
              file_checksum(context, sources.working_directory,
                            std::get<ChecksumPart>(part).patterns, sources.all_targets));
  return KeyValue{'c', std::move(checksum)};
}

void add_text(Sha256& hash, std::string_view text) {
  hash.update_le(static_cast<uint32_t>(text.size()));
  hash.update(text);
}

std::string shown(std::string_view value) { return escaped(beginning_of(value, kShownBytes)); }

}  // namespace

Address::Address(const Definition& definition, const std::string& project,
                 std::vector<KeyValue> values)
    : prefix_("ci/" + segment_of(project) + "/"),
      name_(definition.name),
      values_(std::move(values)),
      required_(definition.required_parts) {
  for (const Target& target : definition.targets) targets_.push_back(target.text());
}

Result<Address> Address::resolve(const Context& context, const Definition& definition,
                                 const KeySources& sources) {
  std::vector<KeyValue> values;
  for (const KeyPart& part : definition.key) {
    THAW_ASSIGN(KeyValue value, value_of(context, part, sources));
    values.push_back(std::move(value));
  }
  return Address(definition, sources.facts.project, std::move(values));
}

std::string Address::digest(size_t parts) const {
  Sha256 hash;
  hash.update(kVersion);
  hash.update_le(static_cast<uint32_t>(targets_.size()));
  for (const std::string& target : targets_) add_text(hash, target);
  hash.update_le(static_cast<uint32_t>(parts));
  for (size_t i = 0; i < parts; ++i) {
    hash.update_le(static_cast<uint8_t>(values_[i].kind));
    add_text(hash, values_[i].value);
  }
  return hash.finish().hex();
}

Key Address::key(const std::string& scope, size_t parts, size_t target) const {
  return key_below(scope, digest(parts), target);
}

Key Address::key_below(const std::string& scope, const std::string& digest, size_t target) const {
  // Every segment is short and plain, so this is a key.
  return *Key::parse(fmt::format("{}{}/{}/{}/{}", prefix_, scope, name_, digest, target));
}

std::string Address::text() const {
  std::string text;
  for (const KeyValue& each : values_) {
    if (&each != &values_.front()) text += '#';
    text += shown(each.value);
    if (text.size() > kTextBytes) return std::string(beginning_of(text, kTextBytes)) + "...";
  }
  return text;
}

}  // namespace thaw::cache
