#include <fmt/format.h>

#include <utility>

#include "cli/archive.h"
#include "cli/choice.h"
#include "cli/command.h"
#include "cli/describe.h"
#include "cli/protected_paths.h"
#include "cli/requests.h"
#include "cli/text.h"
#include "snapshot/restore.h"

namespace thaw::cli {
namespace {

constexpr const char* kFooter = R"(Examples:
  thaw restore site/shop/node_modules ./node_modules
  thaw restore ci/deps/$BRANCH ~/.cache/deps --fallback ci/deps/main
  thaw restore site/shop@12 ./shop --mode sync
  thaw restore ci/deps ./deps --archive s3://ci/deps.tgz    while no snapshot is there yet

Modes:
  replace  PATH becomes the snapshot in one step: it is the old tree or the new one, never a mix
  merge    the snapshot is written over PATH; what else is there stays
  sync     PATH is made equal in place, and only what differs is touched

The root and home directories, the working directory and thaw's own places are never replaced as a whole.
Exit code 3 says that no key matched.)";

class Restore final : public Command {
 public:
  CLI::App& declare(CLI::App& parent) override;
  Output output() const override { return Output::outcome; }
  Reach reach() const override { return Reach::through_tiers; }
  Result<> check() override;
  std::string subject() const override { return ref_; }
  Outcome run(Session& session) override;

 private:
  RestoreRequest request_for(const Session& session) const;
  Outcome from_archive(Session& session) const;
  Outcome done(const RestoreReport& report) const;

  std::string ref_;
  std::string path_;
  std::vector<std::string> fallback_;
  std::string archive_;
  std::string mode_ = "replace";
  bool no_xattrs_ = false;
  bool no_owner_ = false;

  std::optional<KeyRef> parsed_ref_;
  std::vector<Key> parsed_fallbacks_;
};

CLI::App& Restore::declare(CLI::App& parent) {
  CLI::App& app = *parent.add_subcommand("restore", "Make a directory from a snapshot");
  app.footer(kFooter);
  app.add_option("KEY[@N]", ref_, "The key; its newest generation unless @N names one")
      ->required()
      ->type_name("KEY[@N]");
  app.add_option("PATH", path_, "Where it goes")->required()->type_name("DIR");
  app.add_option("--fallback", fallback_, "Try this key when there is no such snapshot (repeated)")
      ->allow_extra_args(false)
      ->type_name("KEY");
  app.add_option("--archive", archive_, "Take this archive when no key matches")->type_name("URL");
  add_choice(app, "--mode", mode_, {"replace", "merge", "sync"},
             "What becomes of what is at PATH (default: replace)");
  app.add_flag("--no-xattrs", no_xattrs_, "Leave extended attributes and ACLs out");
  app.add_flag("--no-owner", no_owner_, "Everything belongs to who runs thaw");
  return app;
}

Result<> Restore::check() {
  THAW_ASSIGN(KeyRef ref, KeyRef::parse(ref_));
  parsed_ref_ = std::move(ref);
  THAW_ASSIGN(parsed_fallbacks_, parse_keys(fallback_));
  if (path_.empty()) return Error(Code::invalid, "PATH is empty");
  if (!archive_.empty()) THAW_CHECK(check_archive_name(archive_).within("--archive"));
  return {};
}

RestoreRequest Restore::request_for(const Session& session) const {
  RestoreRequest request = restore_request(session, *parsed_ref_, path_);
  request.fallbacks = parsed_fallbacks_;
  request.mode = restore_mode(mode_);
  request.owners = !no_owner_;
  request.xattrs = !no_xattrs_;
  return request;
}

Outcome Restore::run(Session& session) {
  const RestoreRequest request = request_for(session);
  RestoreTrace trace;
  auto report = restore(session.context, session.store(), request, &session.progress, &trace);
  if (report) return done(*report);
  if (report.error().code() == Code::not_found && !archive_.empty()) return from_archive(session);
  Outcome outcome = failure_about(report.error());
  outcome.fields["key"] = parsed_ref_->key.text();
  if (outcome.status == Status::miss) outcome.fields["hit"] = "miss";
  describe_trace(trace, outcome);
  return outcome;
}

// The store has no snapshot yet: the way to move there is to begin with the archive of old.
Outcome Restore::from_archive(Session& session) const {
  auto opened = open_archive(archive_, session.config, session.environment);
  if (!opened) return failure(opened.error());
  const archive::GetRequest request{.source = stream_of(*opened),
                                    .target = path_,
                                    .mode = restore_mode(mode_),
                                    .owners = !no_owner_,
                                    .xattrs = !no_xattrs_,
                                    .protected_paths = protected_paths(session),
                                    .threads = session.config.threads};
  RestoreTrace trace;
  auto report = archive::get(session.context, request, &session.progress, &trace);
  Outcome outcome;
  if (report) {
    outcome.fields["key"] = parsed_ref_->key.text();
    outcome.fields["hit"] = "archive";
    describe_get(*report, archive_, path_, outcome);
    return outcome;
  }
  outcome = archive_failure(Error(report.error()).within("get " + printable(archive_)), *opened);
  outcome.fields["key"] = parsed_ref_->key.text();
  if (outcome.status == Status::miss) outcome.fields["hit"] = "miss";
  describe_trace(trace, outcome);
  return outcome;
}

Outcome Restore::done(const RestoreReport& report) const {
  Outcome outcome;
  Fields& fields = outcome.fields;
  fields["key"] = report.key.text();
  fields["generation"] = report.generation;
  fields["hit"] = report.hit == Hit::exact ? "exact" : "fallback";
  add_ids(fields, report.ids);
  add_totals(fields, report.totals);
  fields["placement"] = name_of_placement(report.placement);
  fields["stored_bytes"] = report.stored_bytes;
  fields["fetched_bytes"] = report.fetched_bytes;
  fields["fetches"] = report.fetches;
  fields["written"] = report.written;
  fields["removed"] = report.removed;
  fields["attributes_skipped"] = report.attributes_skipped;

  std::string& text = outcome.summary;
  text = fmt::format("restored {}@{}{} to {}\n", report.key.text(), report.generation,
                     report.hit == Hit::exact ? "" : " (a fallback)", printable(path_));
  text += fmt::format("  tree      {}\n", totals_text(report.totals));
  text += fmt::format("  fetched   {} in {}\n", human_size(report.fetched_bytes),
                      counted(report.fetches, "request"));
  if (report.placement == Placement::in_place) {
    text += fmt::format("  changed   {} written, {} removed\n", counted(report.written, "name"),
                        grouped(report.removed));
  }
  if (report.placement == Placement::child_by_child) {
    text += "  placed    child by child: PATH itself could not be exchanged in one step\n";
  }
  if (report.attributes_skipped > 0) {
    text += fmt::format("  left out  {} attributes and owners that could not be set here\n",
                        grouped(report.attributes_skipped));
  }
  return outcome;
}

}  // namespace

std::unique_ptr<Command> make_restore() { return std::make_unique<Restore>(); }

}  // namespace thaw::cli
