#include <fmt/format.h>

#include <algorithm>

#include "base/clock.h"
#include "cli/command.h"
#include "cli/describe.h"
#include "cli/text.h"
#include "object/probe.h"
#include "snapshot/catalog.h"

namespace thaw::cli {
namespace {

constexpr const char* kFooter = R"(Examples:
  thaw doctor
  thaw doctor --store 's3://my-bucket/fleet?region=eu-central-1'
  thaw doctor --json | jq '.checks[] | select(.verdict != "good")'

Tries what thaw needs of a store, with a few small objects below probe/ that it deletes again. Exit code 1
says that something does not work; "weaker" works, with less than is promised elsewhere.)";

const char* name_of(Verdict verdict) {
  switch (verdict) {
    case Verdict::good:
      return "good";
    case Verdict::weaker:
      return "weaker";
    case Verdict::bad:
      return "bad";
    case Verdict::unknown:
      return "unknown";
  }
  return "";
}

class Doctor final : public Command {
 public:
  CLI::App& declare(CLI::App& parent) override {
    CLI::App& app = *parent.add_subcommand("doctor", "Try what thaw needs of the store");
    app.footer(kFooter);
    return app;
  }
  Output output() const override { return Output::outcome; }
  Reach reach() const override { return Reach::through_tiers; }
  Result<> check() override { return {}; }
  std::string subject() const override { return ""; }

  Outcome run(Session& session) override {
    std::vector<Finding> findings;
    const bool can_sign = credentials(session, findings);
    if (can_sign) {
      const ProbedPlace place =
          session.opened.bucket.url ? ProbedPlace::bucket : ProbedPlace::directory;
      for (Finding& each : probe_store(session.context, session.store(), system_clock(), place)) {
        findings.push_back(std::move(each));
      }
      const bool listed = std::any_of(findings.begin(), findings.end(), [](const Finding& each) {
        return each.name == "list" && each.verdict == Verdict::good;
      });
      if (listed) format(session, findings);
    }
    return described(session, findings);
  }

 private:
  // Which source answered; the rest is futile without.
  static bool credentials(const Session& session, std::vector<Finding>& findings) {
    if (!session.opened.bucket.url) return true;
    if (session.opened.bucket.credentials == nullptr) {
      findings.push_back({"credentials", Verdict::good, "none: requests are not signed", ""});
      return true;
    }
    const auto found = session.opened.bucket.credentials->current(session.context);
    if (!found) {
      findings.push_back({"credentials", Verdict::bad, found.error().text(),
                          "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or name a profile",
                          found.error().code()});
      return false;
    }
    std::string detail = fmt::format("{}, from {}", found->access_key_id,
                                     session.opened.bucket.credentials->source());
    if (found->expires) detail += "; they expire at " + found->expires->iso8601();
    findings.push_back({"credentials", Verdict::good, std::move(detail), ""});
    return true;
  }

  static void format(const Session& session, std::vector<Finding>& findings) {
    const auto state = find_store(session.context, session.store());
    if (!state) {
      findings.push_back({"format", Verdict::bad, state.error().text(),
                          "use a thaw that knows this store's format", state.error().code()});
    } else if (*state == StoreState::unmarked) {
      findings.push_back({"format", Verdict::weaker, "the store's marker is missing",
                          "the next save writes it again"});
    } else {
      const bool marked = *state == StoreState::marked;
      findings.push_back(
          {"format", Verdict::good,
           marked ? "the store's format is known" : "no store yet: the first save makes it", ""});
    }
  }

  // The first error's; where nothing failed but something is not as it should be, no code fits.
  static Code reason_of(const std::vector<Finding>& findings) {
    const auto first = std::find_if(findings.begin(), findings.end(), [](const Finding& each) {
      return each.verdict == Verdict::bad && each.code;
    });
    return first == findings.end() ? Code::unavailable : *first->code;
  }

  static Outcome described(const Session& session, const std::vector<Finding>& findings) {
    Outcome outcome;
    outcome.fields["store"] = session.store().describe();
    outcome.fields["checks"] = Fields::array();
    std::vector<std::vector<std::string>> rows;
    size_t bad = 0;
    for (const Finding& each : findings) {
      bad += each.verdict == Verdict::bad ? 1 : 0;
      outcome.fields["checks"].push_back({{"name", each.name},
                                          {"verdict", name_of(each.verdict)},
                                          {"detail", each.detail},
                                          {"hint", each.hint}});
      rows.push_back({name_of(each.verdict), each.name, printable(each.detail)});
      if (!each.hint.empty()) rows.push_back({"", "", "  -> " + printable(each.hint)});
    }
    outcome.listing =
        session.store().describe() + "\n" + table({Align::left, Align::left, Align::left}, rows);
    if (bad > 0) {
      outcome.status = Status::failed;
      outcome.reason = thaw::name_of(reason_of(findings));
      outcome.message =
          fmt::format("{} of {} did not pass", bad, counted(findings.size(), "check"));
    }
    return outcome;
  }
};

}  // namespace

std::unique_ptr<Command> make_doctor() { return std::make_unique<Doctor>(); }

}  // namespace thaw::cli
