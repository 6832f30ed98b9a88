#include <fmt/format.h>

#include <algorithm>

#include "cli/command.h"
#include "cli/describe.h"
#include "cli/text.h"
#include "snapshot/known_damage.h"
#include "snapshot/query.h"

namespace thaw::cli {
namespace {

constexpr const char* kFooter = R"(Examples:
  thaw verify              every live snapshot of the store
  thaw verify site/shop    the newest generation of one key

Reads every byte that the snapshots need and checks it against its digest. Exit code 1 says that
something is missing or corrupt; it is named.)";

class Verify final : public Command {
 public:
  CLI::App& declare(CLI::App& parent) override {
    CLI::App& app = *parent.add_subcommand("verify", "Read and check what snapshots need");
    app.footer(kFooter);
    app.add_option("KEY[@N]", ref_, "One snapshot; all of the store without it")
        ->type_name("KEY[@N]");
    return app;
  }

  Output output() const override { return Output::outcome; }
  Reach reach() const override { return Reach::past_tiers; }
  Result<> check() override {
    if (ref_.empty()) return {};
    THAW_ASSIGN(KeyRef ref, KeyRef::parse(ref_));
    parsed_ref_ = std::move(ref);
    return {};
  }
  std::string subject() const override { return ref_; }

  Outcome run(Session& session) override {
    auto report = verify(session.context, session.store(), parsed_ref_, session.config.threads,
                         KnownDamage(damage_dir(session)), &session.progress);
    if (!report) return failure_about(report.error());
    return described(*report);
  }

 private:
  Outcome described(const VerifyReport& report) const {
    Outcome outcome;
    Fields& fields = outcome.fields;
    if (parsed_ref_) fields["key"] = parsed_ref_->key.text();
    fields["snapshots"] = report.snapshots;
    fields["packs"] = report.packs;
    fields["fetched_bytes"] = report.bytes;
    fields["faults"] = Fields::array();
    for (const VerifyFault& fault : report.faults) {
      fields["faults"].push_back({{"object", fault.object}, {"what", fault.what}});
      outcome.listing += fmt::format("{}: {}\n", printable(fault.object), printable(fault.what));
    }
    const std::string checked =
        fmt::format("{}, {}, {} read", counted(report.snapshots, "snapshot"),
                    counted(report.packs, "pack"), human_size(report.bytes));
    if (report.faults.empty()) {
      outcome.summary = fmt::format("no faults: {}\n", checked);
    } else {
      outcome.status = Status::failed;
      outcome.reason = name_of(Code::corrupt);
      outcome.message = fmt::format("{} ({})", counted(report.faults.size(), "fault"), checked);
      const bool of_marker =
          std::all_of(report.faults.begin(), report.faults.end(),
                      [](const VerifyFault& fault) { return fault.object == kStoreMarkerName; });
      outcome.hint = of_marker ? "is --store the right one? A save there makes the marker"
                               : "`thaw rm` removes a broken generation; the next save on this "
                                 "machine stores its content anew";
    }
    return outcome;
  }

  std::string ref_;
  std::optional<KeyRef> parsed_ref_;
};

}  // namespace

std::unique_ptr<Command> make_verify() { return std::make_unique<Verify>(); }

}  // namespace thaw::cli
