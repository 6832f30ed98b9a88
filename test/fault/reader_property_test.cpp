// SnapshotReader against a plain model, under random trees, children, reads, evictions, faults and
// threads. THAW_TEST_SEED has a failure again; THAW_TEST_ROUNDS sets how many snapshots' worth.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <filesystem>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "base/fd.h"
#include "base/log.h"
#include "object/memory.h"
#include "snapshot/open_snapshots.h"
#include "snapshot/save.h"
#include "support/passing_store.h"
#include "support/random_bytes.h"
#include "support/result_check.h"
#include "support/temp_dir.h"
#include "support/test_seed.h"

namespace thaw {
namespace {

using test::is_ok;
using test::TestRandom;

constexpr size_t kPage = 4096;

// What goes wrong, and how often (of 1,000 gets).
struct FaultRates {
  uint64_t unavailable = 0;
  uint64_t damaged = 0;         // answers that any tier might give
  uint64_t origin_damaged = 0;  // and those of the origin
  uint64_t slow = 0;
};

// Fails by a pure function of the seed and the number of the call.
class FlakyStore final : public test::PassingStore {
 public:
  using PassingStore::PassingStore;
  // While no call is under way.
  void set(const FaultRates& rates, uint64_t seed) {
    rates_ = rates;
    seed_ = seed;
  }

  Result<Fetched> get(const Context& context, const ObjectKey& key, ByteRange range,
                      const Wanted& wanted) override {
    TestRandom random(seed_ + calls_.fetch_add(1));
    if (random.below(1000) < rates_.unavailable) return Error(Code::unavailable, "flaky");
    if (random.below(1000) < rates_.slow) {
      for (uint64_t i = random.below(2000); i != 0; --i) std::this_thread::yield();
    }
    THAW_ASSIGN(Fetched fetched, PassingStore::get(context, key, range, wanted));
    const bool origin = wanted.freshness == Freshness::origin;
    const uint64_t damaged = origin ? rates_.origin_damaged : rates_.damaged;
    if (random.below(1000) < damaged && !fetched.bytes.empty()) {
      fetched.bytes = damage(fetched.bytes, random);
    }
    return fetched;
  }

 private:
  static Buffer damage(const Buffer& bytes, TestRandom& random) {
    if (random.below(4) == 0) return bytes.slice(0, random.below(bytes.size()));
    ByteVector copy;
    copy.append(bytes.view());
    copy.span()[random.below(copy.size())] ^= static_cast<uint8_t>(1 + random.below(255));
    return Buffer(std::move(copy));
  }

  FaultRates rates_;
  uint64_t seed_ = 0;
  std::atomic<uint64_t> calls_{0};
};

// Files by path: the bytes that a reader must answer.
using Model = std::map<std::string, std::vector<uint8_t>>;

// A tree that changes at random, in a folder and in the model alike.
class RandomTree {
 public:
  explicit RandomTree(TestRandom& random) : random_(random) {}
  const Model& model() const { return model_; }
  const std::string& path() const { return dir_.path(); }

  void grow() {
    for (int i = 0; i < 40; ++i) write_small();
    write("large.0", random_content(1'200'000 + random_.below(2'000'000)));
    make_image("disk.img", 1'100'000 + random_.below(4'000'000));
    make_image("memory.img", kPage * (1 + random_.below(600)));
  }

  // What a child differs in.
  void change() {
    for (uint64_t i = random_.below(6); i != 0; --i) write_small();
    if (random_.below(2) == 0) remove_one();
    if (random_.below(2) == 0) change_large();
    for (const char* image : {"disk.img", "memory.img"}) {
      for (uint64_t i = random_.below(40); i != 0; --i) change_page(image);
      if (random_.below(4) == 0) resize(image);
    }
  }

 private:
  std::vector<uint8_t> random_content(size_t size_bytes) {
    auto bytes = test::random_bytes(size_bytes, random_.next());
    // Runs that compress.
    for (size_t at = 0; at + 2000 < bytes.size(); at += 1 + random_.below(20'000)) {
      std::fill_n(bytes.begin() + static_cast<ptrdiff_t>(at), random_.below(2000),
                  static_cast<uint8_t>(random_.below(3)));
    }
    return bytes;
  }

  void write(const std::string& name, std::vector<uint8_t> bytes) {
    const std::string path = dir_.path_of(name);
    std::filesystem::create_directories(std::filesystem::path(path).parent_path());
    test::write_text(path, as_text(bytes));
    model_[name] = std::move(bytes);
  }
  void write_small() {
    static constexpr const char* kFolders[] = {"", "a/", "a/b/", "c/"};
    const std::string name =
        kFolders[random_.below(4)] + std::string("small.") + std::to_string(random_.below(60));
    const size_t size_bytes = random_.below(8) == 0 ? 0 : random_.below(30'000);
    write(name, random_content(size_bytes));
  }
  void remove_one() {
    auto found = model_.lower_bound("a/b/small." + std::to_string(random_.below(60)));
    if (found == model_.end() || found->first.find("small.") == std::string::npos) return;
    std::filesystem::remove(dir_.path_of(found->first));
    model_.erase(found);
  }
  void change_large() {
    std::vector<uint8_t> bytes = model_["large.0"];
    const auto part = random_content(random_.below(50'000));
    bytes.insert(bytes.begin() + static_cast<ptrdiff_t>(random_.below(bytes.size())), part.begin(),
                 part.end());
    write("large.0", std::move(bytes));
  }

  // Runs of data between holes.
  void make_image(const std::string& name, size_t size_bytes) {
    const std::string path = dir_.path_of(name);
    test::write_text(path, "");
    std::filesystem::resize_file(path, size_bytes);
    model_[name].assign(size_bytes, 0);
    for (uint64_t i = 2 + random_.below(10); i != 0; --i) {
      const size_t at = random_.below(size_bytes) / kPage * kPage;
      put(name, at,
          random_content(std::min<size_t>(kPage * (1 + random_.below(100)), size_bytes - at)));
    }
  }
  void put(const std::string& name, size_t at, const std::vector<uint8_t>& bytes) {
    const auto fd = open_path(dir_.path_of(name), O_WRONLY);
    if (!fd || !pwrite_all(fd->get(), bytes, at, name)) std::abort();
    std::copy(bytes.begin(), bytes.end(), model_[name].begin() + static_cast<ptrdiff_t>(at));
  }
  void change_page(const std::string& name) {
    const size_t size_bytes = model_[name].size();
    if (size_bytes == 0) return;
    const size_t at = random_.below(size_bytes) / kPage * kPage;
    const size_t length = std::min(kPage, size_bytes - at);
    // Sometimes a page becomes zeros, and so a hole of what reads it.
    put(name, at, random_.below(5) == 0 ? std::vector<uint8_t>(length, 0) : random_content(length));
  }
  void resize(const std::string& name) {
    const size_t size_bytes = model_[name].size() / 2 + random_.below(2'000'000);
    std::filesystem::resize_file(dir_.path_of(name), size_bytes);
    model_[name].resize(size_bytes, 0);
  }

  TestRandom& random_;
  test::TempDir dir_;
  Model model_;
};

// The generations of one key, and what a reader of each must answer.
class Property : public ::testing::Test {
 protected:
  void make_generations(TestRandom& random) {
    RandomTree tree(random);
    tree.grow();
    const uint64_t generations = 2 + random.below(3);
    for (uint64_t n = 0; n < generations; ++n) {
      if (n != 0) tree.change();
      SaveRequest request{.key = key_, .path = tree.path()};
      request.image = {"*.img"};
      request.policy.allow_shrink = true;
      request.threads = 2;
      const auto saved = save(context_, *store_, request, nullptr);
      ASSERT_TRUE(is_ok(saved));
      models_[saved->generation] = tree.model();
    }
  }

  // One thread's reads. Nothing but what `rates` explains goes wrong.
  void read_at_random(OpenSnapshots& snapshots, const FaultRates& rates, uint64_t seed, int reads) {
    TestRandom random(seed);
    for (int i = 0; i < reads; ++i) {
      const auto& [generation, model] =
          *std::next(models_.begin(), static_cast<ptrdiff_t>(random.below(models_.size())));
      const auto& [path, bytes] =
          *std::next(model.begin(), static_cast<ptrdiff_t>(random.below(model.size())));
      // One in ten has not the time, so that leaders go.
      const bool hurried = random.below(10) == 0;
      const Context brief = context_.within(std::chrono::milliseconds(random.below(3)));
      const Context& context = hurried ? brief : context_;
      auto reader = snapshots.open(context, KeyRef{key_, generation});
      if (!reader) {
        expect_explained(reader.error(), rates, hurried, path);
        continue;
      }
      read_one(**reader, context, path, bytes, random, rates, hurried);
    }
  }

  void read_one(SnapshotReader& reader, const Context& context, const std::string& path,
                const std::vector<uint8_t>& bytes, TestRandom& random, const FaultRates& rates,
                bool hurried) {
    const auto file = reader.find_file(path);
    if (!file) return report(path + ": " + file.error().text());
    if (file->size_bytes != bytes.size()) return report(path + " is not as long as its model");
    const uint64_t offset = offset_in(bytes.size(), random);
    std::vector<uint8_t> into(length_of_read(random), 0xee);
    if (random.below(8) == 0) reader.will_need(*file, random.below(bytes.size() + 2), into.size());
    // A few that follow one another.
    uint64_t at = offset;
    for (uint64_t n = random.below(4) == 0 ? 4 : 1; n != 0; --n) {
      const auto got = reader.read_at(context, *file, at, into);
      if (at > bytes.size()) {
        if (got || got.error().code() != Code::invalid) report(path + " was read past its end");
        return;
      }
      if (!got) return expect_explained(got.error(), rates, hurried, path);
      const size_t expected = std::min<size_t>(into.size(), bytes.size() - at);
      if (*got != expected || !std::equal(into.begin(), into.begin() + static_cast<ptrdiff_t>(*got),
                                          bytes.begin() + static_cast<ptrdiff_t>(at))) {
        return report(path + " has wrong bytes, " + std::to_string(at) + "+" +
                      std::to_string(into.size()));
      }
      at += *got;
    }
    expect_zeros_between_runs(reader, *file, path, bytes, offset, into.size());
  }

  static uint64_t offset_in(size_t size_bytes, TestRandom& random) {
    switch (random.below(8)) {
      case 0:
        return 0;
      case 1:
        return size_bytes;
      case 2:
        return size_bytes + 1 + random.below(2) * random.next() / 2;
      default:
        return random.below(size_bytes + 1);
    }
  }
  static size_t length_of_read(TestRandom& random) {
    switch (random.below(6)) {
      case 0:
        return 0;
      case 1:
        return 1'000'000 + random.below(1'000'000);
      default:
        return random.below(10'000);
    }
  }

  void expect_zeros_between_runs(SnapshotReader& reader, FileRef file, const std::string& path,
                                 const std::vector<uint8_t>& bytes, uint64_t offset,
                                 uint64_t length) {
    uint64_t at = std::min<uint64_t>(offset, bytes.size());
    const uint64_t end = std::min<uint64_t>(bytes.size(), at + length);
    auto expect_zeros = [&](uint64_t to) {
      for (; at < to; ++at) {
        if (bytes[at] != 0) return report(path + " has data in a hole");
      }
    };
    for (const DataRun& run : reader.extents(file, offset, length)) {
      if (run.offset < at || run.length == 0 || run.offset + run.length > end) {
        return report(path + " has runs of data that overlap or lie outside");
      }
      expect_zeros(run.offset);
      at = run.offset + run.length;
    }
    expect_zeros(end);
  }

  void expect_explained(const Error& error, const FaultRates& rates, bool hurried,
                        const std::string& path) {
    const bool explained = (error.code() == Code::unavailable && rates.unavailable != 0) ||
                           (error.code() == Code::corrupt && rates.origin_damaged != 0) ||
                           (error.code() == Code::timeout && hurried);
    if (!explained) report(path + ": no fault explains " + error.text());
  }

  // Assertions of GoogleTest are for one thread at a time.
  void report(const std::string& what) {
    const std::lock_guard lock(mutex_);
    ADD_FAILURE() << what;
  }

  const Context context_;
  const Key key_ = *Key::parse("images/vm");
  std::unique_ptr<FlakyStore> store_ = std::make_unique<FlakyStore>(make_memory_store());
  std::map<uint64_t, Model> models_;
  std::mutex mutex_;
};

TEST_F(Property, EveryAnswerIsTheModelsOrAnErrorThatAFaultExplains) {
  log::set_level(log::Level::error);  // each damaged answer is a warning
  const char* given = std::getenv("THAW_TEST_ROUNDS");
  const int rounds = given != nullptr ? std::atoi(given) : 8;
  for (int round = 0; round < rounds && !HasFailure(); ++round) {
    const uint64_t seed = test::test_seed() + static_cast<uint64_t>(round);
    SCOPED_TRACE(seed);
    TestRandom random(seed);
    store_ = std::make_unique<FlakyStore>(make_memory_store());
    models_.clear();
    make_generations(random);
    if (HasFatalFailure()) return;
    for (const FaultRates& rates : {FaultRates{}, FaultRates{20, 0, 0, 100},
                                    FaultRates{0, 200, 0, 50}, FaultRates{30, 100, 200, 100}}) {
      store_->set(rates, random.next());
      constexpr uint64_t kCaches[] = {0, 100'000, 3'000'000, 100'000'000};
      ChunkCache cache(kCaches[random.below(4)]);
      OpenOptions options;
      options.reader.threads = 1 + static_cast<unsigned>(random.below(2));
      options.reader.read_ahead = random.below(4) != 0;
      // Closed at once by the next call, or kept.
      options.idle_for = std::chrono::milliseconds(random.below(2) * 60'000);
      FetchLane lane(transfer_limits(StoreDistance::remote));
      if (random.below(2) == 0) options.reader.lane = &lane;
      OpenSnapshots snapshots(*store_, cache, options, context_);
      std::vector<std::thread> threads;
      for (int i = 0; i < 4; ++i) {
        threads.emplace_back([&, thread_seed = random.next()] {
          read_at_random(snapshots, rates, thread_seed, 60);
        });
      }
      for (auto& thread : threads) thread.join();
    }
  }
  log::set_level(log::Level::warning);
}

}  // namespace
}  // namespace thaw
