#include <fmt/format.h>

#include "base/clock.h"
#include "base/log.h"
#include "cli/command.h"
#include "cli/describe.h"
#include "cli/text.h"
#include "snapshot/catalog.h"
#include "snapshot/query.h"

namespace thaw::cli {
namespace {

constexpr const char* kFooter = R"(Examples:
  thaw ls
  thaw ls site/shop
  thaw --json ls | jq -r '.keys[].key'

PREFIX covers whole segments: `site` lists site/shop, not sites/x.)";

class Ls final : public Command {
 public:
  CLI::App& declare(CLI::App& parent) override {
    CLI::App& app = *parent.add_subcommand("ls", "List keys, with their newest generations");
    app.footer(kFooter);
    app.add_option("PREFIX", prefix_, "Only the keys that this covers")->type_name("KEY");
    return app;
  }

  Output output() const override { return Output::outcome; }
  Reach reach() const override { return Reach::through_tiers; }
  Result<> check() override { return {}; }
  std::string subject() const override { return prefix_; }

  Outcome run(Session& session) override {
    auto listings = list_keys(session.context, session.store(), prefix_, session.config.threads);
    if (!listings) return failure(listings.error());
    Outcome outcome;
    outcome.fields["keys"] = Fields::array();
    std::vector<std::vector<std::string>> rows = {{"KEY", "AGE", "FILES", "SIZE", "STORED"}};
    const int64_t now_ns = system_clock().now().ns;
    for (const KeyListing& listing : *listings) {
      Fields key = {{"key", listing.key.text()}};
      if (listing.newest) {
        const Entry& entry = *listing.newest;
        key["generation"] = entry.generation;
        add_entry(key, entry);
        rows.push_back({fmt::format("{}@{}", listing.key.text(), entry.generation),
                        age(entry.created_ns, now_ns), grouped(entry.totals.files),
                        human_size(entry.totals.bytes), human_size(entry.stored_bytes)});
      } else {
        key["fault"] = listing.fault;
        rows.push_back({listing.key.text(), "unreadable", "-", "-", "-"});
        log::warn("{}: {}", listing.key.text(), printable(listing.fault));
      }
      outcome.fields["keys"].push_back(std::move(key));
    }
    if (rows.size() == 1) {
      const auto state = find_store(session.context, session.store());
      if (!state) return failure(state.error());
      if (*state == StoreState::absent)
        log::warn("there is no store yet: {}", session.store().describe());
      log::info("no keys{} in {}", prefix_.empty() ? "" : " below " + printable(prefix_),
                session.store().describe());
    } else {
      using enum Align;
      outcome.listing = table({left, right, right, right, right}, rows);
    }
    return outcome;
  }

 private:
  std::string prefix_;
};

}  // namespace

std::unique_ptr<Command> make_ls() { return std::make_unique<Ls>(); }

}  // namespace thaw::cli
