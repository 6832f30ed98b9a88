#include <fmt/format.h>
#include <sys/statvfs.h>

#include "app/duration.h"
#include "app/share.h"
#include "app/size.h"
#include "cli/choice.h"
#include "cli/command.h"
#include "cli/text.h"
#include "gc/tier_clean.h"

namespace thaw::cli {
namespace {

constexpr const char* kFooter = R"(Examples:
  thaw tier stats                            what the tiers of the configuration hold
  thaw tier clean                            what would go to keep them within their max_bytes
  thaw tier clean --older-than 7d --yes      remove blocks that nobody used for a week
  thaw tier clean --max-bytes 50GB --min-free 15% --yes

What was used longest ago goes first, as the tier's index tells. A block that is used while this runs
stays. Blocks of whose use nobody knows stay too, unless the tier is too large, or --allow-blind.)";

class Tier final : public Command {
 public:
  CLI::App& declare(CLI::App& parent) override;
  Output output() const override { return Output::outcome; }
  Reach reach() const override { return Reach::past_tiers; }
  Result<> check() override;
  std::string subject() const override { return what_; }
  Outcome run(Session& session) override;

 private:
  Outcome stats(const Session& session, TierPlaces& places) const;
  Outcome clean(const Session& session, TierPlaces& places) const;
  Result<gc::CleanReport> clean_one(const Session& session, const TierPlace& tier) const;
  static Fields fields_of(const gc::CleanReport& report);
  static void note_faults(const std::vector<std::string>& faults, Outcome& outcome);

  std::string what_;
  std::string older_than_text_;
  std::string max_bytes_text_;
  std::string min_free_text_;
  uint64_t max_deletions_ = 10'000;
  double rate_ = 0;
  bool allow_blind_ = false;
  bool dry_run_ = false;
  bool yes_ = false;
  gc::CleanOptions options_;
  std::optional<double> min_free_;
};

CLI::App& Tier::declare(CLI::App& parent) {
  CLI::App& app = *parent.add_subcommand("tier", "Look at the tiers, or clean them");
  app.footer(kFooter);
  add_choice(app, "WHAT", what_, {"stats", "clean"}, "stats or clean")->required();
  app.add_option("--older-than", older_than_text_, "Blocks that were not used for so long go")
      ->type_name("TIME");
  app.add_option("--max-bytes", max_bytes_text_,
                 "What is above it goes, down to 95% (default: the tier's max_bytes)")
      ->type_name("SIZE");
  app.add_option("--min-free", min_free_text_, "Of a disk tier's filesystem, so much is to be free")
      ->type_name("SHARE%");
  app.add_option("--max-deletions", max_deletions_, "Stop after so many (default: 10000)")
      ->type_name("N");
  app.add_option("--rate", rate_, "Delete at most so many blocks a second")->type_name("N");
  app.add_flag("--allow-blind", allow_blind_,
               "Where no index knows of a block, its own age counts as its last use");
  app.add_flag("--dry-run", dry_run_, "Only say what would go (the default)");
  app.add_flag("--yes", yes_, "Do it; without this, only say what would go");
  return app;
}

Result<> Tier::check() {
  if (yes_ && dry_run_) return Error(Code::invalid, "--yes and --dry-run exclude each other");
  if (rate_ < 0) return Error(Code::invalid, "--rate is less than nothing");
  options_.max_deletions = max_deletions_;
  options_.deletions_per_second = rate_;
  options_.allow_blind = allow_blind_;
  options_.execute = yes_;
  if (!older_than_text_.empty()) {
    THAW_ASSIGN(const auto age, parse_duration(older_than_text_).within("--older-than"));
    options_.older_than = std::chrono::duration_cast<std::chrono::seconds>(age);
  }
  if (!max_bytes_text_.empty()) {
    THAW_ASSIGN(options_.max_bytes, parse_size(max_bytes_text_).within("--max-bytes"));
  }
  if (!min_free_text_.empty()) {
    THAW_ASSIGN(min_free_, parse_share(min_free_text_).within("--min-free"));
  }
  return {};
}

Outcome Tier::run(Session& session) {
  if (session.config.tiers.empty()) return wrong_usage("the configuration has no [[tier]]");
  auto places = open_tiers(session.config, session.environment);
  if (!places) return wrong_usage(places.error().text());
  return what_ == "stats" ? stats(session, *places) : clean(session, *places);
}

void Tier::note_faults(const std::vector<std::string>& faults, Outcome& outcome) {
  if (faults.empty()) return;
  outcome.status = Status::failed;
  outcome.reason = name_of(Code::unavailable);
  outcome.message = faults.front();
  if (faults.size() > 1) outcome.message += fmt::format(" (and {} more)", faults.size() - 1);
}

Outcome Tier::stats(const Session& session, TierPlaces& places) const {
  Outcome outcome;
  outcome.fields["tiers"] = Fields::array();
  std::vector<std::vector<std::string>> rows;
  std::vector<std::string> faults = places.faults;
  for (const TierPlace& tier : places.tiers) {
    // A look that takes nothing away: what it holds, and what its index knows of that.
    const CleanedTier parts{tier.store.get(), tier.index.get(), tier.claims.get()};
    const auto report =
        gc::clean_tier(session.context, parts, {.max_deletions = 0}, system_clock(), nullptr);
    Fields fields = {{"name", tier.name}, {"max_bytes", tier.max_bytes}};
    if (!report && report.error().code() != Code::invalid) faults.push_back(report.error().text());
    fields["blocks"] = report ? report->tier_blocks : 0;
    fields["bytes"] = report ? report->tier_bytes : 0;
    fields["foreign"] = report ? report->foreign : 0;
    std::string known = "no index";
    if (tier.index != nullptr) {
      const auto usage = tier.index->usage(session.context, UsageOf::all());
      fields["index"] = {{"name", tier.index->describe()}, {"ok", usage.ok()}};
      if (usage) {
        fields["index"]["blocks"] = usage->blocks;
        fields["index"]["bytes"] = usage->bytes;
        known = counted(usage->blocks, "block") + " in the index";
      } else {
        faults.push_back(usage.error().text());
        known = "its index does not answer";
      }
    }
    rows.push_back({printable(tier.name), counted(report ? report->tier_blocks : 0, "block"),
                    human_size(report ? report->tier_bytes : 0),
                    tier.max_bytes == 0 ? "no bound" : "of " + human_size(tier.max_bytes), known});
    outcome.fields["tiers"].push_back(std::move(fields));
  }
  outcome.listing =
      table({Align::left, Align::right, Align::right, Align::left, Align::left}, rows);
  note_faults(faults, outcome);
  return outcome;
}

Result<gc::CleanReport> Tier::clean_one(const Session& session, const TierPlace& tier) const {
  gc::CleanOptions options = options_;
  if (!options.max_bytes && tier.max_bytes != 0) options.max_bytes = tier.max_bytes;
  if (min_free_ && tier.directory) {
    struct statvfs room {};
    if (::statvfs(tier.directory->c_str(), &room) != 0)
      return errno_error(errno, "look how much of " + *tier.directory + " is free");
    const double all = static_cast<double>(room.f_blocks) * static_cast<double>(room.f_frsize);
    const double free = static_cast<double>(room.f_bavail) * static_cast<double>(room.f_frsize);
    options.free_bytes = static_cast<uint64_t>(std::max(0.0, all * *min_free_ - free));
  }
  const CleanedTier parts{tier.store.get(), tier.index.get(), tier.claims.get()};
  return gc::clean_tier(session.context, parts, options, system_clock(), &session.progress);
}

Fields Tier::fields_of(const gc::CleanReport& report) {
  const auto source = [](const gc::CleanSource& each) {
    return Fields{{"scanned", each.scanned}, {"deleted", each.deleted}, {"bytes", each.bytes}};
  };
  return {{"scanned", report.index.scanned + report.listing.scanned},
          {"matched", report.matched},
          {"kept_recent", report.kept_recent},
          {"kept_unknown", report.kept_unknown},
          {"deleted", report.index.deleted + report.listing.deleted},
          {"bytes", report.index.bytes + report.listing.bytes},
          {"by", {{"index", source(report.index)}, {"listing", source(report.listing)}}},
          {"tier_blocks", report.tier_blocks},
          {"tier_bytes", report.tier_bytes},
          {"adopted", report.adopted},
          {"forgotten", report.forgotten},
          {"foreign", report.foreign},
          {"blind", report.blind},
          {"mended", report.mended},
          {"capped", report.capped},
          {"errors", report.errors}};
}

Outcome Tier::clean(const Session& session, TierPlaces& places) const {
  Outcome outcome;
  outcome.fields["executed"] = yes_;
  outcome.fields["tiers"] = Fields::array();
  std::vector<std::string> faults = places.faults;
  for (const TierPlace& tier : places.tiers) {
    const auto report = clean_one(session, tier);
    Fields fields = {{"name", tier.name}};
    if (!report) {
      // A place that no fill has made a tier of yet holds nothing of ours.
      fields["message"] = report.error().text();
      faults.push_back(report.error().text());
      outcome.fields["tiers"].push_back(std::move(fields));
      continue;
    }
    fields.update(fields_of(*report));
    outcome.fields["tiers"].push_back(std::move(fields));
    for (const std::string& error : report->errors) faults.push_back(error);
    const uint64_t deleted = report->index.deleted + report->listing.deleted;
    outcome.listing += fmt::format("{}: {} {} of {} ({})\n", printable(tier.name),
                                   yes_ ? "removed" : "would remove", deleted,
                                   counted(report->tier_blocks, "block"),
                                   human_size(report->index.bytes + report->listing.bytes));
    if (report->kept_recent > 0)
      outcome.listing += fmt::format("  {} were used meanwhile, and stay\n", report->kept_recent);
    if (report->kept_unknown > 0) {
      outcome.listing += fmt::format(
          "  {} are old, and no index knows when they were used: they "
          "stay (--allow-blind)\n",
          report->kept_unknown);
    }
    if (report->blind)
      outcome.listing += "  without word from an index: the objects' own ages decided\n";
    if (report->capped) outcome.listing += "  stopped at --max-deletions\n";
  }
  if (!yes_) outcome.hint = "nothing was removed; --yes does it";
  note_faults(faults, outcome);
  return outcome;
}

}  // namespace

std::unique_ptr<Command> make_tier() { return std::make_unique<Tier>(); }

}  // namespace thaw::cli
