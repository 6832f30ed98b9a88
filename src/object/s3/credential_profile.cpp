// Profiles in AWS's shared files.
#include <fmt/format.h>

#include "base/log.h"
#include "object/s3/aws_profile.h"
#include "object/s3/credential_answer.h"
#include "object/s3/credential_sources.h"

namespace thaw::s3 {
namespace {

constexpr const char* kSettings = "the settings";

struct Choice {
  std::string name;
  std::string named_by;  // empty: nobody, it is the default
};

Choice choose(const CredentialOptions& options, const Environment& environment) {
  if (!options.profile.empty()) return {options.profile, kSettings};
  for (const char* variable : {"AWS_PROFILE", "AWS_DEFAULT_PROFILE"}) {
    if (auto name = environment(variable)) return {*std::move(name), variable};
  }
  return {"default", ""};
}

struct File {
  ProfileFile kind;
  std::string path;      // empty: there is no HOME to look in
  std::string named_by;  // empty: nobody, it is the default
};

File locate(ProfileFile kind, const Environment& environment) {
  const bool credentials = kind == ProfileFile::credentials;
  const char* variable = credentials ? "AWS_SHARED_CREDENTIALS_FILE" : "AWS_CONFIG_FILE";
  const std::string home = environment("HOME").value_or("");
  if (auto path = environment(variable)) {
    // Where no shell saw it (a unit file, a Dockerfile) the tilde is still there.
    if (path->starts_with("~/") && !home.empty()) path->replace(0, 1, home);
    return {kind, *std::move(path), variable};
  }
  if (home.empty()) return {kind, "", ""};
  return {kind, home + (credentials ? "/.aws/credentials" : "/.aws/config"), ""};
}

Result<std::optional<Profile>> look_in(const File& file, const Choice& choice) {
  if (file.path.empty()) return std::nullopt;
  auto text = read_text_file(file.path, kProfileFileBytes);
  if (text) return parse_profile(text->reveal(), file.kind, choice.name, file.path);
  Error error = std::move(text).error();
  if (error.code() == Code::not_found) return std::nullopt;
  // A HOME that is another user's is common in containers, and nobody has asked for this file.
  if (error.code() == Code::denied && file.named_by.empty() && choice.named_by.empty()) {
    log::info("credentials: {}, passed over", error.text());
    return std::nullopt;
  }
  // Whatever else is wrong with it, it is the configuration's: no snapshot is missing or too large.
  const bool kept = error.code() == Code::denied || error.code() == Code::unavailable;
  return Error(kept ? error.code() : Code::invalid,
               file.named_by.empty()
                   ? error.text()
                   : fmt::format("{} (named by {})", error.text(), file.named_by));
}

class ProfileSource final : public CredentialSource {
 public:
  ProfileSource(CredentialOptions options, Environment environment, HttpClient& http)
      : options_(std::move(options)),
        environment_(std::move(environment)),
        http_(http),
        choice_(choose(options_, environment_)),
        credentials_file_(locate(ProfileFile::credentials, environment_)),
        config_file_(locate(ProfileFile::config, environment_)) {}

  Result<std::optional<Credentials>> load(const Context& context) override {
    THAW_ASSIGN(const auto profile, find());
    if (!profile) {
      if (choice_.named_by.empty()) return std::nullopt;
      return Error(
          Code::invalid,
          fmt::format(
              "it is named by {}, and it does not exist: write it as [{}] into the first file "
              "or as [{}{}] into the second, or name another",
              choice_.named_by, choice_.name, choice_.name == "default" ? "" : "profile ",
              choice_.name));
    }
    if (!profile->role_arn.empty()) return take_role(context, *profile);
    if (!profile->access_key_id.empty() || !profile->secret_access_key.empty()) {
      return keys_of(*profile);
    }
    if (!profile->web_identity_token_file.empty()) {
      return Error(Code::invalid, fmt::format("{}: web_identity_token_file without role_arn: name "
                                              "the role that is to be taken",
                                              profile->role_where));
    }
    if (!profile->unserved.empty()) return refuse(*profile);
    return std::nullopt;
  }

  std::string describe() const override {
    if (credentials_file_.path.empty() && config_file_.path.empty()) {
      return fmt::format("the profile \"{}\" (no files: HOME is not set)", choice_.name);
    }
    return fmt::format("the profile \"{}\" ({}, {})", choice_.name, shown(credentials_file_),
                       shown(config_file_));
  }

 private:
  Result<std::optional<Profile>> find() const {
    THAW_ASSIGN(auto over, look_in(credentials_file_, choice_));
    THAW_ASSIGN(auto under, look_in(config_file_, choice_));
    if (!over && !under) return std::nullopt;
    return merged(std::move(over).value_or(Profile()), std::move(under).value_or(Profile()));
  }

  static std::string shown(const File& file) { return file.path.empty() ? "none" : file.path; }

  Result<std::optional<Credentials>> take_role(const Context& context,
                                               const Profile& profile) const {
    if (profile.web_identity_token_file.empty()) {
      if (!profile.unserved.empty()) return refuse(profile);
      return Error(
          Code::invalid,
          fmt::format("{}: role_arn without web_identity_token_file: thaw takes roles with "
                      "a web identity's token only. {}",
                      profile.role_where, instead()));
    }
    WebIdentity identity;
    identity.role_arn = profile.role_arn;
    identity.token_file = profile.web_identity_token_file;
    identity.session_name = profile.role_session_name;
    identity.region = sts_region(options_, environment_);
    if (identity.region.empty()) identity.region = profile.region;
    identity.endpoint = sts_endpoint(environment_, profile.endpoint_url);
    THAW_ASSIGN(auto credentials, assume_role(context, http_, identity));
    return credentials;
  }

  static Result<std::optional<Credentials>> keys_of(const Profile& profile) {
    Credentials credentials;
    credentials.access_key_id = profile.access_key_id;
    credentials.secret_access_key = profile.secret_access_key;
    credentials.session_token = profile.session_token;
    const std::string fault = fault_of(credentials);
    if (fault.empty()) return credentials;
    return Error(Code::invalid, fmt::format("{}: {}: set aws_access_key_id and "
                                            "aws_secret_access_key, both in one file",
                                            profile.keys_where, fault));
  }

  Error refuse(const Profile& profile) const {
    return {Code::invalid, fmt::format("{}: {} is a way to credentials that thaw does not go. {}",
                                       profile.unserved_where, profile.unserved, instead())};
  }

  // What every setting that is refused can be replaced by.
  std::string instead() const {
    const bool by_settings = choice_.named_by == kSettings;
    return fmt::format(
        "{}ut the keys into the environment first, with eval \"$(aws configure export-credentials "
        "--profile {} --format env)\"; or name a profile that has aws_access_key_id and "
        "aws_secret_access_key, or role_arn and web_identity_token_file",
        by_settings ? "Name no profile in the settings and p" : "P", choice_.name);
  }

  const CredentialOptions options_;
  const Environment environment_;
  HttpClient& http_;
  const Choice choice_;
  const File credentials_file_;
  const File config_file_;
};

}  // namespace

std::unique_ptr<CredentialSource> profile_source(CredentialOptions options, Environment environment,
                                                 HttpClient& http) {
  return std::make_unique<ProfileSource>(std::move(options), std::move(environment), http);
}

ProfilePlace profile_place(const CredentialOptions& options, const Environment& environment) {
  const Choice choice = choose(options, environment);
  ProfilePlace place;
  for (const ProfileFile kind : {ProfileFile::credentials, ProfileFile::config}) {
    const auto profile = look_in(locate(kind, environment), choice);
    if (!profile || !*profile) continue;
    if (place.region.empty()) place.region = (*profile)->region;
    if (place.endpoint_url.empty()) place.endpoint_url = (*profile)->endpoint_url;
  }
  return place;
}

}  // namespace thaw::s3
