// Credentials for S3, and where they come from: the AWS SDKs' standard chain.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "base/clock.h"
#include "base/context.h"
#include "base/environment.h"
#include "base/secret.h"
#include "object/s3/http.h"

namespace thaw::s3 {

struct Credentials {
  std::string access_key_id;
  Secret secret_access_key;
  Secret session_token;              // empty for long-lived ones
  std::optional<Timestamp> expires;  // empty: never
  bool operator==(const Credentials&) const = default;
};

// One place that credentials may come from. Thread-safe.
class CredentialSource {
 public:
  virtual ~CredentialSource() = default;
  // Empty when this place has none, and the next one is to be asked. An error is of a place that is
  // configured and does not work: the chain ends there, and says so.
  virtual Result<std::optional<Credentials>> load(const Context& context) = 0;
  // For people: "the profile \"ci\" in ~/.aws/credentials". Holds no secret.
  virtual std::string describe() const = 0;
};

// Credentials that stay fresh. Thread-safe: one thread refreshes, the others wait for it or go on
// with what still counts.
class Credentialing {
 public:
  virtual ~Credentialing() = default;
  // Refreshed when they expire within five minutes. Code::denied when there are none anywhere: the
  // message lists where it was looked. A place that is configured and does not work is an error of
  // its own: Code::invalid when it is configured wrongly, denied when it refuses, unavailable or
  // busy when later may work. Errors are not kept: the next call tries again.
  virtual Result<Credentials> current(const Context& context) = 0;
  // The server said that `used` is expired: the next current() loads anew, unless somebody did.
  virtual void reject(const Credentials& used) = 0;
  // The source that answered, for `doctor`; empty before the first current().
  virtual std::string source() const = 0;
};

struct CredentialOptions {
  // Empty: AWS_PROFILE, AWS_DEFAULT_PROFILE, "default". When it is named here, the keys in the
  // environment are not asked, as with `aws --profile`.
  std::string profile;
  std::string region;  // for STS; empty: AWS_REGION, AWS_DEFAULT_REGION, the profile's
  // From the settings; when it is there, nothing else is asked.
  std::optional<Credentials> fixed;
};

// The chain, in the order of the AWS SDK for C++: environment, profile files, web identity,
// container endpoint, instance metadata (v2). `http` and `clock` outlive it.
std::unique_ptr<Credentialing> credential_chain(CredentialOptions options,
                                                const Environment& environment, HttpClient& http,
                                                const WallClock& clock);

}  // namespace thaw::s3
