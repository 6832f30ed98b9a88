#include <fmt/format.h>

#include "app/duration.h"
#include "cli/command.h"
#include "cli/describe.h"
#include "cli/text.h"
#include "gc/collect.h"

namespace thaw::cli {
namespace {

constexpr const char* kFooter = R"(Examples:
  thaw gc                      what would go
  thaw gc --yes                retire what [[retention]] gives up, delete what nothing needs
  thaw gc --yes --grace 48h    restores may take up to two days

What nothing needs is condemned by one run, and deleted by the first run that comes after the grace
period and finds it unneeded still. Runs beside saves and restores, and beside other runs; once a day
is enough. What is not thaw's is reported, and left.)";

constexpr unsigned kRequestsAtOnce = 16;

class Gc final : public Command {
 public:
  CLI::App& declare(CLI::App& parent) override {
    CLI::App& app = *parent.add_subcommand("gc", "Give back what no generation needs");
    app.footer(kFooter);
    app.add_flag("--yes", yes_, "Do it; without this, only say what would go");
    app.add_flag("--dry-run", dry_run_, "Only say what would go (the default)");
    app.add_option("--grace", grace_text_,
                   "How long a restore of something removed may go on (default: 24h)")
        ->type_name("TIME");
    return app;
  }

  Output output() const override { return Output::outcome; }
  Reach reach() const override { return Reach::past_tiers; }
  Result<> check() override {
    if (yes_ && dry_run_) return Error(Code::invalid, "--yes and --dry-run exclude each other");
    if (grace_text_.empty()) return {};
    THAW_ASSIGN(const auto grace, parse_duration(grace_text_).within("--grace"));
    grace_ = std::chrono::duration_cast<std::chrono::seconds>(grace);
    return {};
  }
  std::string subject() const override { return ""; }

  Outcome run(Session& session) override {
    gc::CollectOptions options;
    options.plan.retention = session.config.retention;
    options.plan.grace = grace_;
    options.access = yes_ ? gc::Access::collect : gc::Access::look;
    options.threads =
        session.distance() == StoreDistance::local ? session.config.threads : kRequestsAtOnce;
    auto report = gc::collect(session.context, session.store(), options, &session.progress);
    if (!report) return failure(report.error());
    return described(*report);
  }

 private:
  static Fields tally(const gc::Tally& tally) {
    return {{"objects", tally.objects}, {"bytes", tally.bytes}};
  }
  static gc::Tally sum(const std::vector<gc::ObjectFound>& objects) {
    gc::Tally tally;
    for (const gc::ObjectFound& each : objects) tally.add(each);
    return tally;
  }

  Outcome described(const gc::CollectReport& report) const {
    Outcome outcome;
    add_fields(outcome.fields, report);
    outcome.listing = listing(report);
    if (!yes_) outcome.hint = "nothing was removed; --yes does it";
    if (report.fault) {
      const Outcome failed = failure(*report.fault);
      outcome.status = failed.status;
      outcome.reason = failed.reason;
      outcome.message = failed.message;
      outcome.hint = "what was done is said above; the next run finishes it";
    }
    return outcome;
  }

  void add_fields(Fields& fields, const gc::CollectReport& report) const {
    const gc::Plan& plan = report.plan;
    fields["executed"] = yes_;
    fields["keys"] = plan.keys;
    fields["generations"] = plan.generations;
    fields["live"] = tally(plan.live);
    fields["dead_bytes_at_most"] = plan.dead_bytes;
    fields["retire"] = Fields::array();
    for (const gc::Retirement& each : plan.retire) {
      fields["retire"].push_back({{"key", each.key.text()},
                                  {"generation", each.generation},
                                  {"why", each.why == gc::Expiry::unused ? "unused" : "surplus"}});
    }
    fields["delete"] = tally(sum(plan.sweep));
    fields["condemn"] = tally(sum(plan.mark));
    fields["waiting"] = tally(plan.waiting);
    fields["leased"] = tally(plan.leased);
    fields["young"] = tally(plan.young);
    fields["leases"] = report.leases;
    fields["expired_leases"] = report.expired_leases;
    fields["missing"] = plan.missing;
    fields["broken"] = plan.broken;
    fields["unknown"] = {{"objects", report.unknown.objects},
                         {"bytes", report.unknown.bytes},
                         {"examples", report.unknown.examples}};
    fields["retired"] = report.retired;
    fields["deleted"] = tally(report.swept);
    fields["condemned"] = tally(report.marked);
  }

  static std::string size_of(const gc::Tally& tally) {
    return fmt::format("{}, {}", counted(tally.objects, "object"), human_size(tally.bytes));
  }

  std::string listing(const gc::CollectReport& report) const {
    const gc::Plan& plan = report.plan;
    std::string text;
    for (const gc::Retirement& each : plan.retire) {
      text += fmt::format("{} {}@{}: {}\n", yes_ ? "retired" : "would retire", each.key.text(),
                          each.generation,
                          each.why == gc::Expiry::unused ? "its key was not used for its ttl"
                                                         : "retention keeps others");
    }
    std::vector<std::vector<std::string>> rows;
    const auto row = [&](const char* name, const gc::Tally& each, const char* why) {
      rows.push_back({name, counted(each.objects, "object"), human_size(each.bytes), why});
    };
    row("needed", plan.live,
        fmt::format("by {} of {}", counted(plan.generations, "generation"),
                    counted(plan.keys, "key"))
            .c_str());
    row(yes_ ? "deleted" : "to delete", yes_ ? report.swept : sum(plan.sweep),
        "condemned, and the grace period is over");
    row(yes_ ? "condemned" : "to condemn", yes_ ? report.marked : sum(plan.mark),
        "deleted by the first run after the grace period");
    if (plan.waiting.objects > 0) row("waiting", plan.waiting, "condemned already");
    if (plan.leased.objects > 0) row("leased", plan.leased, "a save or a long read may need them");
    if (plan.young.objects > 0) row("young", plan.young, "not older than the grace period");
    text += table({Align::left, Align::right, Align::right, Align::left}, rows);
    if (plan.dead_bytes > 0) {
      text += fmt::format("at most {} in living packs is dead; later saves lay such packs anew\n",
                          human_size(plan.dead_bytes));
    }
    if (plan.missing > 0) {
      text += fmt::format("{} that snapshots need are missing: `thaw verify` tells more about {}\n",
                          counted(plan.missing, "object"),
                          plan.broken.empty() ? "" : plan.broken.front());
    }
    if (report.unknown.objects > 0) {
      text += fmt::format("{} are not thaw's, and were left: {}\n",
                          counted(report.unknown.objects, "object"),
                          printable(report.unknown.examples.front()));
    }
    return text;
  }

  bool yes_ = false;
  bool dry_run_ = false;
  std::string grace_text_;
  std::chrono::seconds grace_{24 * 3600};
};

}  // namespace

std::unique_ptr<Command> make_gc() { return std::make_unique<Gc>(); }

}  // namespace thaw::cli
