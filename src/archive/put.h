// Put: a directory becomes an archive, with the promises of a save.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "archive/archive_sink.h"
#include "archive/compress.h"
#include "base/context.h"
#include "format/tree.h"
#include "snapshot/policy.h"
#include "snapshot/progress.h"

namespace thaw::archive {

struct PutRequest {
  std::string path;    // the directory
  std::string prefix;  // names in the archive begin with it; empty: with the names in `path`
  Format format = Format::tar_zst;
  std::optional<int> level{};
  std::vector<std::string> exclude{};  // globs (snapshot/glob.h)
  std::vector<std::string> skip{};     // absolute paths that are left out: the store itself
  Policy policy{};
  unsigned threads = 1;
};

enum class PutOutcome { put, refused_empty, refused_shrunken };

struct PutReport {
  PutOutcome outcome = PutOutcome::put;
  TreeTotals totals{};
  uint64_t stored_bytes = 0;    // of the archive
  uint64_t previous_bytes = 0;  // of the one that was there; 0: none
  uint64_t sockets_skipped = 0;
  uint64_t vanished = 0;
  std::vector<std::string> skipped{};
};

// An archive that lies in the directory is no part of it. The sink is finished when the whole tree
// is in it and Policy lets it pass, and abandoned in any other case. Errors: not_found (no such
// directory), busy (a file changed while it was read; the message names it), denied, exhausted, and
// what the sink answers. `progress` may be null.
Result<PutReport> put(const Context& context, const PutRequest& request, ArchiveSink& sink,
                      Progress* progress);

// What of an archive's size Policy compares: its bytes and those of the one that was there, where
// they are compressed alike.
std::optional<Refused> judge_size(const Policy& policy, uint64_t stored_bytes, Format format,
                                  const std::optional<Previous>& previous);

}  // namespace thaw::archive
