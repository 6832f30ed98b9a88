// Keys, references and object names from anywhere: the first byte is part of a generation, the rest
// is the text.
#include <string>
#include <vector>

#include "check.h"
#include "format/key.h"
#include "format/limits.h"
#include "format/utf8.h"
#include "taker.h"

namespace thaw {
namespace {

std::vector<std::string> segments_of(std::string_view text) {
  std::vector<std::string> segments;
  while (true) {
    const size_t slash = text.find('/');
    segments.emplace_back(text.substr(0, slash));
    if (slash == std::string_view::npos) return segments;
    text.remove_prefix(slash + 1);
  }
}

void check_message(const Error& error) {
  FUZZ_CHECK(error.code() == Code::invalid);
  FUZZ_CHECK(is_utf8(error.message()) && !has_control_characters(error.message()));
}

void check_key(const Key& key, uint64_t generation) {
  const std::string& text = key.text();
  FUZZ_CHECK(text.size() <= limits::kKeyBytes);
  FUZZ_CHECK(is_utf8(text) && !has_control_characters(text));
  FUZZ_CHECK(text.find_first_of("@\\") == std::string::npos);
  std::string prefix;
  for (const std::string& segment : segments_of(text)) {
    FUZZ_CHECK(!segment.empty() && segment != "." && segment != "..");
    FUZZ_CHECK(segment.size() <= limits::kKeySegmentBytes);
    prefix += segment;
    FUZZ_CHECK(prefix_covers(prefix, text) && prefix_covers(prefix + "/", text));
    FUZZ_CHECK(!prefix_covers(prefix + "0", text) || text.starts_with(prefix + "0"));
    FUZZ_CHECK(!prefix_covers(prefix, prefix + "0"));
    prefix += "/";
  }
  const std::string name = entry_name(key, generation);
  FUZZ_CHECK(name.starts_with(entry_prefix(key)));
  const auto parsed = parse_entry_name(name);
  FUZZ_CHECK(parsed && parsed->key == key && parsed->generation == generation);
  FUZZ_CHECK(!parse_entry_name(refusal_prefix(key, generation)));
  if (generation > 1) FUZZ_CHECK(name < entry_name(key, generation - 1));
}

void fuzz(uint64_t generation, const std::string& text) {
  const auto key = Key::parse(text);
  if (key) {
    FUZZ_CHECK(key->text() == text);
    check_key(*key, generation);
  } else {
    check_message(key.error());
  }

  const auto ref = KeyRef::parse(text);
  if (ref) {
    check_key(ref->key, ref->generation.value_or(1));
    FUZZ_CHECK(ref->generation.value_or(1) != 0);
    FUZZ_CHECK(ref->generation.has_value() == (text.find('@') != std::string::npos));
    const auto again = KeyRef::parse(ref->text());
    FUZZ_CHECK(again.ok() && again->key == ref->key && again->generation == ref->generation);
  } else {
    check_message(ref.error());
  }

  // One name, one meaning.
  if (const auto entry = parse_entry_name(text)) {
    FUZZ_CHECK(entry_name(entry->key, entry->generation) == text);
    check_key(entry->key, entry->generation);
  }
}

}  // namespace
}  // namespace thaw

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  thaw::Taker input({data, size});
  const uint8_t shift = input.byte();
  const uint64_t generation = (UINT64_MAX >> shift % 64) - (shift > 128 ? 1 : 0);
  thaw::fuzz(generation == 0 ? 1 : generation, std::string(thaw::as_text(input.rest())));
  return 0;
}
