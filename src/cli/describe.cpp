#include "cli/describe.h"

#include <fmt/format.h>

#include "base/clock.h"
#include "cli/text.h"

namespace thaw::cli {

std::string totals_text(const TreeTotals& totals) {
  std::string text =
      fmt::format("{}, {}", counted(totals.files, "file"), counted(totals.dirs, "directory"));
  if (totals.others > 0) text += fmt::format(", {}", grouped(totals.others) + " links and others");
  return fmt::format("{}, {}", text, human_size(totals.bytes));
}

void add_totals(Fields& fields, const TreeTotals& totals) {
  fields["files"] = totals.files;
  fields["dirs"] = totals.dirs;
  fields["others"] = totals.others;
  fields["bytes"] = totals.bytes;
}

void add_ids(Fields& fields, const TreeIds& ids) {
  fields["snapshot"] = ids.snapshot.hex();
  fields["content"] = ids.content.hex();
}

void add_entry(Fields& fields, const Entry& entry) {
  add_ids(fields, entry.ids);
  fields["created"] = time_text(entry.created_ns);
  add_totals(fields, entry.totals);
  fields["stored_bytes"] = entry.stored_bytes;
  fields["labels"] = entry.labels;
  fields["host"] = entry.host;
  fields["tool"] = entry.tool;
}

const char* name_of_placement(Placement placement) {
  switch (placement) {
    case Placement::swapped:
      return "swapped";
    case Placement::child_by_child:
      return "child_by_child";
    case Placement::in_place:
      return "in_place";
  }
  return "";
}

std::string time_text(int64_t time_ns) { return Timestamp{time_ns}.iso8601(); }

Result<std::vector<Key>> parse_keys(const std::vector<std::string>& texts) {
  std::vector<Key> keys;
  for (const std::string& text : texts) {
    THAW_ASSIGN(Key key, Key::parse(text));
    keys.push_back(std::move(key));
  }
  return keys;
}

Result<Labels> parse_labels(const std::vector<std::string>& words) {
  Labels labels;
  for (const std::string& word : words) {
    const size_t equals = word.find('=');
    if (equals == std::string::npos || equals == 0) {
      return Error(Code::invalid, "label \"" + word + "\" is not NAME=VALUE");
    }
    labels.insert_or_assign(word.substr(0, equals), word.substr(equals + 1));
  }
  THAW_CHECK(check_labels(labels));
  return labels;
}

std::optional<std::string> stat_cache_dir(const Session& session) {
  if (!session.config.stat_cache) return std::nullopt;
  return session.locations.stat_cache;
}

std::string damage_dir(const Session& session) { return session.locations.stat_cache + "/damaged"; }

Outcome failure_about(const Error& error) {
  if (error.code() != Code::not_found) return failure(error);
  // What is missing in a snapshot, or as an object, no list of keys shows.
  const bool of_a_key = error.message().starts_with("no snapshot of ");
  return miss(error.message(), of_a_key ? "`thaw ls` lists the keys" : "");
}

}  // namespace thaw::cli
