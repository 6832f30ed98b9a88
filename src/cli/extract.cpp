#include <fmt/format.h>

#include <filesystem>

#include "cli/command.h"
#include "cli/describe.h"
#include "cli/text.h"
#include "snapshot/catalog.h"
#include "snapshot/extract.h"
#include "snapshot/known_damage.h"
#include "snapshot/presence.h"
#include "snapshot/reader.h"

namespace thaw::cli {
namespace {

constexpr const char* kFooter = R"(Examples:
  thaw extract vm/base rootfs.ext4 /var/lib/vm/rootfs.ext4
  thaw extract vm/base@3 memfile ./memfile

OUT is what it was, or the whole new file, at every moment. Holes stay holes; mode, owner, times and
attributes are the snapshot's. `thaw read` writes a range of a file to standard output instead.)";

class Extract final : public Command {
 public:
  CLI::App& declare(CLI::App& parent) override {
    CLI::App& app = *parent.add_subcommand("extract", "Make a file from one file of a snapshot");
    app.footer(kFooter);
    app.add_option("KEY[@N]", ref_, "The snapshot")->required()->type_name("KEY[@N]");
    app.add_option("FILE", file_, "The file's path in it")->required()->type_name("FILE");
    app.add_option("OUT", out_, "Where it goes; replaced if it is there")
        ->required()
        ->type_name("PATH");
    app.add_flag("--no-xattrs", no_xattrs_, "Leave extended attributes and ACLs out");
    app.add_flag("--no-owner", no_owner_, "It belongs to who runs thaw");
    return app;
  }
  Output output() const override { return Output::outcome; }
  Reach reach() const override { return Reach::through_tiers; }

  Result<> check() override {
    THAW_ASSIGN(KeyRef ref, KeyRef::parse(ref_));
    parsed_ref_ = std::move(ref);
    if (file_.empty()) return Error(Code::invalid, "FILE is empty");
    if (out_.empty()) return Error(Code::invalid, "OUT is empty");
    return {};
  }
  std::string subject() const override { return ref_ + " " + file_; }

  Outcome run(Session& session) override {
    auto report = extracted(session);
    if (report) return *std::move(report);
    Outcome outcome = failure_about(report.error());
    outcome.fields["key"] = parsed_ref_->key.text();
    return outcome;
  }

 private:
  // An object that snapshots need would be gone, as with a restore to there.
  Result<> refuse_the_store(const Session& session) const {
    if (!session.opened.local_path) return {};
    std::error_code fault;
    auto out = std::filesystem::absolute(out_, fault);
    if (!fault) out = std::filesystem::weakly_canonical(out, fault);
    // What cannot be resolved cannot be written to either; extract() says why.
    if (fault) return {};
    const std::string store = *session.opened.local_path + '/';
    if (!(out.string() + '/').starts_with(store)) return {};
    return Error(Code::invalid, out_ + " lies in the store");
  }

  Result<Outcome> extracted(Session& session) const {
    const KnownDamage damage(damage_dir(session));
    session.progress.begin("looking up", 0, 0);
    THAW_ASSIGN(const auto entry, find_entry(session.context, session.store(), *parsed_ref_));
    if (!entry) return Error(Code::not_found, "no snapshot of " + parsed_ref_->text());
    const Presence presence(session.context, session.store(), *entry);
    THAW_ASSIGN(const Manifest manifest, load_manifest(session.context, session.store(), *entry));
    THAW_ASSIGN(const FileRef file, PathIndex(manifest.tree).find_file(file_));
    THAW_CHECK(refuse_the_store(session));
    const ExtractOptions options{.owners = !no_owner_,
                                 .xattrs = !no_xattrs_,
                                 .threads = session.config.threads,
                                 .distance = session.distance()};
    THAW_ASSIGN(const ExtractReport report,
                extract(session.context, session.store(), manifest, file, out_, options, damage,
                        &session.progress));
    return done(*entry, report);
  }

  Outcome done(const Entry& entry, const ExtractReport& report) const {
    Outcome outcome;
    Fields& fields = outcome.fields;
    fields["key"] = entry.key;
    fields["generation"] = entry.generation;
    add_ids(fields, entry.ids);
    fields["file"] = file_;
    fields["bytes"] = report.size_bytes;
    fields["written_bytes"] = report.written_bytes;
    fields["fetched_bytes"] = report.fetched_bytes;
    fields["fetches"] = report.fetches;
    fields["attributes_skipped"] = report.attributes_skipped;
    outcome.summary = fmt::format("extracted {} of {}@{} to {}\n", printable(file_), entry.key,
                                  entry.generation, printable(out_));
    outcome.summary += fmt::format("  file      {}, {} of data\n", human_size(report.size_bytes),
                                   human_size(report.written_bytes));
    outcome.summary += fmt::format("  fetched   {} in {}\n", human_size(report.fetched_bytes),
                                   counted(report.fetches, "request"));
    return outcome;
  }

  std::string ref_;
  std::string file_;
  std::string out_;
  bool no_xattrs_ = false;
  bool no_owner_ = false;
  std::optional<KeyRef> parsed_ref_;
};

}  // namespace

std::unique_ptr<Command> make_extract() { return std::make_unique<Extract>(); }

}  // namespace thaw::cli
