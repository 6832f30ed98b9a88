// What several commands say alike.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "cli/command.h"
#include "format/key.h"
#include "format/record.h"
#include "format/tree.h"
#include "snapshot/restore.h"

namespace thaw::cli {

// "1,234 files, 56 directories, 3 others, 767.0 MiB"
std::string totals_text(const TreeTotals& totals);
void add_totals(Fields& fields, const TreeTotals& totals);
void add_ids(Fields& fields, const TreeIds& ids);
// All of an entry but its key and generation.
void add_entry(Fields& fields, const Entry& entry);
// "swapped"
const char* name_of_placement(Placement placement);
// UTC, whole seconds.
std::string time_text(int64_t time_ns);

Result<std::vector<Key>> parse_keys(const std::vector<std::string>& texts);
// Each is NAME=VALUE; a later one takes an earlier one's place.
Result<Labels> parse_labels(const std::vector<std::string>& words);

// Where thaw itself keeps things that neither belong into a snapshot nor may be replaced by one.
std::optional<std::string> stat_cache_dir(const Session& session);

// Where it remembers what it met that was damaged.
std::string damage_dir(const Session& session);

// The outcome of an error for who asked for a key or generation: not_found is a miss.
Outcome failure_about(const Error& error);

}  // namespace thaw::cli
