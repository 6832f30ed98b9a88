#include "object/s3/credential_answer.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <nlohmann/json.hpp>
#include <pugixml.hpp>

#include "object/s3/dates.h"

namespace thaw::s3 {
namespace {

using Json = nlohmann::json;

// Wider than anything seen; they bound what goes into a header of every request.
constexpr size_t kKeyIdBytes = 256;
constexpr size_t kSecretBytes = 4096;
constexpr size_t kSessionTokenBytes = 16 * 1024;

bool is_control(char c) { return static_cast<uint8_t>(c) < ' ' || c == '\x7f'; }
bool is_visible(char c) { return c > ' ' && c <= '~'; }
bool is_letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }

Error unusable(std::string_view why) {
  return {Code::unavailable, fmt::format("the answer holds no usable credentials: {}", why)};
}

// A service's word for what is wrong, as far as it can be shown: never a piece of a token.
std::string shown(std::string_view code) {
  constexpr size_t kLongest = 48;
  const bool fits = code.size() <= kLongest && std::all_of(code.begin(), code.end(), is_letter);
  return fits ? std::string(code) : "";
}

Result<Credentials> checked(Credentials credentials, std::string_view expires, Expiry expiry) {
  if (!expires.empty()) {
    credentials.expires = parse_iso_date(expires);
    if (!credentials.expires) return unusable("the time when they expire is malformed");
  } else if (expiry == Expiry::required) {
    return unusable("the time when they expire is missing");
  }
  const std::string fault = fault_of(credentials);
  if (!fault.empty()) return unusable(fault);
  return credentials;
}

std::string_view text_in(const Json& object, const char* name) {
  const auto found = object.find(name);
  if (found == object.end()) return "";
  const auto* text = found->get_ptr<const std::string*>();
  return text == nullptr ? std::string_view() : *text;
}

// Knows no document types: entities of a document's own are never expanded.
bool parse_xml(std::string_view xml, pugi::xml_document& document) {
  if (xml.size() > kAnswerBytes) return false;
  constexpr unsigned kFlags = pugi::parse_minimal | pugi::parse_escapes | pugi::parse_trim_pcdata;
  return static_cast<bool>(
      document.load_buffer(xml.data(), xml.size(), kFlags, pugi::encoding_utf8));
}

}  // namespace

std::string fault_of(const Credentials& credentials) {
  const std::string& id = credentials.access_key_id;
  if (id.empty()) return "the access key id is empty";
  if (id.size() > kKeyIdBytes) return "the access key id is too long";
  if (!std::all_of(id.begin(), id.end(), is_visible)) {
    return "the access key id holds blanks, line breaks or other characters that no key id has";
  }
  const std::string_view secret = credentials.secret_access_key.reveal();
  if (secret.empty()) return "the secret access key is empty";
  if (secret.size() > kSecretBytes) return "the secret access key is too long";
  if (std::any_of(secret.begin(), secret.end(), is_control) || secret.front() == ' ' ||
      secret.back() == ' ') {
    return "the secret access key holds a line break, or a blank at one of its ends";
  }
  const std::string_view token = credentials.session_token.reveal();
  if (token.size() > kSessionTokenBytes) return "the session token is too long";
  if (!std::all_of(token.begin(), token.end(), is_visible)) {
    return "the session token holds blanks, line breaks or other characters that no token has";
  }
  return "";
}

Result<Credentials> credentials_of_json(std::string_view text, Expiry expiry) {
  if (text.size() > kAnswerBytes) return unusable("it is too long");
  const Json answer = Json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (!answer.is_object()) return unusable("it is no JSON object");
  const std::string_view code = text_in(answer, "Code");
  if (!code.empty() && code != "Success") {
    const std::string word = shown(code);
    return Error(Code::denied, fmt::format("the service hands out no credentials{}{}: look at the "
                                           "role, and at whom it trusts",
                                           word.empty() ? "" : ", ", word));
  }
  const auto expires = answer.find("Expiration");
  if (expires != answer.end() && !expires->is_string() && !expires->is_null()) {
    return unusable("the time when they expire is malformed");
  }
  Credentials credentials;
  credentials.access_key_id = text_in(answer, "AccessKeyId");
  credentials.secret_access_key = Secret(std::string(text_in(answer, "SecretAccessKey")));
  credentials.session_token = Secret(std::string(text_in(answer, "Token")));
  return checked(std::move(credentials), text_in(answer, "Expiration"), expiry);
}

Result<Credentials> credentials_of_sts(std::string_view xml) {
  pugi::xml_document document;
  if (!parse_xml(xml, document)) return unusable("it is no XML, or too long");
  const pugi::xml_node found = document.child("AssumeRoleWithWebIdentityResponse")
                                   .child("AssumeRoleWithWebIdentityResult")
                                   .child("Credentials");
  if (!found) return unusable("it is no answer to AssumeRoleWithWebIdentity");
  Credentials credentials;
  credentials.access_key_id = found.child_value("AccessKeyId");
  credentials.secret_access_key = Secret(found.child_value("SecretAccessKey"));
  credentials.session_token = Secret(found.child_value("SessionToken"));
  if (credentials.session_token.empty()) return unusable("the session token is missing");
  return checked(std::move(credentials), found.child_value("Expiration"), Expiry::required);
}

std::string sts_error_code(std::string_view xml) {
  pugi::xml_document document;
  if (!parse_xml(xml, document)) return "";
  // AWS wraps it in <ErrorResponse>; Ceph answers a bare <Error>.
  pugi::xml_node error = document.child("ErrorResponse").child("Error");
  if (!error) error = document.child("Error");
  return shown(error.child_value("Code"));
}

}  // namespace thaw::s3
