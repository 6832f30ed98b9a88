#include <fmt/format.h>

#include <utility>

#include "archive/put.h"
#include "cli/archive.h"
#include "cli/describe.h"
#include "cli/protected_paths.h"
#include "cli/requests.h"
#include "cli/text.h"

namespace thaw::cli {

Outcome archive_get(const Session& session, const ArchiveOptions& options) {
  const std::string& name = options.args[0];
  const std::string& path = options.args[1];
  auto opened = open_archive(name, session.config, session.environment);
  if (!opened) return failure(opened.error());
  const archive::GetRequest request{
      .source = stream_of(*opened),
      .target = path,
      .mode = restore_mode(options.mode),
      .walk = {.strip_components = options.strip_components, .devices = options.devices},
      .owners = !options.no_owner,
      .xattrs = !options.no_xattrs,
      .protected_paths = protected_paths(session),
      .threads = session.config.threads};
  RestoreTrace trace;
  auto report = archive::get(session.context, request, &session.progress, &trace);
  Outcome outcome;
  if (report) {
    describe_get(*report, name, path, outcome);
  } else {
    outcome = archive_failure(Error(report.error()).within("get " + printable(name)), *opened);
    describe_trace(trace, outcome);
  }
  outcome.fields["requests"] = opened->meter->requests();
  return outcome;
}

namespace {

void describe_put(const archive::PutReport& report, const ArchiveOptions& options,
                  archive::Format format, Outcome& outcome) {
  const std::string& path = options.args[0];
  const std::string& name = options.args[1];
  Fields& fields = outcome.fields;
  fields["format"] = archive::name_of(format);
  add_totals(fields, report.totals);
  fields["stored_bytes"] = report.stored_bytes;
  fields["previous_bytes"] = report.previous_bytes;
  fields["sockets_skipped"] = report.sockets_skipped;
  fields["vanished"] = report.vanished;
  fields["skipped"] = report.skipped;
  if (report.outcome == archive::PutOutcome::refused_empty) {
    outcome.status = Status::refused;
    outcome.reason = "empty";
    outcome.message = path + " has nothing but directories in it: not published";
    outcome.hint = "--allow-empty publishes it all the same";
    return;
  }
  if (report.outcome == archive::PutOutcome::refused_shrunken) {
    outcome.status = Status::refused;
    outcome.reason = "shrunken";
    outcome.message =
        fmt::format("the archive of {} is far smaller than the {} that are there: not published",
                    path, human_size(report.previous_bytes));
    outcome.hint = "--allow-shrink publishes it all the same";
    return;
  }
  std::string& text = outcome.summary;
  text = fmt::format("packed {} into {}\n", printable(path), printable(name));
  text += fmt::format("  tree      {}\n", totals_text(report.totals));
  text += fmt::format("  stored    {}, {}\n", human_size(report.stored_bytes),
                      archive::name_of(format));
  for (const std::string& each : report.skipped) {
    text += fmt::format("  left out  {}: it is thaw's own, or the archive\n", printable(each));
  }
  if (report.sockets_skipped > 0) {
    text += fmt::format("  left out  {}\n", counted(report.sockets_skipped, "socket"));
  }
  if (report.vanished > 0) {
    text += fmt::format("  vanished  {} while it was read\n", counted(report.vanished, "name"));
  }
}

}  // namespace

Outcome archive_put(const Session& session, const ArchiveOptions& options) {
  const std::string& name = options.args[1];
  auto opened = open_archive(name, session.config, session.environment);
  if (!opened) return failure(opened.error());
  const auto format = format_of(options, name);
  if (!format) return failure(format.error());
  Policy policy = session.config.policy;
  if (options.allow_empty) policy.allow_empty = true;
  if (options.allow_shrink) policy.allow_shrink = true;
  archive::PutRequest request{.path = options.args[0],
                              .prefix = options.prefix,
                              .format = *format,
                              .level = options.level,
                              .exclude = options.exclude,
                              .policy = policy,
                              .threads = session.config.threads};
  if (session.opened.local_path) request.skip.push_back(*session.opened.local_path);
  auto sink = sink_of(session.context, *opened);
  if (!sink) return failure(Error(sink.error()).within("write " + printable(name)));
  auto report = archive::put(session.context, request, **sink, &session.progress);
  Outcome outcome;
  if (report) {
    describe_put(*report, options, *format, outcome);
  } else {
    // What is missing is the directory, and no archive.
    const Error& error = report.error();
    outcome = error.code() == Code::not_found ? failure(error) : archive_failure(error, *opened);
  }
  outcome.fields["requests"] = opened->meter->requests();
  return outcome;
}

}  // namespace thaw::cli
