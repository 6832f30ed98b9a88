#include "gc/plan.h"

#include <fmt/format.h>

#include <algorithm>
#include <unordered_map>
#include <unordered_set>

#include "snapshot/lease.h"

namespace thaw::gc {
namespace {

constexpr size_t kBroken = 10;
// After it a claim is taken for that of a killed run. If that is wrong, objects are condemned
// twice.
constexpr std::chrono::seconds kLongestRun{6 * 3600};

struct HashOfId {
  // They are random already.
  size_t operator()(const RandomId& id) const { return load_le<uint64_t>(id.bytes.data()); }
};
using Ids = std::unordered_set<RandomId, HashOfId>;

class Planner {
 public:
  Planner(const Survey& survey, const PlanOptions& options) : survey_(survey), options_(options) {}

  Plan run() {
    for (const auto* objects : {&survey_.packs, &survey_.manifests}) {
      for (const ObjectFound& each : *objects) there_.insert(each.id);
    }
    look_at_keys();
    look_at_records();
    for (const ObjectFound& pack : survey_.packs) look_at(pack);
    for (const ObjectFound& manifest : survey_.manifests) look_at(manifest);
    look_for_missing();
    for (const ObjectFound& probe : survey_.probes) {
      if (is_older(probe.put, options_.grace)) plan_.tidy.push_back(probe.object);
    }
    plan_.tidy.insert(plan_.tidy.end(), survey_.stray_uses.begin(), survey_.stray_uses.end());
    return std::move(plan_);
  }

 private:
  bool is_older(Timestamp put, std::chrono::seconds age) const {
    return static_cast<double>(survey_.now.ns) - static_cast<double>(put.ns) >=
           1e9 * static_cast<double>(age.count());
  }
  void look_at_keys();
  void look_at(const KeyFound& key);
  void look_at_records();
  bool names_nothing(const CondemnedRecord& record) const;
  void look_at(const ObjectFound& object);
  bool is_leased(const ObjectFound& object) const;
  void look_for_missing();

  const Survey& survey_;
  const PlanOptions& options_;
  Plan plan_;
  // What live generations need, and how many bytes of it (of packs: of the one that uses most).
  std::unordered_map<RandomId, uint64_t, HashOfId> needed_;
  Ids ripe_;     // condemned for long enough
  Ids waiting_;  // condemned
  Ids there_;
};

void Planner::look_at_keys() {
  for (const KeyFound& key : survey_.keys) look_at(key);
}

void Planner::look_at(const KeyFound& key) {
  std::vector<Candidate> live;
  for (const GenerationFound& each : key.generations) {
    if (!each.live) continue;
    live.push_back({each.generation, each.put, &each.labels});
    if (each.manifest) needed_.emplace(each.manifest->id, 0);
    for (const PackShare& pack : each.packs) {
      uint64_t& used = needed_[pack.id];
      used = std::max(used, pack.used_bytes);
    }
  }
  plan_.keys += live.empty() ? 0 : 1;
  plan_.generations += live.size();
  if (const RetentionRule* rule = rule_for(options_.retention, key.key)) {
    for (const Expired& each : expired(*rule, live, key.last_use, survey_.now))
      plan_.retire.push_back({key.key, each.generation, each.why});
  }
  // The highest number stays, whatever it is: it says which ones were used.
  for (size_t i = 1; i < key.generations.size(); ++i) {
    const GenerationFound& each = key.generations[i];
    if (each.live || !is_older(each.put, options_.grace + kLeaseTtl + kSkew)) continue;
    plan_.tidy.push_back(*ObjectKey::parse(entry_name(key.key, each.generation)));
  }
  plan_.tidy.insert(plan_.tidy.end(), key.void_refusals.begin(), key.void_refusals.end());
  if (live.empty() && key.last_use && is_older(*key.last_use, options_.grace))
    plan_.tidy.push_back(*ObjectKey::parse(last_use_name(key.key)));
}

void Planner::look_at_records() {
  for (const RecordFound& found : survey_.condemned) {
    const CondemnedRecord& record = found.record;
    // Another run has it. One that was killed never comes back to it: then what it names is
    // condemned anew, and it goes when nothing of that is left.
    const bool abandoned = found.claimed && is_older(*found.claimed, kLongestRun);
    if (found.ours || (abandoned && names_nothing(record))) {
      plan_.done_records.push_back(record.object);
      plan_.done_claims.push_back(sweeping_object(record.id));
    }
    if (!record.content || abandoned) continue;
    for (const auto* ids : {&record.content->packs, &record.content->manifests})
      (found.ours ? ripe_ : waiting_).insert(ids->begin(), ids->end());
  }
  for (const ObjectFound& claim : survey_.stray_claims) {
    if (is_older(claim.put, kLongestRun)) plan_.tidy.push_back(claim.object);
  }
}

bool Planner::names_nothing(const CondemnedRecord& record) const {
  if (!record.content) return false;
  const auto is_gone = [this](const RandomId& id) { return there_.count(id) == 0; };
  return std::all_of(record.content->packs.begin(), record.content->packs.end(), is_gone) &&
         std::all_of(record.content->manifests.begin(), record.content->manifests.end(), is_gone);
}

bool Planner::is_leased(const ObjectFound& object) const {
  if (survey_.needed_by_leases.count(object.id) != 0) return true;
  // Its saver may have put it just now.
  return std::any_of(survey_.leases.begin(), survey_.leases.end(), [&](const LeaseFound& lease) {
    return static_cast<double>(object.put.ns) >
           static_cast<double>(lease.since.ns) - 1e9 * static_cast<double>(kSkew.count());
  });
}

void Planner::look_at(const ObjectFound& object) {
  if (const auto needed = needed_.find(object.id); needed != needed_.end()) {
    plan_.live.add(object);
    if (needed->second > 0 && object.size_bytes > needed->second)
      plan_.dead_bytes += object.size_bytes - needed->second;
    return;
  }
  if (is_leased(object)) {
    plan_.leased.add(object);
  } else if (ripe_.count(object.id) != 0) {
    plan_.sweep.push_back(object);
  } else if (waiting_.count(object.id) != 0) {
    plan_.waiting.add(object);
  } else if (is_older(object.put, options_.grace)) {
    plan_.mark.push_back(object);
  } else {
    plan_.young.add(object);
  }
}

void Planner::look_for_missing() {
  for (const auto& [id, used] : needed_) plan_.missing += there_.count(id) == 0 ? 1 : 0;
  if (plan_.missing == 0) return;
  for (const KeyFound& key : survey_.keys) {
    for (const GenerationFound& each : key.generations) {
      if (!each.live || plan_.broken.size() == kBroken) continue;
      const bool whole =
          (!each.manifest || there_.count(each.manifest->id) != 0) &&
          std::all_of(each.packs.begin(), each.packs.end(),
                      [&](const PackShare& pack) { return there_.count(pack.id) != 0; });
      if (!whole) plan_.broken.push_back(fmt::format("{}@{}", key.key.text(), each.generation));
    }
  }
}

}  // namespace

Plan plan(const Survey& survey, const PlanOptions& options) {
  return Planner(survey, options).run();
}

}  // namespace thaw::gc
