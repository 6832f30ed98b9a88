// What S3 servers, credential services and AWS's files say. The first byte chooses the lane; see
// main's list.
#include <string>

#include "check.h"
#include "object/s3/aws_profile.h"
#include "object/s3/credential_answer.h"
#include "object/s3/credential_sources.h"
#include "object/s3/dates.h"
#include "object/s3/s3_answer.h"
#include "object/s3/sigv4.h"
#include "taker.h"

namespace thaw::s3 {
namespace {

void fuzz_listing(Bytes body) {
  const auto listing = parse_list_answer(body);
  if (!listing) {
    FUZZ_CHECK(listing.error().code() == Code::unavailable);
    return;
  }
  FUZZ_CHECK(listing->objects.size() <= 1000);
  for (const auto& object : listing->objects) FUZZ_CHECK(!object.name.empty());
}

void fuzz_error(Bytes body) {
  HttpResponse response;
  response.status = 400 + static_cast<int>(body.size() % 200);
  response.body.append(body);
  const ErrorAnswer answer = parse_error_answer(body);
  const Error error = error_of_answer(response, answer);
  // One line, whatever the server wrote.
  for (const char c : error.text()) FUZZ_CHECK(static_cast<unsigned char>(c) >= 0x20);
  FUZZ_CHECK(error.text().size() < 4096);
}

void fuzz_words(std::string_view text) {
  if (const auto range = parse_content_range(text)) {
    FUZZ_CHECK(range->first <= range->last && range->last < range->size_bytes);
  }
  if (const auto time = parse_http_date(text)) FUZZ_CHECK(time->ns >= 0);
  if (const auto time = parse_iso_date(text)) FUZZ_CHECK(time->ns >= 0);
  (void)parse_iso_date(text);
  (void)parse_http_url(text);
  const std::string encoded = uri_encoded(text, Slash::encode);
  for (const char c : encoded) FUZZ_CHECK(static_cast<unsigned char>(c) > 0x20 && c != '/');
}

void fuzz_credentials(std::string_view text) {
  const auto of_json = credentials_of_json(text, Expiry::optional);
  if (of_json) FUZZ_CHECK(!of_json->secret_access_key.empty());
  const auto of_sts = credentials_of_sts(text);
  if (of_sts) FUZZ_CHECK(!of_sts->secret_access_key.empty());
}

}  // namespace
}  // namespace thaw::s3

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace thaw::s3;
  thaw::Taker input({data, size});
  switch (input.byte() % 6) {
    case 0:
      fuzz_listing(input.rest());
      break;
    case 1:
      fuzz_error(input.rest());
      break;
    case 2:
      (void)parse_delete_answer(input.rest());
      break;
    case 3:
      fuzz_words(thaw::as_text(input.rest()));
      break;
    case 4:
      fuzz_credentials(thaw::as_text(input.rest()));
      break;
    default:
      for (const auto kind : {ProfileFile::config, ProfileFile::credentials}) {
        (void)parse_profile(thaw::as_text(input.rest()), kind, "file", "ci");
      }
      break;
  }
  return 0;
}
