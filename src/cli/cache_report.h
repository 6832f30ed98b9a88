// What became of a job's caches, told: a line each, a table, a summary, JSON records.
#pragma once

#include <string>
#include <vector>

#include "base/clock.h"
#include "cache/job.h"
#include "cli/outcome.h"

namespace thaw::cli {

enum class CacheVerb { restore, save };

// "cache node: exact, 12.0 MiB, 0.40 s"
std::string cache_line(const cache::Record& record);
// Rows under a head: result, age of the generation, size, time.
std::string cache_table(const std::vector<cache::Record>& records, Timestamp now);
// The same as Markdown, with a headline.
std::string cache_markdown(CacheVerb verb, const std::vector<cache::Record>& records,
                           Timestamp now);
Fields cache_json(CacheVerb verb, const cache::Record& record);

// The whole command's: the worst of its caches counts (failed, then miss, then empty).
Outcome cache_outcome(CacheVerb verb, const std::vector<cache::Record>& records, Timestamp now);

}  // namespace thaw::cli
