// What the services that hand out credentials answer, as values. Pure; the text is hostile input,
// and no error quotes it.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "object/s3/credentials.h"

namespace thaw::s3 {

// Of one answer. They are of one to four kilobytes: the session token is nearly all of it.
inline constexpr size_t kAnswerBytes = 64 * 1024;

// Why they cannot be signed with or sent ("the secret access key is empty"); empty when they can.
std::string fault_of(const Credentials& credentials);

enum class Expiry { required, optional };
// The JSON of the container and instance services. Code::denied when the service says in it that it
// hands out none, Code::unavailable when it is not what the service promises.
Result<Credentials> credentials_of_json(std::string_view text, Expiry expiry);

// STS's answer to AssumeRoleWithWebIdentity.
Result<Credentials> credentials_of_sts(std::string_view xml);
// The code in one of STS's errors ("ExpiredTokenException"); empty when there is none.
std::string sts_error_code(std::string_view xml);

}  // namespace thaw::s3
