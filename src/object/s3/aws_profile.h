// One profile of AWS's shared files: `~/.aws/config` and `~/.aws/credentials`.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "base/result.h"
#include "base/secret.h"

namespace thaw::s3 {

// Session tokens are the longest values there are, and of a few kilobytes.
inline constexpr size_t kProfileFileBytes = 1024 * 1024;
inline constexpr size_t kProfileLineBytes = 32 * 1024;

// What thaw reads of it; empty where it is not set. `…_where` is "FILE:LINE", for messages.
struct Profile {
  std::string access_key_id;
  Secret secret_access_key;
  Secret session_token;
  std::string keys_where;
  std::string role_arn;
  std::string role_where;
  std::string role_session_name;
  std::string web_identity_token_file;
  std::string region;
  std::string endpoint_url;
  // The first setting that names a way to credentials which thaw does not go ("sso_session").
  std::string unserved;
  std::string unserved_where;
};

// In `config` a profile's section is [profile NAME], but for [default]; in `credentials` it is
// [NAME].
enum class ProfileFile { credentials, config };

// Pure and bounded; the text may be anything. Empty when the file has no such profile. A file that
// breaks the format is Code::invalid, whichever profile the line belongs to: "ORIGIN:LINE: …", and
// never quotes the line. The format is AWS's: comments with # or ;, settings that are indented
// below another one belong to it and are skipped, names of settings in either case, the last of
// several counts.
Result<std::optional<Profile>> parse_profile(std::string_view text, ProfileFile kind,
                                             std::string_view name, const std::string& origin);

// The one with the other's settings where it has none itself. Keys come as a set from one of them.
Profile merged(Profile over, Profile under);

}  // namespace thaw::s3
