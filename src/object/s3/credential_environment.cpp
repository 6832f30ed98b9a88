// The pair of keys in the environment.
#include <fmt/format.h>

#include "object/s3/credential_answer.h"
#include "object/s3/credential_sources.h"

namespace thaw::s3 {
namespace {

constexpr const char* kKeyId = "AWS_ACCESS_KEY_ID";
constexpr const char* kSecret = "AWS_SECRET_ACCESS_KEY";
constexpr const char* kToken = "AWS_SESSION_TOKEN";

class EnvironmentSource final : public CredentialSource {
 public:
  explicit EnvironmentSource(Environment environment) : environment_(std::move(environment)) {}

  Result<std::optional<Credentials>> load(const Context& /*context*/) override {
    const auto key_id = environment_(kKeyId);
    auto secret = environment_(kSecret);
    if (!key_id && !secret) return std::nullopt;
    if (!key_id || !secret) {
      return Error(Code::invalid,
                   fmt::format("{} is set and {} is not: set both, or neither to use another "
                               "source of credentials",
                               key_id ? kKeyId : kSecret, key_id ? kSecret : kKeyId));
    }
    Credentials credentials;
    credentials.access_key_id = *key_id;
    credentials.secret_access_key = Secret(*std::move(secret));
    credentials.session_token = Secret(environment_(kToken).value_or(""));
    const std::string fault = fault_of(credentials);
    if (!fault.empty()) {
      return Error(Code::invalid, fmt::format("{} (in {}, {} or {}): set it anew", fault, kKeyId,
                                              kSecret, kToken));
    }
    return credentials;
  }

  std::string describe() const override {
    return fmt::format("the environment ({}, {})", kKeyId, kSecret);
  }

 private:
  const Environment environment_;
};

}  // namespace

std::unique_ptr<CredentialSource> environment_source(Environment environment) {
  return std::make_unique<EnvironmentSource>(std::move(environment));
}

}  // namespace thaw::s3
