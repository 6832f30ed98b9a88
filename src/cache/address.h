// Addresses: the exact keys under which a cache lies in the store.
#pragma once

#include <string>
#include <vector>

#include "base/context.h"
#include "base/environment.h"
#include "cache/ci.h"
#include "cache/definition.h"
#include "format/key.h"

namespace thaw::cache {

// A key part with its value.
struct KeyValue {
  char kind = 'l';  // l: text, a: agent, e: env, c: checksum
  std::string value;
};

// What values come from. All outlive the call.
struct KeySources {
  const CiFacts& facts;
  const Environment& environment;
  const std::string& working_directory;         // absolute
  const std::vector<std::string>& all_targets;  // Job::all_targets
};

// One cache's keys, in every scope. A plain value.
class Address {
 public:
  // Computes the values; reads files for checksums. Errors are those of file_checksum().
  static Result<Address> resolve(const Context& context, const Definition& definition,
                                 const KeySources& sources);
  Address(const Definition& definition, const std::string& project, std::vector<KeyValue> values);

  size_t parts() const { return values_.size(); }
  size_t required_parts() const { return required_; }
  size_t targets() const { return targets_.size(); }
  // The key of one target, of the first `parts` parts. Precondition: 1 <= parts <= parts().
  Key key(const std::string& scope, size_t parts, size_t target) const;
  // The same below another address of this cache. Precondition: `digest` is 64 hexadecimal digits.
  Key key_below(const std::string& scope, const std::string& digest, size_t target) const;
  // 64 hexadecimal digits: docs/cache.md, "Address".
  std::string digest(size_t parts) const;
  // "v1-node#linux#amd64", for people: cut where it is long, and safe on a terminal.
  std::string text() const;

 private:
  std::string prefix_;  // "ci/PROJECT/"
  std::string name_;
  std::vector<std::string> targets_;
  std::vector<KeyValue> values_;
  size_t required_;
};

}  // namespace thaw::cache
