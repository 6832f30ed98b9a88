#include <fmt/format.h>

#include "cli/command.h"
#include "cli/describe.h"
#include "cli/text.h"
#include "snapshot/catalog.h"
#include "snapshot/query.h"

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
  Reach reach() const override { return Reach::through_tiers; }
  Result<> check() override {
    THAW_ASSIGN(KeyRef ref, KeyRef::parse(ref_));
    parsed_ref_ = std::move(ref);
    return {};
  }
  std::string subject() const override { return ref_; }

  Outcome run(Session& session) override {
    auto numbers = yes_ ? remove_generations(session.context, session.store(), *parsed_ref_)
                        : plan(session.context, session.store());
    if (!numbers) return failure_about(numbers.error());
    if (numbers->empty()) return failure_about(Error(Code::not_found, "no snapshot of " + ref_));
    Outcome outcome;
    outcome.fields["key"] = parsed_ref_->key.text();
    outcome.fields["removed"] = yes_;
    outcome.fields["generations"] = *numbers;
    for (const uint64_t number : *numbers) {
      outcome.listing += fmt::format("{} {}@{}\n", yes_ ? "removed" : "would remove",
                                     parsed_ref_->key.text(), number);
    }
    if (!yes_) outcome.hint = "nothing was removed; --yes does it";
    return outcome;
  }

 private:
  // The generations that would go, newest first. One that cannot be read goes too.
  Result<std::vector<uint64_t>> plan(const Context& context, ObjectStore& store) const {
    std::vector<uint64_t> candidates;
    if (parsed_ref_->generation) {
      candidates.push_back(*parsed_ref_->generation);
    } else {
      THAW_ASSIGN(candidates, generations_of(context, store, parsed_ref_->key));
    }
    std::vector<uint64_t> live;
    for (const uint64_t number : candidates) {
      auto entry = find_generation(context, store, parsed_ref_->key, number);
      if (!entry && entry.error().code() != Code::corrupt) return std::move(entry).error();
      if (!entry || *entry) live.push_back(number);
    }
    return live;
  }

  std::string ref_;
  bool yes_ = false;
  std::optional<KeyRef> parsed_ref_;
};

}  // namespace

std::unique_ptr<Command> make_rm() { return std::make_unique<Rm>(); }

}  // namespace thaw::cli
