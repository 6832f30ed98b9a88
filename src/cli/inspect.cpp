#include <fmt/format.h>

#include "cli/command.h"
#include "cli/describe.h"
#include "cli/text.h"
#include "snapshot/query.h"

namespace thaw::cli {
namespace {

constexpr const char* kFooter = R"(Examples:
  thaw inspect site/shop
  thaw --json inspect site/shop@12 | jq .labels)";

// "9, 8, 5": the newest few.
std::string numbers_text(const std::vector<uint64_t>& numbers) {
  constexpr size_t kShown = 12;
  std::string text;
  for (size_t i = 0; i < numbers.size() && i < kShown; ++i) {
    text += fmt::format("{}{}", i == 0 ? "" : ", ", numbers[i]);
  }
  if (numbers.size() > kShown) text += fmt::format(", … ({} in all)", numbers.size());
  return text;
}

Outcome described(const Inspection& found) {
  const Entry& entry = found.entry;
  Outcome outcome;
  Fields& fields = outcome.fields;
  fields["key"] = entry.key;
  fields["generation"] = entry.generation;
  add_entry(fields, entry);
  fields["stored_bytes"] = found.stored_bytes;
  fields["manifest_bytes"] = found.manifest_bytes;
  fields["packs"] = found.packs;
  fields["pack_bytes"] = found.pack_bytes;
  fields["chunks"] = found.chunks;
  fields["contents"] = found.contents;
  fields["generations"] = found.generations;

  std::vector<std::vector<std::string>> rows = {
      {"key", fmt::format("{}@{}", entry.key, entry.generation)},
      {"snapshot", entry.ids.snapshot.hex()},
      {"content", entry.ids.content.hex()},
      {"saved", fmt::format("{} by {} on {}", time_text(entry.created_ns), printable(entry.tool),
                            printable(entry.host))},
      {"tree", totals_text(entry.totals)},
      {"different", counted(found.contents, "file")},
      {"stored",
       fmt::format("{} in {}", human_size(found.stored_bytes), counted(found.chunks, "chunk"))},
      {"packs", fmt::format("{} of {}", grouped(found.packs), human_size(found.pack_bytes))},
      {"manifest", human_size(found.manifest_bytes)},
      {"generations", numbers_text(found.generations)},
  };
  for (const auto& [name, value] : entry.labels) {
    rows.push_back({"label", fmt::format("{}={}", printable(name), printable(value))});
  }
  outcome.listing = table({Align::left, Align::left}, rows);
  return outcome;
}

class Inspect final : public Command {
 public:
  CLI::App& declare(CLI::App& parent) override {
    CLI::App& app = *parent.add_subcommand("inspect", "Show one snapshot in numbers");
    app.footer(kFooter);
    app.add_option("KEY[@N]", ref_, "The key; its newest generation unless @N names one")
        ->required()
        ->type_name("KEY[@N]");
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
    auto found = inspect(session.context, session.store(), *parsed_ref_);
    return found ? described(*found) : failure_about(found.error());
  }

 private:
  std::string ref_;
  std::optional<KeyRef> parsed_ref_;
};

}  // namespace

std::unique_ptr<Command> make_inspect() { return std::make_unique<Inspect>(); }

}  // namespace thaw::cli
