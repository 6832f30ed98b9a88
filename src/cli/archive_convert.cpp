#include <fmt/format.h>

#include <utility>

#include "archive/export.h"
#include "archive/import.h"
#include "cli/archive.h"
#include "cli/describe.h"
#include "cli/text.h"

namespace thaw::cli {
namespace {

void describe_import(const archive::ImportReport& report, const ArchiveOptions& options,
                     Outcome& outcome) {
  const std::string& name = options.args[0];
  const std::string& key = options.args[1];
  Fields& fields = outcome.fields;
  fields["key"] = key;
  fields["compression"] = archive::name_of(report.compression);
  add_totals(fields, report.totals);
  fields["fetched_bytes"] = report.fetched_bytes;
  fields["passed_over"] = report.passed_over;
  fields["attributes_skipped"] = report.attributes_skipped;
  if (report.outcome == SaveOutcome::refused_empty) {
    outcome.status = Status::refused;
    outcome.reason = "empty";
    outcome.message = name + " has nothing but directories in it: not published";
    outcome.hint = "--allow-empty publishes it all the same";
    return;
  }
  if (report.outcome == SaveOutcome::refused_shrunken) {
    outcome.status = Status::refused;
    outcome.reason = "shrunken";
    outcome.message =
        fmt::format("{} has only {}, far less than the newest generation: not published", name,
                    human_size(report.totals.bytes));
    outcome.hint = "--allow-shrink publishes it all the same";
    return;
  }
  const bool unchanged = report.outcome == SaveOutcome::unchanged;
  if (unchanged) outcome.reason = "unchanged";
  fields["generation"] = report.generation;
  add_ids(fields, report.ids);
  fields["stored_bytes"] = report.stored_bytes;
  fields["new_bytes"] = report.new_bytes;
  std::string& text = outcome.summary;
  text = fmt::format("{} {}@{}\n", unchanged ? "unchanged" : "imported", key, report.generation);
  text += fmt::format("  tree      {}\n", totals_text(report.totals));
  text += fmt::format("  stored    {}, {} of it new\n", human_size(report.stored_bytes),
                      human_size(report.new_bytes));
  if (report.attributes_skipped > 0) {
    text += fmt::format("  left out  {} attributes that no snapshot keeps\n",
                        grouped(report.attributes_skipped));
  }
}

}  // namespace

Outcome archive_import(const Session& session, const ArchiveOptions& options) {
  const std::string& name = options.args[0];
  auto opened = open_archive(name, session.config, session.environment);
  if (!opened) return failure(opened.error());
  auto key = Key::parse(options.args[1]);
  if (!key) return failure(key.error());
  auto labels = parse_labels(options.label);
  if (!labels) return failure(labels.error());
  Policy policy = session.config.policy;
  if (options.allow_empty) policy.allow_empty = true;
  if (options.allow_shrink) policy.allow_shrink = true;
  const archive::ImportRequest request{
      .source = stream_of(*opened),
      .key = *key,
      .walk = {.strip_components = options.strip_components, .devices = options.devices},
      .labels = *labels,
      .policy = policy,
      .unchanged_by = session.config.unchanged_by,
      .damage_dir = damage_dir(session),
      .compression_level = session.config.compression_level,
      .threads = session.config.threads,
      .distance = session.distance()};
  auto report =
      archive::import_archive(session.context, session.store(), request, &session.progress);
  if (!report) {
    return archive_failure(Error(report.error()).within("import " + printable(name)), *opened);
  }
  Outcome outcome;
  describe_import(*report, options, outcome);
  return outcome;
}

Outcome archive_export(const Session& session, const ArchiveOptions& options) {
  const std::string& name = options.args[1];
  auto opened = open_archive(name, session.config, session.environment);
  if (!opened) return failure(opened.error());
  auto ref = KeyRef::parse(options.args[0]);
  if (!ref) return failure(ref.error());
  const auto format = format_of(options, name);
  if (!format) return failure(format.error());
  const archive::ExportRequest request{.ref = *ref,
                                       .prefix = options.prefix,
                                       .format = *format,
                                       .level = options.level,
                                       .damage_dir = damage_dir(session),
                                       .threads = session.config.threads,
                                       .distance = session.distance()};
  auto sink = sink_of(session.context, *opened);
  if (!sink) return failure(Error(sink.error()).within("write " + printable(name)));
  auto report = archive::export_snapshot(session.context, session.store(), request, **sink,
                                         &session.progress);
  Outcome outcome;
  if (!report) {
    const Error& error = report.error();
    // What is missing is the snapshot.
    outcome =
        error.code() == Code::not_found ? failure_about(error) : archive_failure(error, *opened);
    outcome.fields["key"] = ref->key.text();
    return outcome;
  }
  Fields& fields = outcome.fields;
  fields["key"] = ref->key.text();
  fields["generation"] = report->generation;
  fields["format"] = archive::name_of(*format);
  add_ids(fields, report->ids);
  add_totals(fields, report->totals);
  fields["stored_bytes"] = report->stored_bytes;
  std::string& text = outcome.summary;
  text =
      fmt::format("exported {}@{} to {}\n", ref->key.text(), report->generation, printable(name));
  text += fmt::format("  tree      {}\n", totals_text(report->totals));
  text += fmt::format("  stored    {}, {}\n", human_size(report->stored_bytes),
                      archive::name_of(*format));
  return outcome;
}

}  // namespace thaw::cli
