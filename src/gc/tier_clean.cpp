#include "gc/tier_clean.h"

#include <algorithm>
#include <thread>

#include "object/block_names.h"
#include "object/tier_marker.h"

namespace thaw::gc {
namespace {

constexpr size_t kPage = 1000;
// Between the last question about a block and its removal lie at most so many others'.
constexpr size_t kBatch = 100;
constexpr std::string_view kBlocks = "blocks/";

class Cleaner {
 public:
  Cleaner(const Context& context, const CleanedTier& tier, const CleanOptions& options,
          const WallClock& clock, Progress* progress)
      : context_(context),
        tier_(tier),
        options_(options),
        clock_(clock),
        progress_(progress),
        begun_(clock.now()),
        oldest_(options.max_deletions) {}

  Result<CleanReport> run();

 private:
  enum class Source { index, listing };

  Result<> by_index();
  Result<> by_listing();
  Result<> look_at_page(const std::vector<Listed>& page);
  Result<> to_fit();
  Result<> look_for_gone();
  Result<> mend_sums();
  Result<> remove(std::vector<ColdBlock> blocks, Source source);
  Result<> remove_batch(std::span<const ColdBlock> batch, CleanSource& counted);
  void slow_down(uint64_t deleted);

  Timestamp threshold() const {
    if (!options_.older_than) return Timestamp{INT64_MIN};
    const auto age_ns = std::chrono::nanoseconds(*options_.older_than).count();
    return Timestamp{begun_.ns - age_ns};
  }
  uint64_t deletions_left() const {
    const uint64_t done = report_.index.deleted + report_.listing.deleted;
    return options_.max_deletions - std::min(options_.max_deletions, done);
  }
  uint64_t freed() const { return report_.index.bytes + report_.listing.bytes; }
  // How much has to go for the bound and the disk: `held_bytes` lie in the tier, of which
  // `gone_bytes` went meanwhile.
  uint64_t excess(uint64_t held_bytes, uint64_t gone_bytes) const {
    uint64_t wanted = options_.free_bytes - std::min(options_.free_bytes, freed());
    const uint64_t left = held_bytes - std::min(held_bytes, gone_bytes);
    if (options_.max_bytes && held_bytes > *options_.max_bytes) {
      const uint64_t low_water = *options_.max_bytes - *options_.max_bytes / 20;
      wanted = std::max(wanted, left - std::min(left, low_water));
    }
    return wanted;
  }
  bool index_works() const { return tier_.index != nullptr && !index_down_; }
  // The index does not answer: what it would have said is not known.
  void index_failed(const Error& error) {
    index_down_ = true;
    report_.errors.push_back(error.text());
  }

  const Context& context_;
  const CleanedTier& tier_;
  const CleanOptions& options_;
  const WallClock& clock_;
  Progress* const progress_;
  const Timestamp begun_;
  const Context::Clock::time_point started_ = Context::Clock::now();
  CleanReport report_;
  bool index_down_ = false;
  uint64_t gone_since_listing_ = 0;
  // Of which the index says nothing, or all if there is none.
  OldestBlocks oldest_;
};

Result<CleanReport> Cleaner::run() {
  THAW_ASSIGN(const bool is_tier, check_tier(context_, *tier_.fast));
  if (!is_tier) {
    return Error(Code::invalid, tier_.fast->describe() + " is no tier: it has no marker");
  }
  if (index_works()) THAW_CHECK(by_index());
  THAW_CHECK(by_listing());
  THAW_CHECK(to_fit());
  if (index_works() && options_.execute) THAW_CHECK(look_for_gone());
  if (index_works() && options_.execute) THAW_CHECK(mend_sums());
  report_.capped = deletions_left() == 0;
  return std::move(report_);
}

// What the index knows to be unused for too long, and then as much as does not fit.
Result<> Cleaner::by_index() {
  if (progress_ != nullptr) progress_->begin("asking the index", 0, 0);
  auto usage = tier_.index->usage(context_, UsageOf::all());
  if (usage && options_.execute && options_.max_bytes && usage->bytes > *options_.max_bytes) {
    // Nothing goes for a sum that somebody changed.
    const auto mended = tier_.index->reconcile(context_);
    if (mended) {
      report_.mended = mended->before != mended->after;
      usage = mended->after;
    } else if (mended.error().code() != Code::busy) {
      usage = mended.error();
    }
  }
  if (!usage) {
    index_failed(usage.error());
    return context_.alive();
  }
  std::string after;
  do {
    THAW_CHECK(context_.alive());
    const auto page = tier_.index->coldest(context_, kEver, kPage, after);
    if (!page) {
      index_failed(page.error());
      return context_.alive();
    }
    uint64_t excess_bytes = excess(usage->bytes, freed());
    std::vector<ColdBlock> cold;
    for (const IndexedBlock& each : page->blocks) {
      ++report_.index.scanned;
      const bool old = each.last_use < threshold();
      if (!old && excess_bytes == 0) break;
      cold.push_back({each.block, each.last_use, each.bytes.value_or(0)});
      excess_bytes -= std::min(excess_bytes, each.bytes.value_or(0));
    }
    const bool all = cold.size() == page->blocks.size();
    THAW_CHECK(remove(std::move(cold), Source::index));
    after = all ? page->next : "";
  } while (!after.empty() && deletions_left() > 0 && !index_down_);
  return {};
}

// What the index has never seen goes by its own age, for had it been used, the index would know.
Result<> Cleaner::by_listing() {
  if (progress_ != nullptr) progress_->begin("listing the tier", 0, 0);
  // What was only said to go is still listed.
  gone_since_listing_ = options_.execute ? 0 : freed();
  ListOptions options;
  while (true) {
    THAW_ASSIGN(const ListPage page, tier_.fast->list(context_, kBlocks, options));
    std::vector<Listed> blocks;
    for (const Listed& each : page.objects) {
      if (!place_of_block(each.key.text())) {
        ++report_.foreign;
        continue;
      }
      ++report_.tier_blocks;
      report_.tier_bytes += each.info.size_bytes;
      blocks.push_back(each);
    }
    THAW_CHECK(look_at_page(blocks));
    if (!page.more || page.objects.empty()) return {};
    options.after = page.objects.back().key.text();
  }
}

Result<> Cleaner::look_at_page(const std::vector<Listed>& page) {
  report_.listing.scanned += page.size();
  std::vector<std::optional<Timestamp>> uses(page.size());
  if (index_works() && !page.empty()) {
    std::vector<ObjectKey> names;
    names.reserve(page.size());
    for (const Listed& each : page) names.push_back(each.key);
    auto answered = tier_.index->last_use(context_, names);
    if (answered)
      uses = *std::move(answered);
    else
      index_failed(answered.error());
    THAW_CHECK(context_.alive());
  }
  std::vector<ColdBlock> cold;
  std::vector<BlockNote> adopted;
  for (size_t i = 0; i < page.size(); ++i) {
    const Listed& each = page[i];
    if (uses[i]) continue;  // the index speaks for it
    const bool old = each.info.modified < threshold();
    if (old && (index_works() || options_.allow_blind)) {
      cold.push_back({each.key, std::nullopt, each.info.size_bytes});
      report_.blind = report_.blind || !index_works();
      continue;
    }
    report_.kept_unknown += old ? 1 : 0;
    oldest_.offer(each);
    if (index_works())
      adopted.push_back({BlockNote::Kind::admit, each.key, each.info.modified,
                         std::min(each.info.size_bytes, kIndexedBytesMost)});
  }
  THAW_CHECK(remove(std::move(cold), Source::listing));
  if (adopted.empty() || !options_.execute) return {};
  const auto done = tier_.index->apply(context_, adopted);
  if (done)
    report_.adopted += adopted.size();
  else
    index_failed(done.error());
  return context_.alive();
}

// Now it is known what the tier really holds: the index may have known less.
Result<> Cleaner::to_fit() {
  const auto excess_now = [this] { return excess(report_.tier_bytes, gone_since_listing_); };
  if (excess_now() == 0) return {};
  // It knows all of them by now, but their sizes are asked of the tier.
  std::string after;
  while (index_works() && options_.execute && excess_now() > 0 && deletions_left() > 0) {
    const auto page = tier_.index->coldest(context_, kEver, kBatch, after);
    if (!page) {
      index_failed(page.error());
      break;
    }
    uint64_t excess_bytes = excess_now();
    std::vector<ColdBlock> cold;
    for (const IndexedBlock& each : page->blocks) {
      if (excess_bytes == 0) break;
      THAW_ASSIGN(const auto found, tier_.fast->find(context_, each.block));
      const uint64_t bytes = found ? found->size_bytes : 0;
      cold.push_back({each.block, each.last_use, bytes});
      excess_bytes -= std::min(excess_bytes, bytes);
    }
    THAW_CHECK(remove(std::move(cold), Source::index));
    after = page->next;
    if (after.empty()) break;
  }
  std::vector<ColdBlock> cold;
  uint64_t excess_bytes = excess_now();
  for (ColdBlock& each : oldest_.take()) {
    if (excess_bytes == 0) break;
    excess_bytes -= std::min(excess_bytes, each.bytes);
    cold.push_back(std::move(each));
  }
  report_.blind = report_.blind || (!cold.empty() && !index_works());
  return remove(std::move(cold), Source::listing);
}

// Blocks that are gone are never used, so in time they are the coldest that the index knows.
Result<> Cleaner::look_for_gone() {
  const auto page =
      tier_.index->coldest(context_, begun_, std::min<uint64_t>(deletions_left() + 1, kPage), "");
  if (!page) {
    index_failed(page.error());
    return context_.alive();
  }
  std::vector<ObjectKey> gone;
  for (const IndexedBlock& each : page->blocks) {
    const auto found = tier_.fast->find(context_, each.block);
    if (!found) {
      report_.errors.push_back(found.error().text());
      return context_.alive();
    }
    if (!*found) gone.push_back(each.block);
  }
  if (gone.empty()) return {};
  const auto done = evict(*tier_.index, context_, gone, begun_);
  if (done)
    report_.forgotten += gone.size();
  else
    index_failed(done.error());
  return context_.alive();
}

// Wrong sums, of an index that somebody changed or a server that threw keys away, would empty the
// tier at each fill, or keep nobody within its bound. They cost a walk over the index, so only
// where they are not what was listed; what others fill meanwhile makes that so, too.
Result<> Cleaner::mend_sums() {
  const auto usage = tier_.index->usage(context_, UsageOf::all());
  if (usage && usage->bytes + gone_since_listing_ == report_.tier_bytes) return {};
  const auto mended = usage ? tier_.index->reconcile(context_) : Result<Reconciled>(usage.error());
  if (mended)
    report_.mended = report_.mended || mended->before != mended->after;
  else if (mended.error().code() != Code::busy)  // another does it
    index_failed(mended.error());
  return context_.alive();
}

Result<> Cleaner::remove(std::vector<ColdBlock> blocks, Source source) {
  while (blocks.size() > deletions_left()) blocks.pop_back();
  report_.matched += blocks.size();
  CleanSource& counted = source == Source::index ? report_.index : report_.listing;
  for (size_t at = 0; at < blocks.size(); at += kBatch) {
    const auto batch = std::span(blocks).subspan(at, std::min(kBatch, blocks.size() - at));
    THAW_CHECK(remove_batch(batch, counted));
    THAW_CHECK(context_.alive());
  }
  return {};
}

Result<> Cleaner::remove_batch(std::span<const ColdBlock> batch, CleanSource& counted) {
  if (!options_.execute) {
    counted.deleted += batch.size();
    for (const ColdBlock& each : batch) {
      counted.bytes += each.bytes;
      gone_since_listing_ += each.bytes;
    }
    return {};
  }
  CleanedTier tier = tier_;
  if (index_down_) tier.index = nullptr;
  const auto evicted = evict_unused(context_, tier, batch, clock_.now());
  if (!evicted) {
    report_.errors.push_back(evicted.error().text());
    return {};
  }
  counted.deleted += evicted->blocks;
  counted.bytes += evicted->bytes;
  gone_since_listing_ += evicted->bytes;
  report_.kept_recent += evicted->recent + evicted->claimed;
  if (progress_ != nullptr) progress_->files_done += evicted->blocks;
  slow_down(report_.index.deleted + report_.listing.deleted);
  return {};
}

// Not to crowd out those who read.
void Cleaner::slow_down(uint64_t deleted) {
  if (options_.deletions_per_second <= 0) return;
  const std::chrono::duration<double> due(static_cast<double>(deleted) /
                                          options_.deletions_per_second);
  constexpr std::chrono::milliseconds kNap{50};
  while (Context::Clock::now() - started_ < due && context_.alive())
    std::this_thread::sleep_for(kNap);
}

}  // namespace

Result<CleanReport> clean_tier(const Context& context, const CleanedTier& tier,
                               const CleanOptions& options, const WallClock& clock,
                               Progress* progress) {
  return Cleaner(context, tier, options, clock, progress)
      .run()
      .within("clean " + tier.fast->describe());
}

}  // namespace thaw::gc
