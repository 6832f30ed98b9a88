// Micro-benchmarks of a warm disk tier: a raw object in one version, read through block_cache,
// beside plain pread of the tier's own block files. $TMPDIR says where the tier lies (a tmpfs, for
// ratios that mean something).
#include <benchmark/benchmark.h>
#include <fcntl.h>

#include <algorithm>
#include <filesystem>
#include <functional>
#include <memory>
#include <random>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "base/fd.h"
#include "base/random.h"
#include "format/checksum.h"
#include "object/block_cache.h"
#include "object/disk_tier.h"
#include "object/memory.h"
#include "object/object_reader.h"

namespace thaw {
namespace {

constexpr size_t kBlock = 4 << 20;
constexpr size_t kBlocks = 48;
constexpr size_t kHeader = 4096;

template <class T>
T must(Result<T> result) {
  if (!result) throw std::runtime_error(result.error().text());
  return *std::move(result);
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

// A tier that holds an object whole.
struct WarmTier {
  WarmTier() {
    std::mt19937_64 random(1);
    ByteVector bytes(kBlocks * kBlock);
    for (size_t at = 0; at < bytes.size(); at += 8) store_le(bytes.data() + at, random());
    const ObjectKey key = must(ObjectKey::parse("images/rootfs"));
    auto slow = make_memory_store();
    must(slow->put(context, key, Buffer(std::move(bytes)), PutMode::create));
    DiskTier tier = must(open_disk_tier(dir.path.string()));
    BlockCacheOptions options;
    options.store_name = "bench";
    options.fill_queue_bytes = 2 * kBlocks * kBlock;
    cache = block_cache(std::move(slow), std::move(tier.store), std::move(tier.claims), options,
                        meter, context);
    reader = must(open_object(context, *cache, key));
    must(reader->read(context, 0, kBlocks * kBlock));
    while (meter.fills + meter.fills_dropped < kBlocks) std::this_thread::yield();
    if (meter.fills != kBlocks) throw std::runtime_error("the tier is not warm");
    for (const auto& each : std::filesystem::recursive_directory_iterator(dir.path)) {
      if (each.is_regular_file() && each.file_size() == kHeader + kBlock) {
        paths.push_back(each.path());
        files.push_back(must(open_path(each.path(), O_RDONLY)));
      }
    }
    if (files.size() != kBlocks) throw std::runtime_error("other blocks than expected");
    meter.misses = 0;
  }

  const Scratch dir;
  const Context context;
  TierMeter meter;
  std::unique_ptr<ObjectStore> cache;
  std::unique_ptr<ObjectReader> reader;
  std::vector<std::string> paths;
  std::vector<UniqueFd> files;
};

WarmTier& tier() {
  static WarmTier warm;
  return warm;
}

void count_bytes(benchmark::State& state, size_t per_iteration) {
  state.SetBytesProcessed(static_cast<int64_t>(state.iterations() * per_iteration));
  if (tier().meter.misses != 0) state.SkipWithError("not everything came from the tier");
}

// The measure: files that are open already, one buffer.
void pread_block(benchmark::State& state) {
  WarmTier& warm = tier();
  ByteVector buffer(kBlock);
  size_t block = 0;
  for (auto _ : state) {
    must(pread_up_to(warm.files[block].get(), buffer.span(), kHeader, "block"));
    benchmark::DoNotOptimize(buffer.data());
    block = (block + 1) % kBlocks;
  }
  count_bytes(state, kBlock);
}

void open_and_pread_block(benchmark::State& state) {
  WarmTier& warm = tier();
  ByteVector buffer(kBlock);
  size_t block = 0;
  for (auto _ : state) {
    const UniqueFd file = must(open_path(warm.paths[block], O_RDONLY));
    must(pread_up_to(file.get(), buffer.span(), kHeader, "block"));
    benchmark::DoNotOptimize(buffer.data());
    block = (block + 1) % kBlocks;
  }
  count_bytes(state, kBlock);
}

void tier_block(benchmark::State& state) {
  WarmTier& warm = tier();
  size_t block = 0;
  for (auto _ : state) {
    benchmark::DoNotOptimize(must(warm.reader->read(warm.context, block * kBlock, kBlock)).data());
    block = (block + 1) % kBlocks;
  }
  count_bytes(state, kBlock);
}

void tier_block_into(benchmark::State& state) {
  WarmTier& warm = tier();
  ByteVector buffer(kBlock);
  size_t block = 0;
  for (auto _ : state) {
    must(warm.reader->read_at(warm.context, block * kBlock, buffer.span()));
    benchmark::DoNotOptimize(buffer.data());
    block = (block + 1) % kBlocks;
  }
  count_bytes(state, kBlock);
}

void tier_stream(benchmark::State& state) {
  WarmTier& warm = tier();
  for (auto _ : state) {
    const auto ended = warm.reader->stream(warm.context, 0, UINT64_MAX, [](Bytes bytes) {
      benchmark::DoNotOptimize(bytes.data());
      return Result<>();
    });
    if (!ended) throw std::runtime_error(ended.error().text());
  }
  count_bytes(state, kBlocks * kBlock);
}

void random_4k(benchmark::State& state, const std::function<void(uint64_t)>& read) {
  std::mt19937_64 random(1);
  for (auto _ : state) read(random() % (kBlocks * kBlock / 4096) * 4096);
  count_bytes(state, 4096);
}

void pread_4k(benchmark::State& state) {
  WarmTier& warm = tier();
  ByteVector buffer(4096);
  random_4k(state, [&](uint64_t offset) {
    const int file = warm.files[offset / kBlock].get();
    must(pread_up_to(file, buffer.span(), kHeader + offset % kBlock, "block"));
  });
}

void tier_4k(benchmark::State& state) {
  WarmTier& warm = tier();
  ByteVector buffer(4096);
  random_4k(state, [&](uint64_t offset) {
    must(warm.reader->read_at(warm.context, offset, buffer.span()));
  });
}

void checksum_pieces(benchmark::State& state) {
  ByteVector buffer(kBlock);
  std::fill(buffer.data(), buffer.data() + kBlock, uint8_t{7});
  for (auto _ : state) {
    for (size_t at = 0; at < kBlock; at += 65'536) {
      benchmark::DoNotOptimize(checksum64(buffer.view().subspan(at, 65'536)));
    }
  }
  count_bytes(state, kBlock);
}

BENCHMARK(pread_block)->UseRealTime();
BENCHMARK(tier_block)->UseRealTime();
BENCHMARK(open_and_pread_block)->UseRealTime();
BENCHMARK(tier_block_into)->UseRealTime();
BENCHMARK(tier_stream)->UseRealTime();
BENCHMARK(pread_4k);
BENCHMARK(tier_4k);
BENCHMARK(checksum_pieces);

}  // namespace
}  // namespace thaw
