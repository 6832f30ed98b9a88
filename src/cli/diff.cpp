#include <fmt/format.h>

#include "cli/command.h"
#include "cli/describe.h"
#include "cli/text.h"
#include "snapshot/query.h"

namespace thaw::cli {
namespace {

constexpr const char* kFooter = R"(Examples:
  thaw diff site/shop@11 site/shop
  thaw diff site/shop site/shop-next --exit-code

  +  added      -  removed
  c  content    m  mode, owner, time or attributes only    t  type)";

const char* word_for(Change change) {
  switch (change) {
    case Change::added:
      return "added";
    case Change::removed:
      return "removed";
    case Change::content:
      return "content";
    case Change::metadata:
      return "metadata";
    case Change::type:
      return "type";
  }
  return "";
}

char letter_for(Change change) {
  switch (change) {
    case Change::added:
      return '+';
    case Change::removed:
      return '-';
    default:
      return word_for(change)[0];
  }
}

class Diff final : public Command {
 public:
  CLI::App& declare(CLI::App& parent) override {
    CLI::App& app = *parent.add_subcommand("diff", "Compare two snapshots");
    app.footer(kFooter);
    app.add_option("FROM", from_, "The older side: KEY or KEY@N")->required()->type_name("KEY[@N]");
    app.add_option("TO", to_, "The newer side")->required()->type_name("KEY[@N]");
    app.add_flag("--exit-code", exit_code_, "Answer 1 when they differ");
    return app;
  }

  Output output() const override { return Output::outcome; }
  Reach reach() const override { return Reach::through_tiers; }
  Result<> check() override {
    THAW_ASSIGN(KeyRef from, KeyRef::parse(from_));
    THAW_ASSIGN(KeyRef to, KeyRef::parse(to_));
    parsed_from_ = std::move(from);
    parsed_to_ = std::move(to);
    return {};
  }
  std::string subject() const override { return from_ + " " + to_; }

  Outcome run(Session& session) override {
    auto found = diff(session.context, session.store(), *parsed_from_, *parsed_to_);
    if (!found) return failure_about(found.error());
    Outcome outcome;
    outcome.fields["differs"] = !found->empty();
    outcome.fields["differences"] = Fields::array();
    for (const Difference& difference : *found) {
      outcome.fields["differences"].push_back(
          {{"change", word_for(difference.change)}, {"path", difference.path}});
      outcome.listing +=
          fmt::format("{} {}\n", letter_for(difference.change), printable(difference.path));
    }
    if (exit_code_ && !found->empty()) outcome.answer = 1;
    return outcome;
  }

 private:
  std::string from_;
  std::string to_;
  bool exit_code_ = false;
  std::optional<KeyRef> parsed_from_;
  std::optional<KeyRef> parsed_to_;
};

}  // namespace

std::unique_ptr<Command> make_diff() { return std::make_unique<Diff>(); }

}  // namespace thaw::cli
