#include <fmt/format.h>

#include "cli/command.h"
#include "cli/describe.h"
#include "cli/text.h"
#include "cli/tiers_of.h"
#include "gc/invalidate.h"

namespace thaw::cli {
namespace {

constexpr const char* kFooter = R"(Examples:
  thaw invalidate site/shop          what would go
  thaw invalidate site/shop --yes    remove site/shop and all keys below it, here and in the tiers

PREFIX is made of whole segments: build1 is not build10. First the store's generations go, so that
nothing is served that was removed; then what the tiers of this configuration keep of them, and of
raw objects below PREFIX (which stay in the store: they are not thaw's). Disk tiers of other machines
keep blocks that nobody asks for until they age out.)";

class Invalidate final : public Command {
 public:
  CLI::App& declare(CLI::App& parent) override {
    CLI::App& app = *parent.add_subcommand("invalidate", "Remove all keys below a prefix");
    app.footer(kFooter);
    app.add_option("PREFIX", prefix_, "A key, or the first segments of keys")
        ->required()
        ->type_name("PREFIX");
    app.add_flag("--yes", yes_, "Do it; without this, only say what would go");
    return app;
  }

  Output output() const override { return Output::outcome; }
  Reach reach() const override { return Reach::past_tiers; }
  Result<> check() override {
    while (prefix_.ends_with('/')) prefix_.pop_back();
    if (prefix_.empty()) return Error(Code::invalid, "PREFIX is empty: that would be everything");
    THAW_CHECK(Key::parse(prefix_));
    return {};
  }
  std::string subject() const override { return prefix_; }

  Outcome run(Session& session) override {
    const auto removal = gc::plan_removal_below(session.context, session.store(), prefix_);
    if (!removal) return failure(removal.error());
    Outcome outcome;
    outcome.fields["prefix"] = prefix_;
    outcome.fields["removed"] = yes_;
    outcome.fields["keys"] = Fields::array();
    for (const gc::RemovedKey& each : removal->keys) {
      outcome.fields["keys"].push_back(
          {{"key", each.key.text()}, {"generations", each.generations}});
      outcome.listing +=
          fmt::format("{} {} ({})\n", yes_ ? "removed" : "would remove", each.key.text(),
                      counted(each.generations.size(), "generation"));
    }
    if (!yes_) {
      outcome.hint = "nothing was removed; --yes does it";
      return outcome;
    }
    const auto retired = gc::execute(session.context, session.store(), *removal);
    if (!retired) return failure(retired.error());
    outcome.fields["retired"] = *retired;
    drop_from_tiers(session, removal->objects, prefix_, outcome);
    return outcome;
  }

 private:
  std::string prefix_;
  bool yes_ = false;
};

}  // namespace

std::unique_ptr<Command> make_invalidate() { return std::make_unique<Invalidate>(); }

}  // namespace thaw::cli
