// ObjectStore on a bucket of Amazon S3, or of a server that speaks its protocol.
#pragma once

#include <chrono>
#include <memory>
#include <string>

#include "base/clock.h"
#include "object/multipart.h"
#include "object/s3/credentials.h"
#include "object/s3/http.h"
#include "object/store.h"

namespace thaw::s3 {

// Where the bucket's name goes: into the path, or before the host. automatic: before the host at
// Amazon and Google (unless the name has dots), else into the path.
enum class Addressing { automatic, path, virtual_host };

// google: Cloud Storage's XML interface with HMAC keys.
enum class Dialect { amazon, google };

// How a put that must not replace is made. `check` looks first and then puts, for servers that know
// no condition: two writers of one name at the same moment may then both believe that it is theirs.
enum class CreateOnly { conditional, check };

// A plain value, without secrets.
struct S3Options {
  std::string bucket;
  std::string prefix;  // "" or "a/b": what lies below it is the store
  std::string region = "us-east-1";
  std::string endpoint;  // "https://host[:port]"; empty: the dialect's own
  Addressing addressing = Addressing::automatic;
  Dialect dialect = Dialect::amazon;
  CreateOnly create_only = CreateOnly::conditional;
  // Every put carries the SHA-256 of its bytes, signed, and the server refuses what does not match.
  // false: for servers that cannot; TLS alone protects then.
  bool checksums = true;
  std::string encryption;  // x-amz-server-side-encryption: "", "AES256" or "aws:kms"
  std::string encryption_key_id;
  // A read whose first byte is later than this is asked for a second time, until enough answers
  // have come to know the server's own tail. Zero: never.
  std::chrono::milliseconds hedge_start{150};
};

// `credentials` is null for a bucket that everybody may read. `http` and `clock` outlive the store.
// Touches nothing yet. Errors of the bucket's configuration (no such bucket, wrong region) are
// Code::invalid, refused permissions Code::denied.
std::unique_ptr<ObjectStore> make_s3_store(S3Options options, HttpClient& http,
                                           Credentialing* credentials, const WallClock& clock);

// Uploads in parts to the same bucket. As make_s3_store.
std::unique_ptr<MultipartStore> make_s3_multipart(S3Options options, HttpClient& http,
                                                  Credentialing* credentials,
                                                  const WallClock& clock);

}  // namespace thaw::s3
