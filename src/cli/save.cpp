#include <fmt/format.h>

#include <filesystem>
#include <system_error>
#include <utility>

#include "cli/choice.h"
#include "cli/command.h"
#include "cli/describe.h"
#include "cli/requests.h"
#include "cli/text.h"
#include "snapshot/glob.h"
#include "snapshot/save.h"

namespace thaw::cli {
namespace {

constexpr const char* kFooter = R"(Examples:
  thaw save site/shop/node_modules ./node_modules
  thaw save ci/deps/main ~/.cache/deps --also ci/deps/latest --label commit=4f2a91c
  thaw save vm/base ./template --image memfile --image 'rootfs*.ext4'

A tree equal to the newest generation publishes nothing and says "unchanged" (exit 0). An empty tree, or
one with less than half of the newest generation's bytes, is refused (exit 4): a good snapshot is not
lost by accident.

GLOB: `*`, `?` and `[…]` stop at '/', `**` stands for any number of folders. A pattern without '/' fits
names at any depth; one with '/' fits the path below PATH.)";

class Save final : public Command {
 public:
  CLI::App& declare(CLI::App& parent) override;
  Output output() const override { return Output::outcome; }
  Reach reach() const override { return Reach::through_tiers; }
  Result<> check() override;
  std::string subject() const override { return key_; }
  Outcome run(Session& session) override;

 private:
  SaveRequest request_for(const Session& session) const;
  Outcome failed(const Error& error) const;
  Outcome refused(const SaveReport& report) const;
  void describe(const SaveReport& report, Outcome& outcome) const;

  std::string key_;
  std::string path_;
  std::vector<std::string> also_;
  std::vector<std::string> base_;
  std::vector<std::string> label_;
  std::vector<std::string> exclude_;
  std::vector<std::string> image_;
  std::string unchanged_by_;
  bool allow_empty_ = false;
  bool allow_shrink_ = false;

  std::optional<Key> parsed_key_;
  std::vector<Key> parsed_also_;
  std::vector<KeyRef> parsed_bases_;
  Labels labels_;
};

CLI::App& Save::declare(CLI::App& parent) {
  CLI::App& app =
      *parent.add_subcommand("save", "Keep a directory as the next generation of a key");
  app.footer(kFooter);
  app.add_option("KEY", key_, "Its name in the store: segments joined by '/'")
      ->required()
      ->type_name("KEY");
  app.add_option("PATH", path_, "The directory")->required()->type_name("DIR");
  // Each occurrence takes one value, or it would swallow the positional words after it.
  auto repeated = [&app](const char* name, std::vector<std::string>& values, const char* type,
                         const char* text) {
    app.add_option(name, values, text)->allow_extra_args(false)->type_name(type);
  };
  repeated("--also", also_, "KEY", "Publish under this key too (may be repeated)");
  repeated("--base", base_, "KEY[@N]", "Store no content again that this snapshot has (repeated)");
  repeated("--label", label_, "NAME=VALUE",
           "Keep this with the generation that is published (repeated)");
  repeated("--exclude", exclude_, "GLOB", "Leave these files and directories out (repeated)");
  repeated("--image", image_, "GLOB",
           "Disk or memory images: cut at fixed places, zeros left out (repeated)");
  add_choice(app, "--unchanged-by", unchanged_by_, {"all", "content"},
             "What must be equal to count as unchanged: all, or all but times and owners");
  app.add_flag("--allow-empty", allow_empty_, "Save a tree with nothing but directories in it");
  app.add_flag("--allow-shrink", allow_shrink_, "Save a tree that is far smaller than the newest");
  return app;
}

Result<> Save::check() {
  THAW_ASSIGN(Key key, Key::parse(key_));
  parsed_key_ = std::move(key);
  THAW_ASSIGN(parsed_also_, parse_keys(also_));
  for (const std::string& text : base_) {
    THAW_ASSIGN(KeyRef ref, KeyRef::parse(text));
    parsed_bases_.push_back(std::move(ref));
  }
  THAW_ASSIGN(labels_, parse_labels(label_));
  for (const std::string& glob : exclude_) THAW_CHECK(check_glob(glob).within("--exclude"));
  for (const std::string& glob : image_) THAW_CHECK(check_glob(glob).within("--image"));
  if (path_.empty()) return Error(Code::invalid, "PATH is empty");
  return {};
}

SaveRequest Save::request_for(const Session& session) const {
  SaveRequest request = save_request(session, *parsed_key_, path_);
  request.also = parsed_also_;
  request.bases = parsed_bases_;
  request.labels = labels_;
  request.exclude = exclude_;
  request.image = image_;
  if (unchanged_by_ == "all") request.unchanged_by = UnchangedBy::all;
  if (unchanged_by_ == "content") request.unchanged_by = UnchangedBy::content;
  if (allow_empty_) request.policy.allow_empty = true;
  if (allow_shrink_) request.policy.allow_shrink = true;
  return request;
}

Outcome Save::run(Session& session) {
  auto report = save(session.context, session.store(), request_for(session), &session.progress);
  if (!report) return failed(report.error());
  Outcome outcome = refused(*report);
  if (report->outcome == SaveOutcome::unchanged) outcome.reason = "unchanged";
  if (report->labels_dropped)
    outcome.hint =
        "nothing was published, so the labels were not kept: they belong to a generation";
  describe(*report, outcome);
  return outcome;
}

Outcome Save::failed(const Error& error) const {
  Outcome outcome = failure(error);
  // What is not found may be the directory, or a base.
  std::error_code fault;
  const bool there = std::filesystem::is_directory(path_, fault);
  if (error.code() == Code::not_found && there && !parsed_bases_.empty()) {
    outcome = failure_about(error);
  }
  outcome.fields["key"] = key_;
  return outcome;
}

// Status, reason, message and hint where the policy refused; else all is well.
Outcome Save::refused(const SaveReport& report) const {
  Outcome outcome;
  if (report.outcome == SaveOutcome::refused_empty) {
    outcome.status = Status::refused;
    outcome.reason = "empty";
    outcome.message = path_ + " has nothing but directories in it: not published";
    outcome.hint = "--allow-empty publishes it all the same";
  } else if (report.outcome == SaveOutcome::refused_shrunken) {
    outcome.status = Status::refused;
    outcome.reason = "shrunken";
    outcome.message =
        fmt::format("{} has only {}, far less than the newest generation: not published", path_,
                    human_size(report.totals.bytes));
    outcome.hint = "--allow-shrink publishes it all the same";
  }
  return outcome;
}

void Save::describe(const SaveReport& report, Outcome& outcome) const {
  Fields& fields = outcome.fields;
  fields["key"] = key_;
  const bool stands = outcome.status == Status::done;
  if (stands) fields["generation"] = report.generation;
  if (stands) add_ids(fields, report.ids);
  add_totals(fields, report.totals);
  if (stands) fields["stored_bytes"] = report.stored_bytes;
  fields["new_bytes"] = report.new_bytes;
  fields["files_read"] = report.files_read;
  fields["sockets_skipped"] = report.sockets_skipped;
  fields["vanished"] = report.vanished;
  fields["skipped"] = report.skipped;
  fields["also"] = Fields::array();
  for (const auto& [key, generation] : report.also) {
    fields["also"].push_back({{"key", key.text()}, {"generation", generation}});
  }
  if (!stands) return;

  const char* verb = report.outcome == SaveOutcome::unchanged ? "unchanged" : "saved";
  std::string& text = outcome.summary;
  text = fmt::format("{} {}@{}\n", verb, key_, report.generation);
  for (const auto& [key, generation] : report.also) {
    text += fmt::format("  also      {}@{}\n", key.text(), generation);
  }
  text += fmt::format("  tree      {}\n", totals_text(report.totals));
  text += fmt::format("  stored    {}, {} of it new\n", human_size(report.stored_bytes),
                      human_size(report.new_bytes));
  for (const std::string& path : report.skipped) {
    text += fmt::format("  left out  {}: it is thaw's own\n", printable(path));
  }
  if (report.sockets_skipped > 0) {
    text += fmt::format("  left out  {}\n", counted(report.sockets_skipped, "socket"));
  }
  if (report.vanished > 0) {
    text += fmt::format("  vanished  {} while it was read\n", counted(report.vanished, "name"));
  }
}

}  // namespace

std::unique_ptr<Command> make_save() { return std::make_unique<Save>(); }

}  // namespace thaw::cli
