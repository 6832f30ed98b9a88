#include "cli/cache_report.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/bytes.h"
#include "cli/describe.h"
#include "cli/text.h"
#include "format/utf8.h"

namespace thaw::cli {
namespace {

using cache::Record;
using cache::State;

const char* name_of_hit(const Record& record) {
  if (!record.hit) return "miss";
  return *record.hit == Hit::exact ? "exact" : "fallback";
}

bool is_found(State state) { return state == State::restored || state == State::equal; }

// "exact", "fallback, in place already", "failed"
std::string result_text(const Record& record) {
  if (!is_found(record.state)) {
    std::string text = name_of(record.state);
    std::replace(text.begin(), text.end(), '_', ' ');
    return text;
  }
  std::string text = name_of_hit(record);
  if (record.state == State::equal) text += ", in place already";
  return text;
}

bool has_size(const Record& record) { return record.bytes > 0 || is_found(record.state); }

std::string age_text(const Record& record, Timestamp now) {
  const bool is_old = is_found(record.state) || record.state == State::exists;
  return is_old && record.created_ns != 0 ? age(record.created_ns, now.ns) : "-";
}

std::vector<std::vector<std::string>> rows_of(const std::vector<Record>& records, Timestamp now) {
  std::vector<std::vector<std::string>> rows = {
      {"cache", "result", "age", "size", "moved", "time"}};
  for (const Record& record : records) {
    rows.push_back({record.name, result_text(record), age_text(record, now),
                    has_size(record) ? human_size(record.bytes) : "-",
                    has_size(record) ? human_size(record.moved_bytes) : "-", seconds(record.took)});
  }
  return rows;
}

uint64_t count_of(const std::vector<Record>& records, State state) {
  return static_cast<uint64_t>(std::count_if(
      records.begin(), records.end(), [&](const Record& each) { return each.state == state; }));
}

std::string headline(CacheVerb verb, const std::vector<Record>& records) {
  const std::string all = counted(records.size(), "cache");
  if (verb == CacheVerb::restore) {
    return fmt::format("restored {} of {}",
                       count_of(records, State::restored) + count_of(records, State::equal), all);
  }
  const uint64_t there = count_of(records, State::exists) + count_of(records, State::unchanged);
  std::string text = fmt::format("saved {} of {}", count_of(records, State::saved), all);
  if (there > 0) text += fmt::format(", {} there already", there);
  return text;
}

// In a table's cell: nothing that Markdown or HTML would take for its own.
std::string cell(const std::string& text) {
  std::string safe;
  for (const char c : escaped(text)) {
    if (c == '&') {
      safe += "&amp;";
    } else if (c == '<') {
      safe += "&lt;";
    } else if (std::string_view("|`*_[]\\").find(c) != std::string_view::npos) {
      safe += '\\';
      safe += c;
    } else {
      safe += c;
    }
  }
  return safe;
}

// "node: … ; pip: …", of the caches in this state.
std::string messages_of(const std::vector<Record>& records, State state) {
  std::string text;
  for (const Record& record : records) {
    if (record.state != state) continue;
    if (!text.empty()) text += "; ";
    text += record.name;
    if (!record.message.empty()) text += ": " + record.message;
  }
  return text;
}

}  // namespace

std::string cache_line(const Record& record) {
  std::string text = fmt::format("cache {}: {}", record.name, result_text(record));
  if (has_size(record)) text += ", " + human_size(record.bytes);
  text += ", " + seconds(record.took);
  if (!record.message.empty()) text += ": " + escaped(record.message);
  return text;
}

std::string cache_table(const std::vector<Record>& records, Timestamp now) {
  constexpr Align kLeft = Align::left;
  constexpr Align kRight = Align::right;
  return table({kLeft, kLeft, kRight, kRight, kRight, kRight}, rows_of(records, now));
}

std::string cache_markdown(CacheVerb verb, const std::vector<Record>& records, Timestamp now) {
  std::string text = fmt::format("### Caches: {}\n\n", headline(verb, records));
  const auto rows = rows_of(records, now);
  for (size_t i = 0; i < rows.size(); ++i) {
    text += "|";
    for (const std::string& each : rows[i]) text += ' ' + cell(each) + " |";
    text += '\n';
    if (i == 0) text += "|---|---|--:|--:|--:|--:|\n";
  }
  const std::string failed = messages_of(records, State::failed);
  if (!failed.empty()) text += "\nFailed: " + cell(failed) + "\n";
  return text + '\n';
}

Fields cache_json(CacheVerb verb, const Record& record) {
  Fields fields = Fields::object();
  fields["name"] = record.name;
  fields["state"] = name_of(record.state);
  if (verb == CacheVerb::restore) fields["hit"] = name_of_hit(record);
  if (record.error) fields["reason"] = name_of(record.error->code());
  if (!record.message.empty()) fields["message"] = record.message;
  if (!record.key_text.empty()) fields["cache_key"] = record.key_text;
  if (!record.key.empty()) fields["key"] = record.key;
  if (!record.scope.empty()) fields["scope"] = record.scope;
  if (record.generation > 0) {
    fields["generation"] = record.generation;
    fields["created"] = time_text(record.created_ns);
  }
  fields["files"] = record.files;
  fields["bytes"] = record.bytes;
  fields[verb == CacheVerb::restore ? "fetched_bytes" : "new_bytes"] = record.moved_bytes;
  if (verb == CacheVerb::restore) {
    fields["restored"] = record.restored;
    fields["retired"] = record.retired;
  }
  fields["ms"] = record.took.count();
  return fields;
}

Outcome cache_outcome(CacheVerb verb, const std::vector<Record>& records, Timestamp now) {
  Outcome outcome;
  const auto any = [&](State state) { return count_of(records, state) > 0; };
  if (any(State::failed)) {
    outcome.status = Status::failed;
    const auto first = std::find_if(records.begin(), records.end(),
                                    [](const Record& each) { return each.state == State::failed; });
    outcome.reason = name_of(first->error ? first->error->code() : Code::internal);
    outcome.message = messages_of(records, State::failed);
  } else if (any(State::miss)) {
    outcome = miss("no entry of " + messages_of(records, State::miss));
  } else if (any(State::empty)) {
    outcome.status = Status::refused;
    outcome.reason = "empty";
    outcome.message = messages_of(records, State::empty);
  } else if (verb == CacheVerb::save) {
    for (const State state : {State::exists, State::unchanged, State::read_only}) {
      if (count_of(records, state) == records.size()) outcome.reason = name_of(state);
    }
  }
  outcome.fields["caches"] = Fields::array();
  for (const Record& record : records) outcome.fields["caches"].push_back(cache_json(verb, record));
  outcome.summary = headline(verb, records) + '\n' + cache_table(records, now);
  return outcome;
}

}  // namespace thaw::cli
