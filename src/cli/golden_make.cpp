// `thaw golden promote`, `clone` and `unclone`.
#include <fmt/format.h>

#include "cli/describe.h"
#include "cli/golden.h"
#include "cli/protected_paths.h"
#include "cli/text.h"
#include "golden/clone.h"
#include "golden/promote.h"

namespace thaw::cli {
namespace {

void add_description(Fields& fields, const golden::Description& it) {
  fields["created_at"] = it.created_at;
  fields["source"] = it.source;
  fields["snapshot"] = nullptr;
  if (it.snapshot) fields["snapshot"] = *it.snapshot;
  add_totals(fields, it.totals);
  fields["labels"] = it.labels;
}

Outcome promoted(const golden::PromoteReport& report, const std::string& path) {
  Outcome outcome;
  const golden::Description& it = report.description;
  Fields& fields = outcome.fields;
  fields["name"] = it.name;
  fields["generation"] = it.generation;
  fields["previous"] = report.previous;
  fields["transfer"] = report.transfer == golden::Transfer::moved ? "moved" : "copied";
  if (!report.why_copied.empty()) fields["why_copied"] = report.why_copied;
  fields["scrubbed"] = report.scrubbed;
  fields["attributes_skipped"] = report.attributes_skipped;
  add_description(fields, it);
  outcome.summary = fmt::format("promoted {}@{}\n  tree      {}\n", it.name, it.generation,
                                totals_text(it.totals));
  if (report.scrubbed > 0)
    outcome.summary += fmt::format("  scrubbed  {}\n", counted(report.scrubbed, "name"));
  if (report.transfer == golden::Transfer::copied) {
    outcome.summary +=
        fmt::format("  copied    {}: {} stays\n", printable(report.why_copied), printable(path));
  }
  return outcome;
}

}  // namespace

Outcome golden_promote(const Session& session, const golden::Root& root,
                       const GoldenOptions& options) {
  auto name = golden::Name::parse(options.args[0]);
  if (!name) return failure(name.error());
  golden::PromoteRequest request{.name = *name, .path = options.args[1]};
  request.if_generation = options.if_generation;
  request.policy = session.config.policy;
  request.policy.allow_empty = request.policy.allow_empty || options.allow_empty;
  request.policy.allow_shrink = request.policy.allow_shrink || options.allow_shrink;
  request.quiesce = options.quiesce;
  request.scrub = options.scrub;
  request.success_file = options.success_file;
  request.started_at_ns = options.started_at_ns;
  request.stamp = options.stamp;
  request.source = options.source;
  request.labels = options.labels;
  request.min_free = options.min_free.value_or(0);
  request.protected_paths = protected_paths(session);
  request.threads = session.config.threads;
  const auto report =
      golden::promote(session.context, root, request, system_clock(), &session.progress);
  // What is not found is the directory, which is no miss.
  Outcome outcome = report ? promoted(*report, request.path) : failure(report.error());
  if (report && report->refusal) {
    outcome = Outcome();
    outcome.status = Status::refused;
    outcome.reason = report->refusal->reason;
    outcome.message = report->refusal->message;
    outcome.hint = report->refusal->hint;
  }
  outcome.fields["name"] = name->text();
  return outcome;
}

Outcome golden_clone(const Session& session, const golden::Root& root,
                     const GoldenOptions& options) {
  auto ref = golden::Ref::parse(options.args[0]);
  if (!ref) return failure(ref.error());
  const golden::CloneRequest request{
      .ref = *ref,
      .target = options.args[1],
      .wanted = options.overlay ? golden::Wanted::overlay : golden::Wanted::best_copy,
      .min_free = options.min_free.value_or(0),
      .threads = session.config.threads};
  const auto report =
      golden::clone(session.context, root, request, system_clock(), &session.progress);
  if (!report) {
    Outcome outcome = golden_failure(report.error());
    outcome.fields["name"] = ref->name.text();
    return outcome;
  }
  const golden::Description& it = report->description;
  Outcome outcome;
  if (report->unchanged) outcome.reason = "unchanged";
  Fields& fields = outcome.fields;
  fields["name"] = it.name;
  fields["generation"] = it.generation;
  fields["target"] = report->target;
  if (!report->unchanged) {
    fields["method"] = golden::name_of(report->method);
    fields["reflinked"] = report->reflinked;
    fields["copied"] = report->copied;
    fields["attributes_skipped"] = report->attributes_skipped;
  }
  if (!report->fallback.empty()) fields["fallback"] = report->fallback;
  add_description(fields, it);
  outcome.summary =
      fmt::format("{} {}@{} {} {}\n", report->unchanged ? "unchanged:" : "cloned", it.name,
                  it.generation, report->unchanged ? "is at" : "to", printable(report->target));
  if (!report->unchanged)
    outcome.summary += fmt::format("  method    {}\n", golden::name_of(report->method));
  if (!report->fallback.empty())
    outcome.summary += fmt::format("  fell back {}\n", printable(report->fallback));
  outcome.summary += fmt::format("  tree      {}\n", totals_text(it.totals));
  return outcome;
}

Outcome golden_unclone(const Session& session, const golden::Root& root,
                       const GoldenOptions& options) {
  const auto report = golden::unclone(session.context, root, options.args[0]);
  if (!report) return golden_failure(report.error());
  Outcome outcome;
  outcome.fields["name"] = report->name.text();
  outcome.fields["generation"] = report->generation;
  outcome.fields["target"] = report->target;
  outcome.fields["method"] = golden::name_of(report->method);
  outcome.summary = fmt::format("removed {}, a clone of {}@{}\n", printable(report->target),
                                report->name.text(), report->generation);
  return outcome;
}

}  // namespace thaw::cli
