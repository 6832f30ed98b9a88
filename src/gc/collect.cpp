#include "gc/collect.h"

#include <algorithm>

#include "base/log.h"
#include "format/limits.h"
#include "snapshot/catalog.h"
#include "snapshot/lease.h"

namespace thaw::gc {
namespace {

constexpr size_t kBatch = 1000;  // names that one request deletes

class Collector {
 public:
  Collector(const Context& context, ObjectStore& store, const CollectOptions& options,
            Progress* progress)
      : context_(context), store_(store), options_(options), progress_(progress) {}

  Result<CollectReport> run() {
    THAW_ASSIGN(const StoreState state, find_store(context_, store_));
    if (state == StoreState::absent) return report_;
    THAW_CHECK(learn_the_time());
    THAW_ASSIGN(survey_, survey(context_, store_,
                                {.access = options_.access,
                                 .now = now_,
                                 .grace = options_.plan.grace,
                                 .threads = options_.threads},
                                progress_));
    report_.plan = plan(survey_, options_.plan);
    report_.unknown = std::move(survey_.unknown);
    report_.leases = survey_.leases.size();
    report_.expired_leases = survey_.expired_leases.size();
    if (options_.access == Access::collect) {
      // Claims stay then: a deletion whose answer was lost may yet take place.
      if (const auto done = execute(); !done) report_.fault = done.error();
    }
    return std::move(report_);
  }

 private:
  Result<> learn_the_time();
  Result<> execute();
  Result<> retire_generations();
  Result<> sweep();
  Result<> mark();
  Result<> put_record(const Condemned& content);
  Result<> remove_all(const std::vector<ObjectKey>& objects);
  void step(const char* name, uint64_t count) {
    if (progress_ != nullptr) progress_->begin(name, 0, count);
  }

  const Context& context_;
  ObjectStore& store_;
  const CollectOptions& options_;
  Progress* const progress_;
  Timestamp now_;
  // Put first, to learn the server's time.
  const ObjectKey clock_ = *ObjectKey::parse("probe/" + RandomId::fresh().hex() + "/now");
  Survey survey_;
  CollectReport report_;
};

Result<> Collector::learn_the_time() {
  if (options_.access == Access::look) {
    now_ = system_clock().now();
    return {};
  }
  THAW_CHECK(store_.put(context_, clock_, Buffer(), PutMode::create).within("begin to collect"));
  THAW_ASSIGN(const auto info, store_.find(context_, clock_));
  THAW_CHECK(remove_all({clock_}));
  if (!info) return Error(Code::busy, clock_.text() + " was put, and is not there");
  now_ = info->modified;
  return {};
}

Result<> Collector::execute() {
  THAW_CHECK(retire_generations());
  THAW_CHECK(sweep());
  THAW_CHECK(mark());
  THAW_CHECK(remove_all(report_.plan.done_records).within("remove condemned records"));
  THAW_CHECK(remove_all(report_.plan.done_claims).within("remove condemned records"));
  return remove_all(report_.plan.tidy).within("tidy up");
}

Result<> Collector::retire_generations() {
  step("retiring", report_.plan.retire.size());
  // Of each key the oldest first, which the plan names last: stopped half-way, the newest still
  // stands, and nobody is given an older one.
  for (size_t left = report_.plan.retire.size(); left > 0; --left) {
    const Retirement& each = report_.plan.retire[left - 1];
    THAW_ASSIGN(const bool retired, retire(context_, store_, each.key, each.generation));
    report_.retired += retired ? 1 : 0;
    if (progress_ != nullptr) ++progress_->files_done;
  }
  return {};
}

Result<> Collector::sweep() {
  const std::vector<ObjectFound>& objects = report_.plan.sweep;
  step("deleting", objects.size());
  for (size_t at = 0; at < objects.size(); at += kBatch) {
    const size_t end = std::min(objects.size(), at + kBatch);
    std::vector<ObjectKey> names;
    for (size_t i = at; i < end; ++i) names.push_back(objects[i].object);
    THAW_CHECK(store_.remove(context_, names).within("delete what is not needed"));
    for (size_t i = at; i < end; ++i) report_.swept.add(objects[i]);
    if (progress_ != nullptr) progress_->files_done = end;
  }
  return {};
}

Result<> Collector::mark() {
  std::vector<Condemned> records;
  size_t named = limits::kCondemnedObjects;
  // The survey's order: packs, then manifests.
  const size_t packs = static_cast<size_t>(std::count_if(
      report_.plan.mark.begin(), report_.plan.mark.end(),
      [](const ObjectFound& each) { return each.object.text().starts_with("packs/"); }));
  for (size_t i = 0; i < report_.plan.mark.size(); ++i) {
    if (named == limits::kCondemnedObjects) {
      records.emplace_back();
      named = 0;
    }
    const ObjectFound& object = report_.plan.mark[i];
    (i < packs ? records.back().packs : records.back().manifests).push_back(object.id);
    ++named;
  }
  for (const Condemned& record : records) THAW_CHECK(put_record(record).within("condemn"));
  for (const ObjectFound& object : report_.plan.mark) report_.marked.add(object);
  return {};
}

Result<> Collector::put_record(const Condemned& content) {
  Condemned record = content;
  record.holder = holder_name();
  record.created_ns = system_clock().now().ns;
  THAW_ASSIGN(const Buffer bytes, encode_condemned(record));
  const ObjectKey object = condemned_object(RandomId::fresh());
  THAW_CHECK(store_.put(context_, object, bytes, PutMode::create));
  return {};
}

Result<> Collector::remove_all(const std::vector<ObjectKey>& objects) {
  for (size_t at = 0; at < objects.size(); at += kBatch) {
    const size_t count = std::min(kBatch, objects.size() - at);
    THAW_CHECK(store_.remove(context_, std::span(objects).subspan(at, count)));
  }
  return {};
}

}  // namespace

Result<CollectReport> collect(const Context& context, ObjectStore& store,
                              const CollectOptions& options, Progress* progress) {
  return Collector(context, store, options, progress).run().within("collect");
}

}  // namespace thaw::gc
