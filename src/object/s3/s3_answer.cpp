#include "object/s3/s3_answer.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <pugixml.hpp>

#include "base/percent.h"
#include "object/s3/dates.h"

namespace thaw::s3 {
namespace {

constexpr size_t kErrorBytes = 64 * 1024;
// A page has at most 1,000 names of 1,024 bytes, each three times as long when encoded.
constexpr size_t kListBytes = 8 * 1024 * 1024;
constexpr size_t kPageNames = 1000;
constexpr size_t kTextBytes = 500;

// Neither entities nor anything else of a DTD is expanded: pugixml knows the five of XML alone.
bool load(pugi::xml_document& document, Bytes body) {
  return static_cast<bool>(
      document.load_buffer(body.data(), body.size(), pugi::parse_default, pugi::encoding_utf8));
}

// What a server says of itself goes into messages: one line, printable, not too long.
std::string readable(std::string_view text) {
  std::string line(text.substr(0, kTextBytes));
  std::replace_if(
      line.begin(), line.end(),
      [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; }, ' ');
  return line;
}

// encoding-type=url: percent-encoded, and '+' for a blank.
std::optional<std::string> url_decoded(std::string text) {
  std::replace(text.begin(), text.end(), '+', ' ');
  return percent_decoded(text);
}

template <class T>
std::optional<T> number_of(std::string_view text) {
  T value{};
  const auto [end, fault] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (fault != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

std::string unquoted(std::string_view etag) {
  if (etag.size() >= 2 && etag.front() == '"' && etag.back() == '"') {
    etag = etag.substr(1, etag.size() - 2);
  }
  return std::string(etag);
}

Error no_listing(std::string_view why) {
  return {Code::unavailable, fmt::format("the answer is no listing of an S3 server: {}", why)};
}

}  // namespace

ErrorAnswer parse_error_answer(Bytes body) {
  ErrorAnswer answer;
  pugi::xml_document document;
  if (body.empty() || body.size() > kErrorBytes || !load(document, body)) return answer;
  const pugi::xml_node error = document.child("Error");
  answer.code = readable(error.child_value("Code"));
  answer.message = readable(error.child_value("Message"));
  answer.region = readable(error.child_value("Region"));
  return answer;
}

Result<ListAnswer> parse_list_answer(Bytes body) {
  if (body.size() > kListBytes) return no_listing("it is too large");
  pugi::xml_document document;
  if (!load(document, body)) return no_listing("it is cut off, or not XML");
  const pugi::xml_node root = document.child("ListBucketResult");
  if (!root) return no_listing("it is something else");
  ListAnswer answer;
  for (const pugi::xml_node node : root.children("Contents")) {
    if (answer.objects.size() == kPageNames) return no_listing("it has more than 1,000 names");
    ListAnswer::Object object;
    auto name = url_decoded(node.child_value("Key"));
    const auto size = number_of<uint64_t>(node.child_value("Size"));
    const auto modified = parse_iso_date(node.child_value("LastModified"));
    if (!name || name->empty() || !size || !modified) {
      return no_listing("an entry lacks its name, size or date");
    }
    object.name = *std::move(name);
    object.size_bytes = *size;
    object.modified = *modified;
    object.etag = unquoted(node.child_value("ETag"));
    answer.objects.push_back(std::move(object));
  }
  const std::string_view truncated = root.child_value("IsTruncated");
  if (truncated != "true" && truncated != "false")
    return no_listing("it does not say where it ends");
  answer.truncated = truncated == "true";
  return answer;
}

Result<std::vector<DeleteFault>> parse_delete_answer(Bytes body) {
  pugi::xml_document document;
  if (body.size() > kListBytes || !load(document, body) || !document.child("DeleteResult")) {
    return Error(Code::unavailable, "the answer to a delete is not an S3 server's");
  }
  std::vector<DeleteFault> faults;
  for (const pugi::xml_node node : document.child("DeleteResult").children("Error")) {
    faults.push_back({readable(node.child_value("Key")), readable(node.child_value("Code")),
                      readable(node.child_value("Message"))});
  }
  return faults;
}

Result<std::string> parse_upload_answer(Bytes body) {
  pugi::xml_document document;
  std::string id;
  if (body.size() <= kErrorBytes && load(document, body)) {
    id = document.child("InitiateMultipartUploadResult").child_value("UploadId");
  }
  if (id.empty()) return Error(Code::unavailable, "the answer does not name an upload");
  return id;
}

Result<std::optional<ErrorAnswer>> parse_complete_answer(Bytes body) {
  pugi::xml_document document;
  if (body.size() > kErrorBytes || !load(document, body)) {
    return Error(Code::unavailable, "the answer to the end of an upload is cut off, or not XML");
  }
  if (document.child("CompleteMultipartUploadResult")) return std::optional<ErrorAnswer>();
  if (document.child("Error")) return std::optional<ErrorAnswer>(parse_error_answer(body));
  return Error(Code::unavailable, "the answer to the end of an upload is something else");
}

std::optional<ContentRange> parse_content_range(std::string_view text) {
  constexpr std::string_view kUnit = "bytes ";
  if (!text.starts_with(kUnit)) return std::nullopt;
  text.remove_prefix(kUnit.size());
  const size_t dash = text.find('-');
  const size_t slash = text.find('/');
  if (dash == std::string_view::npos || slash == std::string_view::npos || dash > slash) {
    return std::nullopt;
  }
  const auto first = number_of<uint64_t>(text.substr(0, dash));
  const auto last = number_of<uint64_t>(text.substr(dash + 1, slash - dash - 1));
  const auto size = number_of<uint64_t>(text.substr(slash + 1));
  if (!first || !last || !size || *first > *last || *last >= *size) return std::nullopt;
  return ContentRange{*first, *last, *size};
}

namespace {

Code code_of(int status, std::string_view code) {
  // Damaged or cut off on the way there: the same bytes sent again may arrive whole.
  for (const char* damaged : {"BadDigest", "InvalidDigest", "XAmzContentSHA256Mismatch",
                              "XAmzContentChecksumMismatch", "IncompleteBody", "RequestTimeout"}) {
    if (code == damaged) return Code::unavailable;
  }
  if (code == "SlowDown" || code == "ServiceUnavailable") return Code::unavailable;
  if (code == "NoSuchBucket") return Code::invalid;
  switch (status) {
    case 401:
    case 403:
    case 407:
      return Code::denied;
    case 404:
      return Code::not_found;
    case 409:
      return Code::busy;
    case 408:
    case 429:
    case 500:
    case 502:
    case 503:
    case 504:
      return Code::unavailable;
    case 507:
      return Code::exhausted;
    default:
      return Code::invalid;
  }
}

std::string hint_of(int status, const HttpResponse& response, const ErrorAnswer& answer) {
  std::string region = answer.region;
  if (region.empty()) region = readable(response.header("x-amz-bucket-region"));
  const bool elsewhere = (status >= 300 && status < 400) ||
                         answer.code == "AuthorizationHeaderMalformed" ||
                         answer.code == "IllegalLocationConstraintException";
  if (elsewhere && !region.empty()) {
    return fmt::format("; the bucket is in region {0}: say region={0} in the store's URL", region);
  }
  if (elsewhere) return "; is this the bucket's region and endpoint?";
  if (answer.code == "NoSuchBucket") return "; is the bucket's name right, and the endpoint's?";
  if (answer.code == "SignatureDoesNotMatch") return "; the secret key does not fit the access key";
  if (answer.code == "InvalidAccessKeyId") return "; the server does not know this access key";
  if (status == 403) return "; `thaw doctor` tells which permission is missing";
  return "";
}

// "2" seconds, or a date.
std::optional<std::chrono::milliseconds> retry_after(const HttpResponse& response) {
  const std::string_view text = response.header("retry-after");
  if (text.empty()) return std::nullopt;
  if (const auto seconds = number_of<uint32_t>(text)) return std::chrono::seconds(*seconds);
  const auto then = parse_http_date(text);
  const auto now = parse_http_date(response.header("date"));
  if (!then || !now || *then < *now) return std::nullopt;
  return std::chrono::milliseconds((then->ns - now->ns) / 1'000'000);
}

}  // namespace

Error error_of_answer(const HttpResponse& response, const ErrorAnswer& answer) {
  const Code code = code_of(response.status, answer.code);
  std::string text = fmt::format("the server answered {}", response.status);
  if (!answer.code.empty()) text += " " + answer.code;
  if (!answer.message.empty()) text += " (" + answer.message + ")";
  text += hint_of(response.status, response, answer);
  Error error(code, std::move(text));
  if (const auto wait = retry_after(response)) return std::move(error).after(*wait);
  return error;
}

std::optional<Error> foreign_answer(const HttpResponse& response) {
  // Every S3 server names its requests; a proxy's page has no such header.
  const bool named = !response.header("x-amz-request-id").empty() ||
                     !response.header("x-guploader-uploadid").empty();
  const std::string_view type = response.header("content-type");
  if (named || !type.starts_with("text/html")) return std::nullopt;
  return Error(Code::unavailable,
               "an HTML page came instead of an S3 server's answer: is a proxy or login page in "
               "between?");
}

}  // namespace thaw::s3
