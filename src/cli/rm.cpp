#include <fmt/format.h>

#include "cli/command.h"
#include "cli/describe.h"
#include "cli/text.h"
#include "cli/tiers_of.h"
#include "gc/invalidate.h"

namespace thaw::cli {
namespace {

constexpr const char* kFooter = R"(Examples:
  thaw rm site/shop@3          what would go
  thaw rm site/shop@3 --yes    remove this generation
  thaw rm site/shop --yes      remove all generations of this key

A removed generation's number is never used again. Its stored bytes stay until they are collected.)";

class Rm final : public Command {
 public:
  CLI::App& declare(CLI::App& parent) override {
    CLI::App& app = *parent.add_subcommand("rm", "Remove a generation, or all of a key");
    app.footer(kFooter);
    app.add_option("KEY[@N]", ref_, "The generation; all of the key without @N")
        ->required()
        ->type_name("KEY[@N]");
    app.add_flag("--yes", yes_, "Do it; without this, only say what would go");
    return app;
  }

  Output output() const override { return Output::outcome; }
  Reach reach() const override { return Reach::past_tiers; }
  Result<> check() override {
    THAW_ASSIGN(KeyRef ref, KeyRef::parse(ref_));
    parsed_ref_ = std::move(ref);
    return {};
  }
  std::string subject() const override { return ref_; }

  Outcome run(Session& session) override {
    const auto removal = gc::plan_removal(session.context, session.store(), *parsed_ref_);
    if (!removal) return failure_about(removal.error());
    if (removal->keys.empty())
      return failure_about(Error(Code::not_found, "no snapshot of " + ref_));
    const std::vector<uint64_t>& numbers = removal->keys.front().generations;
    if (yes_) {
      const auto done = gc::execute(session.context, session.store(), *removal);
      if (!done) return failure_about(done.error());
    }
    Outcome outcome;
    outcome.fields["key"] = parsed_ref_->key.text();
    outcome.fields["removed"] = yes_;
    outcome.fields["generations"] = numbers;
    for (const uint64_t number : numbers) {
      outcome.listing += fmt::format("{} {}@{}\n", yes_ ? "removed" : "would remove",
                                     parsed_ref_->key.text(), number);
    }
    if (!yes_) outcome.hint = "nothing was removed; --yes does it";
    if (yes_) drop_from_tiers(session, removal->objects, "", outcome);
    return outcome;
  }

 private:
  std::string ref_;
  bool yes_ = false;
  std::optional<KeyRef> parsed_ref_;
};

}  // namespace

std::unique_ptr<Command> make_rm() { return std::make_unique<Rm>(); }

}  // namespace thaw::cli
