#include "index/memory_index.h"

#include <map>
#include <mutex>
#include <set>
#include <unordered_map>

#include "index/index_contract.h"

namespace thaw {
namespace {

using Kind = BlockNote::Kind;

class MemoryIndex final : public RecencyIndex {
 public:
  Result<> apply(const Context& context, std::span<const BlockNote> notes) override {
    THAW_CHECK(context.alive());
    THAW_ASSIGN(const auto places, places_of(notes));
    const std::lock_guard lock(mutex_);
    for (size_t i = 0; i < notes.size(); ++i) {
      const BlockNote& note = notes[i];
      if (note.kind == Kind::evict) {
        const auto found = blocks_.find(note.block.text());
        if (found != blocks_.end() && found->second.use <= use_of(note.at)) {
          forget(found, places[i]);
        }
        continue;
      }
      Block& block = touched(note);
      if (note.kind == Kind::admit) {
        sum(places[i], block.bytes, -1);
        block.bytes = note.bytes;
        sum(places[i], block.bytes, 1);
      }
    }
    return {};
  }

  Result<std::vector<std::optional<Timestamp>>> last_use(
      const Context& context, std::span<const ObjectKey> blocks) override {
    THAW_CHECK(context.alive());
    THAW_CHECK(check_blocks(blocks));
    const std::lock_guard lock(mutex_);
    std::vector<std::optional<Timestamp>> uses;
    for (const ObjectKey& block : blocks) {
      const auto found = blocks_.find(block.text());
      uses.emplace_back();
      if (found != blocks_.end()) uses.back() = time_of(found->second.use);
    }
    return uses;
  }

  Result<ColdPage> coldest(const Context& context, Timestamp before, size_t limit,
                           std::string_view after) override {
    THAW_CHECK(context.alive());
    THAW_CHECK(check_limit(limit));
    THAW_ASSIGN(const auto cursor, cursor_of(after));
    const int64_t bound = bound_of(before);
    const std::lock_guard lock(mutex_);
    ColdPage page;
    auto next = cursor ? order_.upper_bound({cursor->use, cursor->block}) : order_.begin();
    for (; next != order_.end() && next->first < bound; ++next) {
      if (page.blocks.size() == limit) {
        const IndexedBlock& last = page.blocks.back();
        page.next = text_of(Cursor{use_of(last.last_use), last.block.text()});
        break;
      }
      page.blocks.push_back({*ObjectKey::parse(next->second), time_of(next->first),
                             blocks_.find(next->second)->second.bytes});
    }
    return page;
  }

  Result<IndexUsage> usage(const Context& context, const UsageOf& of) override {
    THAW_CHECK(context.alive());
    const std::lock_guard lock(mutex_);
    if (of.what == UsageOf::What::all) return all_;
    const Sums& sums = of.what == UsageOf::What::object ? objects_ : groups_;
    const auto found = sums.find(of.name);
    return found == sums.end() ? IndexUsage() : found->second;
  }

  Result<uint64_t> evict_prefix(const Context& context, std::string_view prefix) override {
    THAW_CHECK(context.alive());
    THAW_ASSIGN(const std::string whole, checked_prefix(prefix));
    const std::lock_guard lock(mutex_);
    uint64_t count = 0;
    auto next = blocks_.lower_bound(whole);
    while (next != blocks_.end() && next->first.starts_with(whole)) {
      const BlockPlace place = *place_of_block(next->first);
      const auto each = next++;
      if (!lies_in(place.object, whole)) continue;
      forget(each, place);
      ++count;
    }
    return count;
  }

  // Nobody else can change them.
  Result<Reconciled> reconcile(const Context& context) override {
    THAW_CHECK(context.alive());
    const std::lock_guard lock(mutex_);
    return Reconciled{all_, all_};
  }

  std::string describe() const override { return "memory"; }

 private:
  struct Block {
    int64_t use = 0;
    std::optional<uint64_t> bytes;
  };
  using Blocks = std::map<std::string, Block>;
  using Sums = std::unordered_map<std::string, IndexUsage>;

  Block& touched(const BlockNote& note) {
    const int64_t use = use_of(note.at);
    const auto [at, is_new] = blocks_.try_emplace(note.block.text(), Block{use, std::nullopt});
    if (!is_new && at->second.use < use) {
      order_.erase({at->second.use, at->first});
      at->second.use = use;
    }
    order_.emplace(at->second.use, at->first);
    return at->second;
  }

  void forget(Blocks::iterator block, const BlockPlace& place) {
    sum(place, block->second.bytes, -1);
    order_.erase({block->second.use, block->first});
    blocks_.erase(block);
  }

  void sum(const BlockPlace& place, std::optional<uint64_t> bytes, int sign) {
    if (!bytes) return;
    const auto change = [&](IndexUsage& usage) {
      usage.bytes = sign > 0 ? usage.bytes + *bytes : usage.bytes - *bytes;
      usage.blocks = sign > 0 ? usage.blocks + 1 : usage.blocks - 1;
      return usage.blocks == 0;
    };
    const auto change_in = [&](Sums& sums, std::string_view name) {
      const auto at = sums.try_emplace(std::string(name)).first;
      if (change(at->second)) sums.erase(at);
    };
    change(all_);
    change_in(objects_, place.object);
    change_in(groups_, place.group);
  }

  std::mutex mutex_;
  Blocks blocks_;
  std::set<std::pair<int64_t, std::string>> order_;
  IndexUsage all_;
  Sums objects_, groups_;
};

}  // namespace

std::unique_ptr<RecencyIndex> make_memory_index() { return std::make_unique<MemoryIndex>(); }

}  // namespace thaw
