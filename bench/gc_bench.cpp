// The collector over synthetic stores in memory: entries of ten packs each, every second one
// removed, so that half of the packs are garbage. One that is ten times as large should take ten
// times as long. `gc_look` plans; `gc_collect` marks and sweeps. Counters: requests, and the
// process's largest memory so far (the store is in it).
#include <benchmark/benchmark.h>
#include <fmt/format.h>
#include <sys/resource.h>

#include <stdexcept>

#include "gc/collect.h"
#include "object/memory.h"
#include "object/metered.h"
#include "snapshot/catalog.h"

namespace thaw {
namespace {

constexpr uint64_t kPacksEach = 10;
constexpr uint64_t kGenerations = 10;  // of a key

template <class T>
T must(Result<T> result) {
  if (!result) throw std::runtime_error(result.error().text());
  return *std::move(result);
}

// Days pass when it is told.
class Calendar final : public WallClock {
 public:
  Timestamp now() const override { return Timestamp{ns_}; }
  void next_days() { ns_ += 3 * 86'400LL * 1'000'000'000; }

 private:
  int64_t ns_ = 1'800'000'000LL * 1'000'000'000;
};

struct Synthetic {
  explicit Synthetic(uint64_t snapshots) : store(metered(make_memory_store(clock), meter)) {
    const Context context;
    must(store->put(context, *ObjectKey::parse(std::string(kStoreMarkerName)),
                    encode_store_marker(), PutMode::create));
    const Buffer bytes(std::string(64, 'p'));
    for (uint64_t i = 0; i < snapshots; ++i) {
      Entry entry;
      entry.key = fmt::format("site/{:05}", i / kGenerations);
      entry.generation = i % kGenerations + 1;
      entry.nonce = RandomId::fresh();
      entry.manifest = ManifestRef{RandomId::fresh(), 64, {}};
      for (uint64_t pack = 0; pack < kPacksEach; ++pack) {
        entry.packs.push_back({RandomId::fresh(), 64});
        must(store->put(context, pack_object(entry.packs.back().id), bytes, PutMode::create));
      }
      must(store->put(context, manifest_object(std::get<ManifestRef>(entry.manifest).id), bytes,
                      PutMode::create));
      const Key key = *Key::parse(entry.key);
      const ObjectKey object = *ObjectKey::parse(entry_name(key, entry.generation));
      must(store->put(context, object, must(encode_generation(entry)), PutMode::create));
      if (i % 2 == 0) must(retire(context, *store, key, entry.generation));
    }
    clock.next_days();
  }

  Calendar clock;
  StoreMeter meter;
  std::unique_ptr<ObjectStore> store;
};

void count(benchmark::State& state, const StoreMeter& meter) {
  struct rusage usage {};
  ::getrusage(RUSAGE_SELF, &usage);
  state.counters["lists"] = static_cast<double>(meter.lists);
  state.counters["gets"] = static_cast<double>(meter.gets);
  state.counters["removes"] = static_cast<double>(meter.removes);
  state.counters["max_rss_MiB"] = static_cast<double>(usage.ru_maxrss) / 1024;
}

void run(Synthetic& synthetic, gc::Access access) {
  gc::CollectOptions options;
  options.access = access;
  options.threads = 2;
  const auto report = must(gc::collect(Context(), *synthetic.store, options, nullptr));
  if (report.fault) throw std::runtime_error(report.fault->text());
}

void reset(StoreMeter& meter) { meter.gets = meter.lists = meter.removes = 0; }

void gc_look(benchmark::State& state) {
  Synthetic synthetic(static_cast<uint64_t>(state.range(0)));
  for (auto _ : state) {
    reset(synthetic.meter);
    run(synthetic, gc::Access::look);
  }
  count(state, synthetic.meter);
}

// A run that condemns, and one that deletes.
void gc_collect(benchmark::State& state) {
  for (auto _ : state) {
    state.PauseTiming();
    auto synthetic = std::make_unique<Synthetic>(static_cast<uint64_t>(state.range(0)));
    reset(synthetic->meter);
    state.ResumeTiming();
    run(*synthetic, gc::Access::collect);
    synthetic->clock.next_days();
    run(*synthetic, gc::Access::collect);
    state.PauseTiming();
    count(state, synthetic->meter);
    synthetic.reset();
    state.ResumeTiming();
  }
}

BENCHMARK(gc_look)->Arg(1'000)->Arg(10'000)->Unit(benchmark::kMillisecond)->UseRealTime();
BENCHMARK(gc_collect)->Arg(1'000)->Arg(10'000)->Unit(benchmark::kMillisecond)->UseRealTime();

}  // namespace
}  // namespace thaw
