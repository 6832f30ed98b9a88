// What the words of `thaw archive` share; for archive*.cpp and restore.cpp.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "app/open_archive.h"
#include "archive/archive_sink.h"
#include "archive/compress.h"
#include "archive/get.h"
#include "cli/command.h"
#include "cli/outcome.h"

namespace thaw::cli {

struct ArchiveOptions {
  std::string word;
  std::vector<std::string> args;
  std::string mode = "replace";
  uint32_t strip_components = 0;
  bool devices = false;
  bool no_owner = false;
  bool no_xattrs = false;
  std::string prefix;
  std::string format;
  std::optional<int> level;
  std::vector<std::string> exclude;
  std::vector<std::string> label;
  bool allow_empty = false;
  bool allow_shrink = false;
};

Outcome archive_get(const Session& session, const ArchiveOptions& options);
Outcome archive_put(const Session& session, const ArchiveOptions& options);
Outcome archive_import(const Session& session, const ArchiveOptions& options);
Outcome archive_export(const Session& session, const ArchiveOptions& options);

// The format that the options name, else the archive's name.
Result<archive::Format> format_of(const ArchiveOptions& options, const std::string& name);

archive::BlockStream stream_of(const OpenedArchive& archive);
Result<std::unique_ptr<archive::ArchiveSink>> sink_of(const Context& context,
                                                      const OpenedArchive& archive);
// What went wrong with an archive: what its server refuses is no wrong usage, and what is not there
// is a miss.
Outcome archive_failure(const Error& error, const OpenedArchive& archive);

// Fills the fields and the summary of a get into `path`.
void describe_get(const archive::GetReport& report, const std::string& from,
                  const std::string& path, Outcome& outcome);
void describe_trace(const RestoreTrace& trace, Outcome& outcome);

}  // namespace thaw::cli
