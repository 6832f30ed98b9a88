// `thaw golden publish` and `warm`: goldens and the store.
#include <fmt/format.h>

#include "cli/describe.h"
#include "cli/golden.h"
#include "cli/requests.h"
#include "cli/text.h"

namespace thaw::cli {
namespace {

Result<Key> key_of(const GoldenOptions& options, const golden::Name& name) {
  if (options.key) return *options.key;
  return golden::default_key(name);
}

}  // namespace

bool may_ask_store(const Session& session) {
  return !session.config.advisory || session.config.store.has_value();
}

Result<golden::FetchReport> fetch_golden(const Session& session, const golden::Root& root,
                                         const golden::Name& name, const GoldenOptions& options) {
  THAW_ASSIGN(Key key, key_of(options, name));
  const golden::FetchRequest request{
      .name = name,
      .key = std::move(key),
      .freshness = options.newest ? golden::Freshness::newest : golden::Freshness::any,
      .min_free = options.min_free.value_or(0),
      .damage_dir = damage_dir(session),
      .threads = session.config.threads,
      .distance = session.distance()};
  return golden::fetch(session.context, root, session.store(), request, system_clock(),
                       &session.progress);
}

Result<golden::Published> publish_golden(const Session& session, const golden::Root& root,
                                         const golden::Name& name, uint64_t if_current,
                                         const Key& key) {
  return golden::publish(session.context, golden::Place(root, name), if_current, session.store(),
                         save_request(session, key, ""), &session.progress);
}

void add_published(Fields& fields, const golden::Published& published) {
  fields["published"] = {{"key", published.key.text()},
                         {"generation", published.store_generation},
                         {"snapshot", published.snapshot},
                         {"unchanged", published.unchanged},
                         {"new_bytes", published.new_bytes}};
}

Outcome golden_publish(const Session& session, const golden::Root& root,
                       const GoldenOptions& options) {
  const auto name = golden::Name::parse(options.args[0]);
  if (!name) return failure(name.error());
  const auto key = key_of(options, *name);
  if (!key) return failure(key.error());
  const auto published = publish_golden(session, root, *name, 0, *key);
  Outcome outcome = published ? Outcome() : golden_failure(published.error());
  outcome.fields["name"] = name->text();
  if (!published) return outcome;
  if (published->unchanged) outcome.reason = "unchanged";
  outcome.fields["generation"] = published->generation;
  add_published(outcome.fields, *published);
  outcome.summary = fmt::format("{} {}@{} as {}@{}\n  new       {}\n",
                                published->unchanged ? "unchanged:" : "published", name->text(),
                                published->generation, key->text(), published->store_generation,
                                human_size(published->new_bytes));
  return outcome;
}

// Each alone: one that cannot be had keeps no other from being fetched. The first failure is the
// command's.
Outcome golden_warm(const Session& session, const golden::Root& root,
                    const GoldenOptions& options) {
  Outcome outcome;
  Fields goldens = Fields::array();
  std::string summary;
  for (const std::string& word : options.args) {
    const auto name = golden::Name::parse(word);
    if (!name) return failure(name.error());
    const auto had = fetch_golden(session, root, *name, options);
    Fields fields = {{"name", name->text()}, {"ok", had.ok()}};
    if (had) {
      fields["fetched"] = had->fetched;
      fields["generation"] = had->generation;
      fields["fetched_bytes"] = had->fetched_bytes;
      summary += fmt::format("{}@{} {}\n", name->text(), had->generation,
                             had->fetched ? "was fetched: " + human_size(had->fetched_bytes)
                                          : std::string("is there"));
    } else {
      const Outcome failed = golden_failure(had.error());
      fields["reason"] = failed.reason;
      fields["message"] = failed.message;
      if (outcome.status == Status::done) outcome = failed;
    }
    goldens.push_back(std::move(fields));
    if (!session.context.alive()) break;
  }
  outcome.fields["goldens"] = std::move(goldens);
  outcome.summary = std::move(summary);
  return outcome;
}

}  // namespace thaw::cli
