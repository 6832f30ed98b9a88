// `thaw golden ls`, `show`, `rollback`, `rm` and `gc`.
#include <fmt/format.h>

#include "cli/describe.h"
#include "cli/golden.h"
#include "cli/text.h"
#include "golden/clones.h"
#include "golden/name.h"
#include "golden/recover.h"
#include "golden/remove.h"

namespace thaw::cli {
namespace {

Fields fields_of(const golden::GenerationState& state) {
  const golden::Description& it = state.description;
  Fields fields = {{"generation", state.number},
                   {"current", state.is_current},
                   {"created_at", it.created_at},
                   {"last_use", time_text(state.last_use_ns)},
                   {"live_clones", state.live_clones},
                   {"source", it.source},
                   {"snapshot", nullptr},
                   {"host", it.host},
                   {"labels", it.labels}};
  if (it.snapshot) fields["snapshot"] = *it.snapshot;
  add_totals(fields, it.totals);
  return fields;
}

// The golden that NAME names, with what was interrupted in it put right.
Result<golden::Place> place_of(const Session& session, const golden::Root& root,
                               const golden::Name& name) {
  golden::Place place(root, name);
  if (!place.exists()) return Error(Code::not_found, "no golden " + name.text());
  THAW_CHECK(golden::recover(session.context, place));
  return place;
}

std::vector<std::string> row_of(const golden::Name& name, const golden::GenerationState& state,
                                int64_t now_ns) {
  return {fmt::format("{}@{}", name.text(), state.number),
          state.is_current ? "current" : "",
          human_size(state.description.totals.bytes),
          counted(state.description.totals.files, "file"),
          "used " + age(state.last_use_ns, now_ns) + " ago",
          state.live_clones == 0 ? "" : counted(state.live_clones, "overlay")};
}

const std::vector<Align> kColumns = {Align::left,  Align::left, Align::right,
                                     Align::right, Align::left, Align::left};

const char* name_of(golden::Why why) {
  switch (why) {
    case golden::Why::beyond_keep_last:
      return "keep_last";
    case golden::Why::unused:
      return "unused";
    case golden::Why::disk:
      return "min_free";
  }
  return "";
}

}  // namespace

namespace {

// Adds a golden to the list. One without a generation is none.
Result<> list_one(const Session& session, const golden::Root& root, const golden::Name& name,
                  Outcome& outcome, std::vector<std::vector<std::string>>& rows) {
  THAW_ASSIGN(const golden::Place place, place_of(session, root, name));
  THAW_ASSIGN(const auto states, golden::generations_of(place));
  if (states.empty()) return {};
  uint64_t current = 0;
  for (const golden::GenerationState& each : states) {
    if (!each.is_current) continue;
    current = each.number;
    rows.push_back(row_of(name, each, system_clock().now().ns));
  }
  outcome.fields["goldens"].push_back(
      {{"name", name.text()}, {"generation", current}, {"generations", states.size()}});
  return {};
}

// One golden's damage keeps no other from its turn, and is the command's answer in the end.
void note_damage(const golden::Name& name, const Error& error, Outcome& outcome) {
  Fields fields = std::move(outcome.fields);
  std::string listing = std::move(outcome.listing);
  outcome = golden_failure(error);
  outcome.message = name.text() + ": " + outcome.message;
  outcome.fields = std::move(fields);
  outcome.listing = std::move(listing);
}

}  // namespace

Outcome golden_ls(const Session& session, const golden::Root& root, const GoldenOptions&) {
  Outcome outcome;
  outcome.fields["root"] = root.path;
  outcome.fields["goldens"] = Fields::array();
  std::vector<std::vector<std::string>> rows;
  for (const golden::Name& name : golden::names_in(root)) {
    const auto listed = list_one(session, root, name, outcome, rows);
    if (!listed) note_damage(name, listed.error(), outcome);
  }
  outcome.listing = table(kColumns, rows);
  return outcome;
}

Outcome golden_show(const Session& session, const golden::Root& root,
                    const GoldenOptions& options) {
  const auto ref = golden::Ref::parse(options.args[0]);
  if (!ref) return failure(ref.error());
  const auto place = place_of(session, root, ref->name);
  if (!place) return golden_failure(place.error());
  const auto states = golden::generations_of(*place);
  if (!states) return failure(states.error());
  const auto clones = golden::clones_of(*place);
  if (!clones) return failure(clones.error());

  Outcome outcome;
  outcome.fields["name"] = ref->name.text();
  outcome.fields["generations"] = Fields::array();
  outcome.fields["clones"] = Fields::array();
  std::vector<std::vector<std::string>> rows;
  for (const golden::GenerationState& each : *states) {
    if (ref->generation && each.number != *ref->generation) continue;
    Fields fields = fields_of(each);
    fields["tree"] = place->tree_of(each.number);
    outcome.fields["generations"].push_back(std::move(fields));
    rows.push_back(row_of(ref->name, each, system_clock().now().ns));
  }
  if (rows.empty()) return golden_failure(Error(Code::not_found, "no golden " + ref->text()));
  outcome.listing = table(kColumns, rows);
  for (const golden::Clone& each : *clones) {
    if (ref->generation && each.record.generation != *ref->generation) continue;
    const char* method = golden::name_of(each.record.method);
    outcome.fields["clones"].push_back({{"target", each.record.target},
                                        {"generation", each.record.generation},
                                        {"method", method},
                                        {"created_at", each.record.created_at}});
    outcome.listing += fmt::format("  clone of @{}: {} ({})\n", each.record.generation,
                                   printable(each.record.target), method);
  }
  return outcome;
}

Outcome golden_rollback(const Session& session, const golden::Root& root,
                        const GoldenOptions& options) {
  const auto ref = golden::Ref::parse(options.args[0]);
  if (!ref) return failure(ref.error());
  const auto place = place_of(session, root, ref->name);
  if (!place) return golden_failure(place.error());
  const auto rolled = golden::roll_back(session.context, *place, ref->generation);
  if (!rolled) return golden_failure(rolled.error());
  Outcome outcome;
  if (rolled->current == rolled->previous) outcome.reason = "unchanged";
  outcome.fields["name"] = ref->name.text();
  outcome.fields["generation"] = rolled->current;
  outcome.fields["previous"] = rolled->previous;
  outcome.summary = fmt::format("{}@{} is current (it was @{})\n", ref->name.text(),
                                rolled->current, rolled->previous);
  return outcome;
}

Outcome golden_rm(const Session& session, const golden::Root& root, const GoldenOptions& options) {
  const auto ref = golden::Ref::parse(options.args[0]);
  if (!ref) return failure(ref.error());
  const auto place = place_of(session, root, ref->name);
  if (!place) return golden_failure(place.error());
  const auto act = options.yes ? golden::Act::execute : golden::Act::plan;
  const auto removed = golden::remove(session.context, *place, ref->generation, act);
  if (!removed) return golden_failure(removed.error());
  if (removed->empty()) return golden_failure(Error(Code::not_found, "no golden " + ref->text()));
  Outcome outcome;
  outcome.fields["name"] = ref->name.text();
  outcome.fields["removed"] = options.yes;
  outcome.fields["generations"] = *removed;
  for (const uint64_t number : *removed) {
    outcome.listing += fmt::format("{} {}@{}\n", options.yes ? "removed" : "would remove",
                                   ref->name.text(), number);
  }
  if (!options.yes) outcome.hint = "nothing was removed; --yes does it";
  return outcome;
}

namespace {

Result<> collect_one(const Session& session, const golden::Root& root, const golden::Name& name,
                     const GoldenOptions& options, Outcome& outcome) {
  THAW_ASSIGN(const golden::Place place, place_of(session, root, name));
  golden::CollectOptions wanted{.keep_last = static_cast<size_t>(options.keep_last),
                                .unused = options.unused};
  if (options.min_free) {
    THAW_ASSIGN(const golden::Room room, golden::room_at(root.path));
    const auto least =
        static_cast<uint64_t>(static_cast<double>(room.all_bytes) * *options.min_free);
    wanted.free_bytes = least > room.free_bytes ? least - room.free_bytes : 0;
  }
  THAW_ASSIGN(const auto states, golden::generations_of(place));
  for (const golden::Doomed& each :
       golden::plan_collection(states, wanted, system_clock().now().ns)) {
    bool gone = false;
    if (options.yes) {
      THAW_ASSIGN(gone, golden::collect(session.context, place, each.number));
    }
    outcome.fields["generations"].push_back({{"name", name.text()},
                                             {"generation", each.number},
                                             {"bytes", each.bytes},
                                             {"why", name_of(each.why)},
                                             {"removed", gone}});
    outcome.listing +=
        fmt::format("{} {}@{} ({}, {})\n",
                    gone          ? "removed"
                    : options.yes ? "in use: stays"
                                  : "would remove",
                    name.text(), each.number, human_size(each.bytes), name_of(each.why));
  }
  return {};
}

}  // namespace

Outcome golden_gc(const Session& session, const golden::Root& root, const GoldenOptions& options) {
  Outcome outcome;
  outcome.fields["executed"] = options.yes;
  outcome.fields["generations"] = Fields::array();
  std::vector<golden::Name> names;
  if (options.args.empty()) {
    names = golden::names_in(root);
  } else {
    auto name = golden::Name::parse(options.args[0]);
    if (!name) return failure(name.error());
    names.push_back(*std::move(name));
  }
  for (const golden::Name& name : names) {
    const auto done = collect_one(session, root, name, options, outcome);
    if (!done) note_damage(name, done.error(), outcome);
  }
  if (outcome.status == Status::done && !options.yes)
    outcome.hint = "nothing was removed; --yes does it";
  return outcome;
}

}  // namespace thaw::cli
