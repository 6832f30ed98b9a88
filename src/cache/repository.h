// Which repository a URL names, for telling a fork's job from one's own.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace thaw::cache {

// "github.com/acme/shop" of git@github.com:acme/shop.git, https://user@github.com/acme/shop and
// their like; empty for whatever has another form: what programs read in different ways is nobody's
// repository. Two URLs of one name lead to one repository; one repository may have several names.
// Docs: docs/cache.md, "The CI's environment". Pure.
std::optional<std::string> repository_of(std::string_view url);

// Whether both surely are one repository: the same text, or the same name.
bool is_same_repository(std::string_view one, std::string_view other);

}  // namespace thaw::cache
