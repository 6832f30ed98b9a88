#include "archive/pax_headers.h"

#include <algorithm>
#include <limits>
#include <string>
#include <string_view>

namespace thaw::archive {
namespace {

constexpr size_t kTarBlock = 512;
constexpr size_t kSizeOffset = 124;
constexpr size_t kSizeLength = 12;
constexpr size_t kTypeOffset = 156;
constexpr int64_t kSecond = 1'000'000'000;

enum class Scope { entry, global };

Error malformed(const std::string& why) { return {Code::corrupt, "its pax header " + why}; }

bool is_digit(char c) { return c >= '0' && c <= '9'; }

bool are_digits(std::string_view text) {
  return !text.empty() && std::all_of(text.begin(), text.end(), is_digit);
}

// As libarchive reads the size of a header: octal, or base 256 where the first bit says so. What
// does not fit is the largest number.
uint64_t size_of(Bytes header) {
  constexpr uint64_t kMost = std::numeric_limits<uint64_t>::max();
  const Bytes field = header.subspan(kSizeOffset, kSizeLength);
  uint64_t value = 0;
  if ((field[0] & 0x80U) != 0) {
    value = field[0] & 0x7fU;
    for (const uint8_t byte : field.subspan(1)) {
      if (value > kMost >> 8U) return kMost;
      value = value << 8U | byte;
    }
    return value;
  }
  std::string_view text = as_text(field);
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
  for (; !text.empty() && text.front() >= '0' && text.front() <= '7'; text.remove_prefix(1)) {
    value = value << 3U | static_cast<uint64_t>(text.front() - '0');  // 12 digits: no overflow
  }
  return value;
}

// Whole numbers of any length; what does not fit is the nearest that does.
std::optional<int64_t> whole_number(std::string_view text) {
  const bool below_zero = text.starts_with('-');
  if (below_zero) text.remove_prefix(1);
  if (!are_digits(text)) return std::nullopt;
  constexpr int64_t kMost = std::numeric_limits<int64_t>::max();
  int64_t value = 0;
  for (const char c : text) value = value > (kMost - 9) / 10 ? kMost : value * 10 + (c - '0');
  return below_zero ? -value : value;
}

// Moves the point between the two by so many digits.
void shift_point(int64_t exponent, std::string& whole, std::string& fraction) {
  if (exponent > 0) {
    const auto digits = static_cast<size_t>(exponent);
    fraction.resize(std::max(fraction.size(), digits), '0');
    whole += fraction.substr(0, digits);
    fraction.erase(0, digits);
  } else if (exponent < 0) {
    const auto digits = static_cast<size_t>(-exponent);
    if (whole.size() <= digits) whole.insert(0, digits + 1 - whole.size(), '0');
    fraction.insert(0, whole.substr(whole.size() - digits));
    whole.resize(whole.size() - digits);
  }
}

// Seconds since 1970 with a fraction, in nanoseconds; finer ones are cut off. Python writes small
// and large ones with an exponent.
std::optional<int64_t> nanoseconds(std::string_view text) {
  constexpr int64_t kMostExponent = 400;  // of a double 308
  const bool below_zero = text.starts_with('-');
  if (below_zero) text.remove_prefix(1);
  int64_t exponent = 0;
  if (const size_t e = text.find_first_of("eE"); e != std::string_view::npos) {
    std::string_view digits = text.substr(e + 1);
    if (digits.starts_with('+') && digits.size() > 1 && is_digit(digits[1]))
      digits.remove_prefix(1);
    const auto read = whole_number(digits);
    if (!read) return std::nullopt;
    exponent = std::clamp(*read, -kMostExponent, kMostExponent);
    text = text.substr(0, e);
  }
  const size_t point = std::min(text.find('.'), text.size());
  std::string whole(text.substr(0, point));
  std::string fraction(text.substr(std::min(point + 1, text.size())));
  if (!are_digits(whole) || (!fraction.empty() && !are_digits(fraction))) return std::nullopt;
  shift_point(exponent, whole, fraction);
  fraction.resize(9, '0');
  constexpr int64_t kMost = std::numeric_limits<int64_t>::max() / kSecond - 1;
  const int64_t time = std::min(*whole_number(whole), kMost) * kSecond + *whole_number(fraction);
  return below_zero ? -time : time;
}

Result<> take_number(std::string_view key, std::string_view value, std::optional<int64_t>& into) {
  into = key == "mtime" ? nanoseconds(value) : whole_number(value);
  if (into) return {};
  return malformed("says " + std::string(key) + "=" + std::string(value.substr(0, 40)) +
                   ", which is no number");
}

// Records of which libarchive makes something are looked at here as far as it does not refuse
// wrong ones itself; of all others nobody reads anything.
Result<> take_record(std::string_view key, std::string_view value, Scope scope, PaxRecords& into) {
  if (key == "mtime") return take_number(key, value, into.mtime_ns);
  if (key == "uid") return take_number(key, value, into.uid);
  if (key == "gid") return take_number(key, value, into.gid);
  constexpr std::string_view kXattr = "SCHILY.xattr.";
  if (scope == Scope::entry && key.starts_with(kXattr)) {
    into.attributes.push_back({key.substr(kXattr.size()), value});
    return {};
  }
  const bool sparse = key.starts_with("GNU.sparse.");
  const bool is_name = key == "path" || key == "linkpath" || key == "GNU.sparse.name";
  if (!is_name && !sparse && key != "size") return {};
  if (scope == Scope::global) {
    return malformed("is one for all that follows, and says " + std::string(key));
  }
  if (is_name) {
    // libarchive would take what stands before it for the name.
    if (value.find('\0') == std::string_view::npos) return {};
    return malformed("says a name with a zero byte in it");
  }
  const bool is_map = key == "GNU.sparse.map";
  const bool numbers = std::all_of(value.begin(), value.end(),
                                   [&](char c) { return is_digit(c) || (is_map && c == ','); });
  if (numbers && (is_map || !value.empty())) return {};
  return malformed("says " + std::string(key) + "=" + std::string(value.substr(0, 40)) +
                   ", which is no number");
}

// "LENGTH KEY=VALUE\n", where LENGTH counts all of it.
Result<> take_records(Bytes body, Scope scope, PaxRecords& into) {
  constexpr size_t kMostDigits = 9;
  while (!body.empty()) {
    const std::string_view text = as_text(body);
    size_t digits = 0;
    while (digits < std::min(text.size(), kMostDigits) && is_digit(text[digits])) ++digits;
    if (digits == 0 || digits == text.size() || text[digits] != ' ') {
      return malformed("has a record without a length");
    }
    const auto length = static_cast<size_t>(*whole_number(text.substr(0, digits)));
    if (length > text.size()) return malformed("has a record that goes beyond its end");
    if (length < digits + 2 || text[length - 1] != '\n') {
      return malformed("has a record that does not end where it says");
    }
    const std::string_view record = text.substr(digits + 1, length - digits - 2);
    const size_t equals = record.find('=');
    if (equals == std::string_view::npos || equals == 0) {
      return malformed("has a record without a name or a value");
    }
    THAW_CHECK(take_record(record.substr(0, equals), record.substr(equals + 1), scope, into));
    body = body.subspan(length);
  }
  return {};
}

int hex_value(char c) {
  if (is_digit(c)) return c - '0';
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

}  // namespace

std::string attribute_name(std::string_view encoded) {
  std::string name;
  name.reserve(encoded.size());
  for (size_t i = 0; i < encoded.size(); ++i) {
    const bool has_two = encoded[i] == '%' && encoded.size() - i > 2;
    const int high = has_two ? hex_value(encoded[i + 1]) : -1;
    const int low = has_two ? hex_value(encoded[i + 2]) : -1;
    if (high < 0 || low < 0) {
      name += encoded[i];
      continue;
    }
    name += static_cast<char>(high * 16 + low);
    i += 2;
  }
  return name;
}

Result<PaxRecords> PaxHeaders::read(Bytes blocks) {
  PaxRecords own;
  while (blocks.size() >= kTarBlock) {
    const Bytes header = blocks.first(kTarBlock);
    blocks = blocks.subspan(kTarBlock);
    if (std::all_of(header.begin(), header.end(), [](uint8_t byte) { return byte == 0; })) {
      global_ = {};  // the end of one archive, and what follows is another
      continue;
    }
    const char type = static_cast<char>(header[kTypeOffset]);
    if (type == 'V') continue;  // the name of a volume, which libarchive takes for one block
    // All others that libarchive takes for more than an entry's own header.
    if (std::string_view("AKLXgx").find(type) == std::string_view::npos) break;
    const uint64_t size = size_of(header);
    if (size > blocks.size()) break;
    const Bytes body = blocks.first(size);
    if (type == 'g') THAW_CHECK(take_records(body, Scope::global, global_));
    if (type == 'x' || type == 'X') THAW_CHECK(take_records(body, Scope::entry, own));
    const size_t padded = (size + kTarBlock - 1) / kTarBlock * kTarBlock;
    blocks = blocks.subspan(std::min(padded, blocks.size()));
  }
  if (!own.mtime_ns) own.mtime_ns = global_.mtime_ns;
  if (!own.uid) own.uid = global_.uid;
  if (!own.gid) own.gid = global_.gid;
  return own;
}

}  // namespace thaw::archive
