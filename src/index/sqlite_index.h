// A RecencyIndex in a SQLite file, for the tiers of one machine. See docs/format.md,
// "index.sqlite".
#pragma once

#include <chrono>
#include <memory>
#include <string>

#include "object/recency_index.h"
#include "object/tier_meter.h"

namespace thaw {

struct SqliteIndexOptions {
  std::string path;
  // Others hold the file for no longer than a batch takes.
  std::chrono::milliseconds patience{5000};
};

// Opens the file when it is first asked, and makes it where its folder is. What one call writes
// lands as a whole, also when the process is killed; after a loss of power the last ones may be
// missing. A file that is damaged, or no index, is emptied with a warning and counted in `meter`;
// one of a newer thaw is left alone (Code::invalid). A file that was removed or replaced is opened
// anew. `meter` outlives the index.
std::unique_ptr<RecencyIndex> make_sqlite_index(SqliteIndexOptions options, TierMeter& meter);

}  // namespace thaw
