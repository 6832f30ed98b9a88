// `thaw golden promote`, `clone` and `unclone`.
#include <fmt/format.h>

#include "cli/describe.h"
#include "cli/golden.h"
#include "cli/protected_paths.h"
#include "cli/text.h"
#include "golden/build.h"
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

const char* name_of(golden::Transfer transfer) {
  switch (transfer) {
    case golden::Transfer::moved:
      return "moved";
    case golden::Transfer::copied:
      return "copied";
    case golden::Transfer::made:
      return "made";
  }
  return "";
}

Outcome promoted(const golden::PromoteReport& report, const std::string& path) {
  Outcome outcome;
  const golden::Description& it = report.description;
  Fields& fields = outcome.fields;
  fields["name"] = it.name;
  fields["generation"] = it.generation;
  fields["previous"] = report.previous;
  fields["transfer"] = name_of(report.transfer);
  if (!report.why_copied.empty()) fields["why_copied"] = report.why_copied;
  fields["scrubbed"] = report.scrubbed;
  fields["attributes_skipped"] = report.attributes_skipped;
  fields["linked_outside"] = report.linked_outside;
  add_description(fields, it);
  outcome.summary = fmt::format("promoted {}@{}\n  tree      {}\n", it.name, it.generation,
                                totals_text(it.totals));
  if (report.scrubbed > 0)
    outcome.summary += fmt::format("  scrubbed  {}\n", counted(report.scrubbed, "name"));
  if (report.linked_outside > 0) {
    outcome.summary +=
        fmt::format("  linked    {} with names outside: who writes there, writes here\n",
                    counted(report.linked_outside, "file"));
  }
  if (report.transfer == golden::Transfer::copied) {
    outcome.summary +=
        fmt::format("  copied    {}: {} stays\n", printable(report.why_copied), printable(path));
  }
  return outcome;
}

golden::PromoteRequest promote_request(const Session& session, const GoldenOptions& options,
                                       const golden::Name& name) {
  golden::PromoteRequest request{.name = name, .path = ""};
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
  return request;
}

Outcome refused(const golden::Refusal& refusal) {
  Outcome outcome;
  outcome.status = Status::refused;
  outcome.reason = refusal.reason;
  outcome.message = refusal.message;
  outcome.hint = refusal.hint;
  return outcome;
}

// After the switch: what is promoted stays promoted, whatever the store answers.
void publish_too(const Session& session, const golden::Root& root, const GoldenOptions& options,
                 const golden::Name& name, uint64_t generation, Outcome& outcome) {
  if (!options.publish || outcome.status != Status::done) return;
  const auto published = publish_golden(session, root, name, generation, *options.publish);
  if (published) {
    add_published(outcome.fields, *published);
    outcome.fields["snapshot"] = published->snapshot;
    outcome.summary +=
        fmt::format("  published {}@{}\n", published->key.text(), published->store_generation);
    return;
  }
  Fields fields = std::move(outcome.fields);
  outcome = failure(published.error());
  outcome.message = fmt::format("promoted {}@{}, and did not publish it: {}", name.text(),
                                generation, outcome.message);
  outcome.hint = fmt::format("`thaw golden publish {} --key {}` tries again", name.text(),
                             options.publish->text());
  outcome.fields = std::move(fields);
}

}  // namespace

Outcome golden_promote(const Session& session, const golden::Root& root,
                       const GoldenOptions& options) {
  auto name = golden::Name::parse(options.args[0]);
  if (!name) return failure(name.error());
  golden::PromoteRequest request = promote_request(session, options, *name);
  request.path = options.args[1];
  const auto report =
      golden::promote(session.context, root, request, system_clock(), &session.progress);
  // What is not found is the directory, which is no miss.
  Outcome outcome = !report           ? failure(report.error())
                    : report->refusal ? refused(*report->refusal)
                                      : promoted(*report, request.path);
  if (report) publish_too(session, root, options, *name, report->description.generation, outcome);
  outcome.fields["name"] = name->text();
  return outcome;
}

Outcome golden_build(const Session& session, const golden::Root& root,
                     const GoldenOptions& options) {
  auto name = golden::Name::parse(options.args[0]);
  if (!name) return failure(name.error());
  golden::BuildRequest request{.promote = promote_request(session, options, *name), .command = {}};
  request.command.assign(options.args.begin() + 1, options.args.end());
  request.wait = options.no_wait ? golden::Wait::not_at_all : golden::Wait::for_others;
  request.if_missing = options.if_missing;
  const auto report =
      golden::build(session.context, root, request, system_clock(), &session.progress);
  Outcome outcome;
  if (!report) {
    outcome = failure(report.error());
  } else if (report->exit_code != 0) {
    outcome.status = Status::failed;
    outcome.reason = "command";
    outcome.message = fmt::format("{} exited with {}: nothing was promoted",
                                  request.command.front(), report->exit_code);
  } else if (report->promoted.refusal) {
    outcome = refused(*report->promoted.refusal);
  } else if (report->built) {
    outcome = promoted(report->promoted, "");
    publish_too(session, root, options, *name, report->generation, outcome);
  } else {
    outcome.reason = "exists";
    outcome.fields["generation"] = report->generation;
    outcome.summary = fmt::format("{}@{} is there\n", name->text(), report->generation);
  }
  outcome.fields["name"] = name->text();
  if (report) outcome.fields["built"] = report->built;
  if (report) outcome.fields["exit_code"] = report->exit_code;
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
      .protected_paths = protected_paths(session),
      .threads = session.config.threads};
  auto fail = [&](const Error& error) {
    Outcome outcome = golden_failure(error);
    outcome.fields["name"] = ref->name.text();
    return outcome;
  };
  bool fetched = false;
  auto fetch_and_clone = [&]() -> Result<golden::CloneReport> {
    if (!ref->generation && may_ask_store(session)) {
      THAW_ASSIGN(const auto had, fetch_golden(session, root, ref->name, options));
      fetched = fetched || had.fetched;
    }
    return golden::clone(session.context, root, request, system_clock(), &session.progress);
  };
  auto report = fetch_and_clone();
  // Removed between the two: then it is a golden that this machine lacks.
  const bool went = !report && report.error().code() == Code::not_found && !ref->generation;
  if (went && golden::Place(root, ref->name).exists()) report = fetch_and_clone();
  if (!report) return fail(report.error());
  const golden::Description& it = report->description;
  Outcome outcome;
  if (report->unchanged) outcome.reason = "unchanged";
  Fields& fields = outcome.fields;
  fields["name"] = it.name;
  fields["generation"] = it.generation;
  fields["target"] = report->target;
  fields["fetched"] = fetched;
  if (!report->unchanged) {
    fields["method"] = golden::name_of(report->method);
    fields["remounted"] = report->remounted;
    fields["reflinked"] = report->reflinked;
    fields["copied"] = report->copied;
    fields["attributes_skipped"] = report->attributes_skipped;
  }
  if (!report->fallback.empty()) fields["fallback"] = report->fallback;
  add_description(fields, it);
  outcome.summary =
      fmt::format("{} {}@{} {} {}\n", report->unchanged ? "unchanged:" : "cloned", it.name,
                  it.generation, report->unchanged ? "is at" : "to", printable(report->target));
  if (!report->unchanged) {
    outcome.summary += fmt::format("  method    {}{}\n", golden::name_of(report->method),
                                   report->remounted ? ", mounted again" : "");
  }
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
