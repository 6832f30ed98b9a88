#include "app/store_url.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "app/nearest.h"
#include "base/percent.h"

namespace thaw {
namespace {

Error refused(std::string message) { return {Code::invalid, "store: " + std::move(message)}; }

bool is_letter(char c) { return std::isalpha(static_cast<unsigned char>(c)) != 0; }

// RFC 3986, 3.1, in lower case; empty when the text does not begin with one and a colon.
std::string scheme_of(std::string_view text) {
  const size_t colon = text.find(':');
  if (colon == std::string_view::npos || colon == 0 || !is_letter(text.front())) return "";
  std::string scheme;
  for (const char c : text.substr(0, colon)) {
    const bool fits = is_letter(c) || (c >= '0' && c <= '9') || c == '+' || c == '-' || c == '.';
    if (!fits) return "";
    scheme += static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  }
  return scheme;
}

// Splits "//host/path" or "/path", what follows "file:".
Result<DirectoryUrl> parse_file_url(std::string_view rest) {
  if (rest.starts_with("//")) {
    rest.remove_prefix(2);
    const size_t slash = std::min(rest.find('/'), rest.size());
    const std::string_view host = rest.substr(0, slash);
    if (!host.empty() && host != "localhost") {
      return refused("a file URL names no host: write file:///path, with three slashes");
    }
    rest.remove_prefix(slash);
  }
  if (!rest.starts_with('/')) return refused("a file URL needs an absolute path: file:///path");
  if (rest.find_first_of("?#") != std::string_view::npos) {
    return refused("a file URL takes no '?' or '#'; in a path they are %3F and %23");
  }
  auto path = percent_decoded(rest);
  if (!path) return refused("a '%' in a file URL begins no two hexadecimal digits");
  if (path->find('\0') != std::string::npos) return refused("a path holds no NUL");
  return DirectoryUrl{*std::move(path)};
}

// --- s3://bucket/prefix?name=value&…

bool is_lower_or_digit(char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'); }

// As the rules for bucket names have it, and the older ones that other servers keep to.
bool is_bucket_name(std::string_view name) {
  return name.size() >= 3 && name.size() <= 63 && is_lower_or_digit(name.front()) &&
         is_lower_or_digit(name.back()) && std::all_of(name.begin(), name.end(), [](char c) {
           return is_lower_or_digit(c) || c == '.' || c == '-' || c == '_';
         });
}

Result<> set_switch(bool& target, const std::string& value) {
  if (value != "true" && value != "false") return refused("expected true or false");
  target = value == "true";
  return {};
}

// Lower-case letters, digits and '-': it becomes part of a host's name.
Result<> set_region(S3Url& url, const std::string& value) {
  const bool fits =
      !value.empty() && value.size() <= 64 && std::all_of(value.begin(), value.end(), [](char c) {
        return is_lower_or_digit(c) || c == '-' || c == '_';
      });
  if (!fits) return refused("expected a region, like eu-central-1");
  url.options.region = value;
  url.region_named = true;
  return {};
}

// "https://host[:port]", or "host[:port]" for https.
Result<> set_endpoint(S3Url& url, const std::string& value) {
  std::string text = value.find("://") == std::string::npos ? "https://" + value : value;
  while (text.ends_with('/')) text.pop_back();
  const std::string scheme = text.substr(0, text.find("://"));
  std::string host = text.substr(text.find("://") + 3);
  std::transform(host.begin(), host.end(), host.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  const bool fits =
      (scheme == "https" || scheme == "http") && !host.empty() &&
      std::all_of(host.begin(), host.end(), [](char c) {
        return is_lower_or_digit(c) || std::string_view(".-_:[]").find(c) != std::string_view::npos;
      });
  if (!fits) return refused("expected https://host[:port]");
  // The signature covers the Host header, which names no port that is the scheme's own.
  const std::string_view usual = scheme == "https" ? ":443" : ":80";
  if (host.ends_with(usual) && !host.ends_with("]")) host.resize(host.size() - usual.size());
  url.options.endpoint = scheme + "://" + host;
  return {};
}

Result<> set_addressing(S3Url& url, const std::string& value) {
  if (value == "auto") {
    url.options.addressing = s3::Addressing::automatic;
  } else if (value == "path") {
    url.options.addressing = s3::Addressing::path;
  } else if (value == "virtual") {
    url.options.addressing = s3::Addressing::virtual_host;
  } else {
    return refused("expected auto, path or virtual");
  }
  return {};
}

Result<> set_create(S3Url& url, const std::string& value) {
  if (value == "conditional") {
    url.options.create_only = s3::CreateOnly::conditional;
  } else if (value == "check") {
    url.options.create_only = s3::CreateOnly::check;
  } else {
    return refused("expected conditional or check");
  }
  return {};
}

Result<> set_encryption(S3Url& url, const std::string& value) {
  if (value != "AES256" && value != "aws:kms") return refused("expected AES256 or aws:kms");
  url.options.encryption = value;
  return {};
}

struct Parameter {
  const char* name;
  Result<> (*set)(S3Url&, const std::string&);
};

constexpr Parameter kParameters[] = {
    {"region", set_region},
    {"endpoint", set_endpoint},
    {"addressing", set_addressing},
    {"create", set_create},
    {"sse", set_encryption},
    {"sse_key_id",
     [](S3Url& url, const std::string& value) {
       url.options.encryption_key_id = value;
       return Result<>();
     }},
    {"checksums",
     [](S3Url& url, const std::string& value) { return set_switch(url.options.checksums, value); }},
    {"anonymous",
     [](S3Url& url, const std::string& value) { return set_switch(url.anonymous, value); }},
    {"profile",
     [](S3Url& url, const std::string& value) {
       url.profile = value;
       return Result<>();
     }},
    {"ca_file",
     [](S3Url& url, const std::string& value) {
       url.ca_file = value;
       return Result<>();
     }},
};

bool names_a_secret(const std::string& name) {
  std::string lower = name;
  std::transform(lower.begin(), lower.end(), lower.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  for (const char* word : {"secret", "access_key", "accesskey", "password", "token"}) {
    if (lower.find(word) != std::string::npos) return true;
  }
  return false;
}

// `given` are the names so far: which of two values counts would be a guess.
Result<> set_parameter(S3Url& url, std::string_view word, std::set<std::string>& given) {
  const size_t equals = word.find('=');
  const auto name = percent_decoded(word.substr(0, equals));
  const auto value =
      percent_decoded(equals == std::string_view::npos ? "" : word.substr(equals + 1));
  const auto plain = [](const std::string& text) {
    return std::all_of(text.begin(), text.end(),
                       [](char c) { return static_cast<unsigned char>(c) >= 0x20; });
  };
  if (!name || !value || !plain(*name) || !plain(*value)) {
    return refused("a parameter of the URL is not NAME=VALUE in percent-encoding");
  }
  std::vector<std::string> known;
  for (const Parameter& parameter : kParameters) {
    if (*name == parameter.name) {
      if (!given.insert(*name).second)
        return refused(fmt::format("the parameter \"{}\" is given more than once", *name));
      return parameter.set(url, *value).within(*name);
    }
    known.emplace_back(parameter.name);
  }
  if (names_a_secret(*name)) {
    return refused(
        "credentials are no part of a store's URL (they are not repeated here): the environment, a "
        "profile or the configuration holds them");
  }
  return refused(fmt::format("unknown parameter \"{}\"{}", *name, did_you_mean(*name, known)));
}

Result<S3Url> parse_s3_url(std::string_view scheme, std::string_view rest) {
  if (!rest.starts_with("//")) return refused("write s3://bucket/prefix, with two slashes");
  rest.remove_prefix(2);
  if (rest.find('#') != std::string_view::npos) return refused("a '#' in a URL is written %23");
  const size_t question = std::min(rest.find('?'), rest.size());
  std::string_view place = rest.substr(0, question);
  const size_t slash = std::min(place.find('/'), place.size());
  S3Url url;
  if (scheme == "gs") url.options.dialect = s3::Dialect::google;
  url.options.bucket = place.substr(0, slash);
  // A secret may hold a '/', and the '@' then comes after it.
  if (url.options.bucket.find_first_of(":@") != std::string::npos) {
    return refused("credentials are no part of a store's URL (it is not repeated here)");
  }
  if (!is_bucket_name(url.options.bucket)) {
    return refused(fmt::format("\"{}\" is no bucket's name", url.options.bucket));
  }
  place.remove_prefix(slash);
  while (place.starts_with('/')) place.remove_prefix(1);
  while (place.ends_with('/')) place.remove_suffix(1);
  const auto prefix = percent_decoded(place);
  if (!prefix) return refused("a '%' in the URL begins no two hexadecimal digits");
  if (!prefix->empty()) {
    // thaw's own names come after it, and the whole is to stay within 1,024 bytes.
    THAW_CHECK(ObjectKey::parse(*prefix).within("store: the prefix"));
    if (prefix->size() > 256) return refused("a prefix has at most 256 bytes");
  }
  url.options.prefix = *prefix;
  rest.remove_prefix(question);
  if (rest.starts_with('?')) rest.remove_prefix(1);
  std::set<std::string> given;
  while (!rest.empty()) {
    const size_t end = std::min(rest.find('&'), rest.size());
    if (end > 0) THAW_CHECK(set_parameter(url, rest.substr(0, end), given));
    rest.remove_prefix(std::min(end + 1, rest.size()));
  }
  if (!url.options.encryption_key_id.empty() && url.options.encryption != "aws:kms") {
    return refused("sse_key_id is for sse=aws:kms");
  }
  return url;
}

// "user:password@host" or "user@host", between "://" and the path.
bool holds_user(std::string_view text) {
  const size_t begin = text.find("://");
  if (begin == std::string_view::npos) return false;
  const std::string_view rest = text.substr(begin + 3);
  return rest.substr(0, rest.find_first_of("/?#")).find('@') != std::string_view::npos;
}

}  // namespace

Result<StoreUrl> parse_store_url(std::string_view text, std::string_view working_directory) {
  if (text.empty()) return refused("an empty name");
  const std::string scheme = scheme_of(text);
  const bool url =
      scheme == "file" || scheme == "s3" || scheme == "gs" || text.find("://") == scheme.size();
  if (!scheme.empty() && url) {
    if (holds_user(text)) {
      return refused("credentials are no part of a store's URL (it is not repeated here)");
    }
    const std::string_view rest = text.substr(scheme.size() + 1);
    if (scheme == "file") {
      THAW_ASSIGN(DirectoryUrl directory, parse_file_url(rest));
      return directory;
    }
    if (scheme == "s3" || scheme == "gs") {
      THAW_ASSIGN(S3Url bucket, parse_s3_url(scheme, rest));
      return bucket;
    }
    return refused(
        fmt::format("unknown scheme \"{}://\": file:///path, s3://bucket/prefix and "
                    "gs://bucket/prefix are known",
                    scheme));
  }
  if (text.find('\0') != std::string_view::npos) return refused("a path holds no NUL");
  // Only a shell expands it, and not inside quotes: a folder named "~" is never what was meant.
  if (text == "~" || text.starts_with("~/")) {
    return refused("'~' is not expanded here: write the whole path");
  }
  if (text.starts_with('/')) return DirectoryUrl{std::string(text)};
  if (working_directory.ends_with('/')) working_directory.remove_suffix(1);
  return DirectoryUrl{fmt::format("{}/{}", working_directory, text)};
}

}  // namespace thaw
