// The protocol of docs/gc.md under random interleavings: savers, re-publishers, removers and two
// collectors, which may crash at any request, on a store in memory whose clock jumps. It is the
// real code that runs, one request at a time in an order that the seed decides.
//
// THAW_GC_PLAYS: how many interleavings (default 300; 60 under a sanitizer, which looks for other
// faults than the model does). THAW_TEST_SEED: the first one's seed.
// THAW_GC_TRACE: prints each request, to see what led to a failure (names are random, so one may
// have to play a seed a few times).
#include <gtest/gtest.h>

#include <cstdlib>
#include <map>
#include <set>

#include "base/log.h"
#include "gc/collect.h"
#include "object/memory.h"
#include "snapshot/catalog.h"
#include "snapshot/saving.h"
#include "support/result_check.h"
#include "support/sample_manifest.h"
#include "support/test_seed.h"
#include "support/turns.h"

namespace thaw {
namespace {

using test::is_ok;

constexpr int64_t kSecond = 1'000'000'000;
constexpr int64_t kHour = 3600 * kSecond;
constexpr uint64_t kPackBytes = 1000;

class ModelClock final : public WallClock {
 public:
  Timestamp now() const override { return Timestamp{ns_}; }
  void step(int64_t ns) { ns_ += ns; }
  int64_t age_ns() const { return ns_ - kBegin; }

 private:
  static constexpr int64_t kBegin = 1'800'000'000 * kSecond;
  int64_t ns_ = kBegin;
};

// What the test itself knows of the store: which entries are live and what each needs.
class Ledger {
 public:
  // Before an entry with this nonce may be put.
  void announce(const RandomId& nonce, std::set<std::string> needs) {
    needs_[nonce] = std::move(needs);
  }
  void on_put(const std::string& name, const Buffer& bytes) {
    if (!name.starts_with("keys/")) {
      there_.insert(name);
      return;
    }
    const auto record = decode_generation(bytes);
    ASSERT_TRUE(is_ok(record));
    const auto* entry = std::get_if<Entry>(&*record);
    if (entry == nullptr) {
      live_.erase(name);
      return;
    }
    Live& live = live_[name] = {entry->nonce, true};
    for (const std::string& need : needs_.at(entry->nonce)) {
      if (there_.count(need) == 0) live.whole = false;
    }
  }
  void on_remove(const std::string& name) {
    there_.erase(name);
    live_.erase(name);
    if (!name.starts_with("packs/") && !name.starts_with("manifests/")) return;
    ++removed_;
    for (auto& [object, live] : live_) {
      if (needs_.at(live.nonce).count(name) == 0) continue;
      EXPECT_TRUE(confirmed_.count(live.nonce) == 0) << name << " is gone, and " << object;
      live.whole = false;
    }
  }
  // The save that put it says that it is published.
  void confirm(const RandomId& nonce) {
    confirmed_.insert(nonce);
    for (const auto& [object, live] : live_) {
      EXPECT_TRUE(live.nonce != nonce || live.whole) << object << " was published, broken";
    }
  }
  // The save was killed: nobody retracts what it put.
  void abandon(const RandomId& nonce) { abandoned_.insert(nonce); }

  // Live entries that lack something.
  void check_at_the_end() {
    for (const auto& [object, live] : live_) {
      if (live.whole) continue;
      EXPECT_TRUE(abandoned_.count(live.nonce) != 0) << object << " is broken";
      ++broken_;
    }
  }
  std::set<std::string> needed() const {
    std::set<std::string> all;
    for (const auto& [object, live] : live_) {
      for (const std::string& need : needs_.at(live.nonce)) {
        if (there_.count(need) != 0) all.insert(need);
      }
    }
    return all;
  }
  uint64_t removed() const { return removed_; }
  uint64_t broken() const { return broken_; }

 private:
  struct Live {
    RandomId nonce;
    bool whole = true;
  };
  std::map<RandomId, std::set<std::string>> needs_;
  std::map<std::string, Live> live_;  // by the entry's object
  std::set<std::string> there_;
  std::set<RandomId> confirmed_;
  std::set<RandomId> abandoned_;
  uint64_t removed_ = 0;
  uint64_t broken_ = 0;
};

// What all actors of a play share.
struct World {
  ModelClock clock;
  std::unique_ptr<ObjectStore> store = make_memory_store(clock);
  Ledger ledger;
  std::mt19937_64 random;
  const bool trace = std::getenv("THAW_GC_TRACE") != nullptr;
  uint64_t dice(uint64_t sides) { return random() % sides; }
};

// One actor's way to the store: others may act before each request, and at one of them it dies.
class ActorsStore final : public ObjectStore {
 public:
  ActorsStore(World& world, test::Turns* turns, size_t actor)
      : world_(world), turns_(turns), actor_(actor) {}

  void die_after(uint64_t requests) { left_ = requests; }
  bool is_dead() const { return dead_; }

  Result<Fetched> get(const Context& context, const ObjectKey& key, ByteRange range,
                      const Wanted& wanted) override {
    THAW_CHECK(begin("get", key.text()));
    auto got = world_.store->get(context, key, range, wanted);
    THAW_CHECK(end());
    return got;
  }
  Result<PutOutcome> put(const Context& context, const ObjectKey& key, Buffer bytes,
                         PutMode mode) override {
    THAW_CHECK(begin(mode == PutMode::create ? "create" : "put", key.text()));
    auto put = world_.store->put(context, key, bytes, mode);
    if (put && *put == PutOutcome::stored) world_.ledger.on_put(key.text(), bytes);
    THAW_CHECK(end());
    return put;
  }
  Result<std::optional<ObjectInfo>> find(const Context& context, const ObjectKey& key) override {
    THAW_CHECK(begin("find", key.text()));
    auto found = world_.store->find(context, key);
    THAW_CHECK(end());
    return found;
  }
  Result<ListPage> list(const Context& context, std::string_view prefix,
                        ListOptions options) override {
    THAW_CHECK(begin("list", prefix));
    // Short pages: others act in the middle of a listing.
    options.limit = std::min<size_t>(options.limit, 3);
    auto page = world_.store->list(context, prefix, options);
    THAW_CHECK(end());
    return page;
  }
  Result<> remove(const Context& context, std::span<const ObjectKey> keys) override {
    // Not atomic: one name after the other.
    for (const ObjectKey& key : keys) {
      THAW_CHECK(begin("remove", key.text()));
      THAW_CHECK(world_.store->remove(context, {&key, 1}));
      world_.ledger.on_remove(key.text());
      THAW_CHECK(end());
    }
    return {};
  }
  std::string describe() const override { return "model"; }

 private:
  Result<> begin(const char* verb, std::string_view name) {
    if (turns_ != nullptr) turns_->yield(actor_);
    if (left_ == 0) dead_ = true;
    if (world_.trace)
      fmt::print("{:8.2f} h  {}: {} {}{}\n", static_cast<double>(world_.clock.age_ns()) / kHour,
                 actor_, verb, name, dead_ ? " (dead)" : "");
    if (dead_) return Error(Code::cancelled, "killed");
    // Mostly time hardly passes; at times somebody was paused for minutes, hours or days.
    world_.clock.step(static_cast<int64_t>(world_.dice(kSecond)));
    if (turns_ != nullptr && world_.dice(40) == 0)
      world_.clock.step(static_cast<int64_t>(world_.dice(8)) * kHour / 2);
    return {};
  }
  // The request took place, and its answer finds nobody.
  Result<> end() {
    if (left_ != UINT64_MAX && --left_ == 0 && world_.dice(2) == 0) dead_ = true;
    if (dead_) return Error(Code::cancelled, "killed");
    return {};
  }

  World& world_;
  test::Turns* turns_;
  const size_t actor_;
  uint64_t left_ = UINT64_MAX;
  bool dead_ = false;
};

Key key_of(uint64_t number) { return *Key::parse("k" + std::to_string(number % 3)); }

std::set<std::string> needs_of(const Layout& layout, const Entry& entry) {
  std::set<std::string> needs;
  for (const PackRef& pack : layout.packs) needs.insert(pack_object(pack.id).text());
  if (const auto* at = std::get_if<ManifestRef>(&entry.manifest))
    needs.insert(manifest_object(at->id).text());
  return needs;
}

// A snapshot of one file for each pack. Every third one is too long for its entry.
Manifest manifest_of(const std::vector<RandomId>& packs, World& world) {
  Manifest made;
  made.tree = test::empty_tree();
  for (uint32_t i = 0; i < packs.size(); ++i) {
    const Digest digest = sha256(packs[i].bytes);
    made.tree.contents.push_back({digest, 64});
    test::add_node(made.tree, 0, "f" + packs[i].hex(), S_IFREG | 0644, i);
    made.layout.packs.push_back({packs[i], kPackBytes, 0});
    made.layout.chunks.push_back({digest, i, 8, 64, 64, Codec::raw, ChunkKind::whole});
    made.layout.extents.push_back({0, i, 0, 64});
    made.layout.contents.push_back({i, 1});
  }
  if (world.dice(3) != 0) return made;
  for (uint32_t i = 0; i < 12; ++i) {
    std::string target(4000, 'x');
    for (char& each : target) each = static_cast<char>('!' + world.dice(90));
    made.tree.targets.push_back(std::move(target));
    test::add_node(made.tree, 0, fmt::format("z{:02}", i), S_IFLNK | 0777, i);
  }
  return made;
}

class Actors {
 public:
  Actors(World& world, ActorsStore& store) : world_(world), store_(store) {}

  void save() {
    const Key key = key_of(world_.dice(3));
    const Key other = key_of(world_.dice(3));
    std::vector<Entry> bases;
    for (const Key& each : {key, other}) {
      const auto newest = find_newest(context_, store_, each);
      if (!newest) return;
      if (*newest) bases.push_back(**newest);
    }
    Soundness soundness(store_, {}, 1);
    auto saving = Saving::begin(context_, store_, soundness, bases, world_.clock);
    if (!saving) return;
    publish_new(*saving, key);
    saving->end(context_);
  }

  // As a promotion does: another key gets what one has.
  void republish() {
    const auto source = find_newest(context_, store_, key_of(world_.dice(3)));
    if (!source || !*source) return;
    Soundness soundness(store_, {}, 1);
    auto saving = Saving::begin(context_, store_, soundness, {**source}, world_.clock);
    if (!saving) return;
    const auto manifests = saving->load_bases(context_);
    if (manifests && !manifests->empty()) {
      Entry entry = **source;
      publish(*saving, entry, manifests->front().layout, key_of(world_.dice(3)));
    }
    saving->end(context_);
  }

  void remove() {
    const Key key = key_of(world_.dice(3));
    const auto generations = generations_of(context_, store_, key);
    if (!generations || generations->empty()) return;
    (void)retire(context_, store_, key, (*generations)[world_.dice(generations->size())]);
  }

  void collect(const gc::CollectOptions& options) {
    const auto report = gc::collect(context_, store_, options, nullptr);
    if (store_.is_dead()) return;
    // Another collector, by whose clock hours have passed, may have taken its first record away.
    EXPECT_TRUE(report.ok() || test::fails_with(Code::busy, report));
    EXPECT_FALSE(report && report->fault) << report->fault->text();
  }

 private:
  void publish_new(Saving& saving, const Key& key) {
    const auto manifests = saving.load_bases(context_);
    if (!manifests) return;
    std::set<RandomId> packs;
    for (const Manifest& base : *manifests) {
      for (const PackRef& pack : base.layout.packs) {
        if (world_.dice(2) == 0 && packs.size() < 6) packs.insert(pack.id);
      }
    }
    for (uint64_t left = world_.dice(3) + (packs.empty() ? 1 : 0); left > 0; --left) {
      const RandomId id = RandomId::fresh();
      const Buffer bytes(std::string(kPackBytes, 'p'));
      if (!store_.put(context_, pack_object(id), bytes, PutMode::create)) return;
      packs.insert(id);
      saving.go_on(context_);
    }
    Manifest manifest = manifest_of({packs.begin(), packs.end()}, world_);
    Entry entry;
    entry.ids = ids_of(manifest.tree);
    entry.totals = totals_of(manifest.tree);
    if (const auto put = saving.put_manifest(context_, manifest, 1, entry); !put) {
      EXPECT_TRUE(store_.is_dead()) << put.error().text();
      return;
    }
    publish(saving, entry, manifest.layout, key);
  }

  void publish(Saving& saving, Entry entry, const Layout& layout, const Key& key) {
    entry.nonce = RandomId::fresh();
    world_.ledger.announce(entry.nonce, needs_of(layout, entry));
    const auto published = saving.publish(context_, entry, {&key, 1});
    if (published) {
      world_.ledger.confirm(entry.nonce);
    } else if (store_.is_dead() || published.error().code() == Code::timeout) {
      // Killed, or, if this very test stood still for seconds, too late to retract.
      world_.ledger.abandon(entry.nonce);
    } else {
      EXPECT_TRUE(test::fails_with(Code::busy, published));
    }
  }

  const Context context_;
  World& world_;
  ActorsStore& store_;
};

class GcModel : public ::testing::Test {
 protected:
  GcModel() { log::set_level(log::Level::error); }
  ~GcModel() override { log::set_level(log::Level::warning); }

  static gc::CollectOptions options_of(World& world) {
    gc::CollectOptions options;
    options.access = gc::Access::collect;
    options.threads = 1;
    options.plan.grace = std::chrono::seconds(world.dice(2) == 0 ? 0 : world.dice(4) * 3600);
    if (world.dice(3) == 0) {
      gc::RetentionRule rule;
      rule.keep_last = 1 + world.dice(3);
      if (world.dice(2) == 0) rule.ttl = std::chrono::hours(world.dice(100));
      options.plan.retention.push_back(rule);
    }
    return options;
  }

  // One interleaving.
  void play(uint64_t seed) {
    SCOPED_TRACE("THAW_TEST_SEED=" + std::to_string(seed) + " THAW_GC_PLAYS=1");
    World world;
    world.random.seed(seed);
    ASSERT_TRUE(is_ok(prepare_store(Context(), *world.store)));
    std::vector<std::unique_ptr<ActorsStore>> stores;
    std::vector<test::Turns::Actor> actors;
    for (size_t i = 0; i < kActors; ++i) {
      stores.push_back(std::make_unique<ActorsStore>(world, &turns_, i));
      actors.emplace_back([this, &world, &store = *stores.back(), i] { act(world, store, i); });
    }
    turns_.play(std::move(actors), seed);
    world.ledger.check_at_the_end();
    broken_ += world.ledger.broken();
    removed_ += world.ledger.removed();
    quiet_cycles(world);
  }

  static void act(World& world, ActorsStore& store, size_t number) {
    if (world.dice(4) == 0) store.die_after(world.dice(80));
    Actors actor(world, store);
    const bool collects = number < 2;
    for (uint64_t left = collects ? 4 + world.dice(4) : 1 + world.dice(5);
         left > 0 && !store.is_dead(); --left) {
      if (collects) {
        actor.collect(options_of(world));
        continue;
      }
      const uint64_t what = world.dice(10);
      if (what < 6)
        actor.save();
      else if (what < 8)
        actor.republish();
      else
        actor.remove();
    }
  }

  // What is left when all is quiet and time passes: after two runs nothing that nobody needs.
  void quiet_cycles(World& world) {
    ActorsStore store(world, nullptr, 0);
    Actors actor(world, store);
    gc::CollectOptions options;
    options.access = gc::Access::collect;
    options.threads = 1;
    for (int cycle = 0; cycle < 2; ++cycle) {
      world.clock.step(100 * kHour);
      actor.collect(options);
    }
    const Context context;
    std::set<std::string> left;
    for (const char* prefix : {"packs/", "manifests/"}) {
      const auto page = world.store->list(context, prefix, {});
      ASSERT_TRUE(is_ok(page));
      for (const Listed& each : page->objects) left.insert(each.key.text());
    }
    EXPECT_EQ(left, world.ledger.needed());
    const auto leases = world.store->list(context, "leases/", {});
    ASSERT_TRUE(is_ok(leases));
    EXPECT_TRUE(leases->objects.empty());
  }

  static constexpr size_t kActors = 6;
  test::Turns turns_{kActors};
  uint64_t broken_ = 0;
  uint64_t removed_ = 0;
};

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr uint64_t kPlays = 60;
#else
constexpr uint64_t kPlays = 300;
#endif

TEST_F(GcModel, NothingReachableIsLostAndNothingElseStays) {
  const char* wanted = std::getenv("THAW_GC_PLAYS");
  const uint64_t plays = wanted == nullptr ? kPlays : std::strtoull(wanted, nullptr, 10);
  const uint64_t seed = test::test_seed();
  for (uint64_t i = 0; i < plays && !HasFailure(); ++i) play(seed + i);
  std::printf(
      "%llu interleavings from seed %llu: %llu objects collected, %llu entries of killed "
      "savers broken\n",
      static_cast<unsigned long long>(plays), static_cast<unsigned long long>(seed),
      static_cast<unsigned long long>(removed_), static_cast<unsigned long long>(broken_));
  EXPECT_TRUE(plays == 1 || removed_ > 0);
}

}  // namespace
}  // namespace thaw
