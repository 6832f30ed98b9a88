// What the index of a tier costs: a page of the coldest blocks by the size of the index, touches in
// batches, and reads with an index and without one. $TMPDIR says where files lie; $THAW_BENCH_REDIS
// (a redis:// URL without a prefix) names a server, without which its measures are left out.
#include <benchmark/benchmark.h>
#include <fmt/format.h>
#include <time.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <map>
#include <memory>
#include <random>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "base/random.h"
#include "index/redis_index.h"
#include "index/sqlite_index.h"
#include "object/block_cache.h"
#include "object/disk.h"
#include "object/disk_tier.h"
#include "object/object_reader.h"

namespace thaw {
namespace {

constexpr size_t kPage = 10'000;
constexpr size_t kBatch = 8192;

template <class T>
T must(Result<T> result) {
  if (!result) throw std::runtime_error(result.error().text());
  return *std::move(result);
}
void must(const Result<>& result) {
  if (!result) throw std::runtime_error(result.error().text());
}

// Removed with all that it holds.
struct Scratch {
  ~Scratch() {
    std::error_code ignored;
    std::filesystem::remove_all(path, ignored);
  }
  const std::filesystem::path path =
      std::filesystem::temp_directory_path() / ("thaw-bench-" + RandomId::fresh().hex());
};

// Packs have four blocks each, as theirs of 16 MiB do; raw objects have many.
ObjectKey block(uint64_t number) {
  const uint64_t pack = number / 4 * 0x9e3779b97f4a7c15;
  return must(ObjectKey::parse(
      fmt::format("blocks/0123456789abcdef/packs/{:02x}/{:016x}{:016x}/@/once-4096/{}", pack >> 56U,
                  pack, pack, number % 4)));
}

struct Place {
  Scratch dir;
  TierMeter meter;
  std::unique_ptr<RecencyIndex> index;
};

std::unique_ptr<Place> in_sqlite() {
  auto place = std::make_unique<Place>();
  std::filesystem::create_directories(place->dir.path);
  place->index = make_sqlite_index({(place->dir.path / "index.sqlite").string()}, place->meter);
  return place;
}

bool has_redis() { return std::getenv("THAW_BENCH_REDIS") != nullptr; }

std::unique_ptr<Place> in_redis() {
  auto place = std::make_unique<Place>();
  RedisIndexOptions options;
  options.url = must(parse_redis_url(std::getenv("THAW_BENCH_REDIS")));
  options.url.prefix = "bench-" + RandomId::fresh().hex();
  options.patience = std::chrono::minutes(1);
  place->index = make_redis_index(std::move(options));
  return place;
}

using Make = std::unique_ptr<Place> (*)();

// With so many blocks, used in no order; kept for all measures of the run.
RecencyIndex& filled(const std::string& kind, Make make, size_t blocks) {
  static std::map<std::pair<std::string, size_t>, std::unique_ptr<Place>> places;
  auto& place = places[{kind, blocks}];
  if (place) return *place->index;
  place = make();
  std::mt19937_64 random(1);
  const Context context;
  for (size_t done = 0; done < blocks;) {
    std::vector<BlockNote> notes;
    for (size_t i = 0; i < 20'000 && done < blocks; ++i, ++done) {
      notes.push_back({BlockNote::Kind::admit, block(done),
                       Timestamp{static_cast<int64_t>(random() % 1'000'000'000'000'000'000)},
                       4'198'400});
    }
    must(place->index->apply(context, notes));
  }
  return *place->index;
}

void coldest(benchmark::State& state, const std::string& kind, Make make) {
  RecencyIndex& index = filled(kind, make, static_cast<size_t>(state.range(0)));
  const Context context;
  for (auto _ : state) {
    const ColdPage page = must(index.coldest(context, Timestamp{INT64_MAX}, kPage, ""));
    if (page.blocks.size() != kPage) throw std::runtime_error("a short page");
  }
}

// Touches of random blocks among a million, each batch one call.
void touches(benchmark::State& state, const std::string& kind, Make make) {
  RecencyIndex& index = filled(kind, make, 1'000'000);
  std::mt19937_64 random(2);
  const Context context;
  int64_t now = 1'000'000'000'000'000'000;
  for (auto _ : state) {
    state.PauseTiming();
    std::vector<BlockNote> notes;
    for (size_t i = 0; i < kBatch; ++i) {
      notes.push_back(
          {BlockNote::Kind::touch, block(random() % 1'000'000), Timestamp{now += 1000}});
    }
    state.ResumeTiming();
    must(index.apply(context, notes));
  }
  state.SetItemsProcessed(static_cast<int64_t>(state.iterations() * kBatch));
}

// --- reads

constexpr size_t kBlockBytes = 4 << 20;
constexpr size_t kBlocks = 48;

// One tier on disk behind two caches, one of which tells an index what it reads.
struct WarmTier {
  WarmTier() {
    ByteVector bytes(kBlocks * kBlockBytes);
    std::mt19937_64 random(1);
    for (size_t at = 0; at < bytes.size(); at += 8) store_le(bytes.data() + at, random());
    must(
        must(open_disk_store(store))->put(context, key, Buffer(std::move(bytes)), PutMode::create));
    plain = open(nullptr);
    must(plain->read(context, 0, kBlocks * kBlockBytes));
    while (meter.fills < kBlocks) std::this_thread::yield();
    indexed = open(make_sqlite_index({place + "/" + std::string(kTierIndexName)}, meter));
    must(indexed->read(context, 0, kBlocks * kBlockBytes));
    meter.misses = 0;
  }
  std::unique_ptr<ObjectReader> open(std::unique_ptr<RecencyIndex> index) {
    DiskTier tier = must(open_disk_tier(place));
    BlockCacheOptions options;
    options.store_name = "bench";
    options.fill_queue_bytes = 2 * kBlocks * kBlockBytes;
    caches.push_back(block_cache(must(open_disk_store(store)), std::move(tier.store),
                                 std::move(tier.claims), options, meter, context,
                                 std::move(index)));
    return must(open_object(context, *caches.back(), key));
  }

  const Scratch dir;
  const std::string store = (dir.path / "store").string();
  const std::string place = (dir.path / "tier").string();
  const Context context;
  const ObjectKey key = must(ObjectKey::parse("images/rootfs"));
  TierMeter meter;
  std::vector<std::unique_ptr<ObjectStore>> caches;
  std::unique_ptr<ObjectReader> plain, indexed;
};

double seconds_of(clockid_t clock) {
  timespec now{};
  ::clock_gettime(clock, &now);
  return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) * 1e-9;
}

double median(std::vector<double> values) {
  std::nth_element(values.begin(), values.begin() + static_cast<ptrdiff_t>(values.size() / 2),
                   values.end());
  return values[values.size() / 2];
}

// The same reads through both, in turns of some milliseconds, each the first every other time.
void reads_with_to_without(benchmark::State& state) {
  static WarmTier warm;
  const auto size = static_cast<size_t>(state.range(0));
  const auto turn = std::max<size_t>((8 << 20) / std::max<size_t>(size, 32'768), 4);
  ByteVector buffer(size);
  std::vector<double> wall_ratios;
  std::vector<double> cpu_ratios;
  for (auto _ : state) {
    double wall[2] = {};
    double cpu[2] = {};
    const uint64_t seed = wall_ratios.size();
    for (size_t i = 0; i < 2; ++i) {
      const size_t which = (i + seed) % 2;
      ObjectReader& reader = which == 0 ? *warm.plain : *warm.indexed;
      std::mt19937_64 random(seed);
      const double wall_start = seconds_of(CLOCK_MONOTONIC);
      const double cpu_start = seconds_of(CLOCK_THREAD_CPUTIME_ID);
      for (size_t n = 0; n < turn; ++n) {
        const uint64_t offset = random() % (kBlocks * kBlockBytes / size) * size;
        must(reader.read_at(warm.context, offset, buffer.span()));
      }
      wall[which] = seconds_of(CLOCK_MONOTONIC) - wall_start;
      cpu[which] = seconds_of(CLOCK_THREAD_CPUTIME_ID) - cpu_start;
    }
    wall_ratios.push_back(wall[1] / wall[0]);
    cpu_ratios.push_back(cpu[1] / cpu[0]);
  }
  // The reader's own time is what a busy machine does not blur.
  state.counters["wall"] = median(wall_ratios);
  state.counters["cpu"] = median(cpu_ratios);
  if (warm.meter.misses != 0) state.SkipWithError("not everything came from the tier");
  if (warm.meter.notes_dropped != 0) state.SkipWithError("notes were dropped");
}
BENCHMARK(reads_with_to_without)->Arg(4096)->Arg(65'536)->Arg(kBlockBytes)->UseRealTime();

int registered = [] {
  std::vector<std::pair<std::string, Make>> kinds = {{"sqlite", in_sqlite}};
  if (has_redis()) kinds.emplace_back("redis", in_redis);
  for (const auto& [kind, make] : kinds) {
    benchmark::RegisterBenchmark(("coldest_" + kind).c_str(), coldest, kind, make)
        ->Arg(20'000)
        ->Arg(1'000'000)
        ->Unit(benchmark::kMillisecond)
        ->UseRealTime();
    benchmark::RegisterBenchmark(("touches_" + kind).c_str(), touches, kind, make)->UseRealTime();
  }
  return 0;
}();

}  // namespace
}  // namespace thaw
