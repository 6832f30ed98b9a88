#include "archive/import.h"

#include <fmt/format.h>
#include <unistd.h>

#include <memory>
#include <utility>
#include <vector>

#include "archive/metadata_budget.h"
#include "archive/name_table.h"
#include "archive/snapshot_tree.h"
#include "archive/streams.h"
#include "archive/tar_reader.h"
#include "base/log.h"
#include "base/version.h"
#include "snapshot/catalog.h"
#include "snapshot/known_damage.h"
#include "snapshot/lease.h"
#include "snapshot/refusals.h"
#include "snapshot/saving.h"
#include "snapshot/soundness.h"

namespace thaw::archive {
namespace {

class Importer {
 public:
  Importer(const Context& context, ObjectStore& store, const ImportRequest& request,
           Progress* progress)
      : context_(context),
        store_(store),
        request_(request),
        progress_(progress),
        soundness_(store, KnownDamage(request.damage_dir).recall()) {}

  Result<ImportReport> run() {
    step("looking up");
    stream_ = std::make_unique<Decompressing>(context_, request_.source);
    // Before the store is touched: is there an archive at all?
    THAW_ASSIGN(reader_, TarReader::open(context_, [this](const Context& asking) {
                  return stream_->next(asking);
                }));
    THAW_CHECK(find_newest_generation());
    THAW_CHECK(prepare_store(context_, store_));
    std::vector<Entry> bases;
    if (newest_) bases.push_back(*newest_);
    THAW_ASSIGN(Saving saving, Saving::begin(context_, store_, soundness_, std::move(bases)));
    auto done = import_into(saving);
    // The lease goes whatever happened, also when the context is over.
    const Context root;  // outlives its child
    const Context farewell = root.within(farewell_time(context_));
    saving.end(farewell);
    if (!done) return std::move(done).error();
    report_.compression = stream_->compression();
    report_.fetched_bytes = stream_->fetched_bytes();
    return report_;
  }

 private:
  void step(const char* name) {
    if (progress_ != nullptr) progress_->begin(name, 0, 0);
  }

  Result<> find_newest_generation() {
    THAW_ASSIGN(const StoreState state, find_store(context_, store_));
    if (state == StoreState::absent) return {};
    auto newest = find_newest(context_, store_, request_.key);
    if (!newest && newest.error().code() == Code::corrupt) {
      // What cannot be read is no base, and the next generation supersedes it.
      log::warn("the newest generation of {} is ignored: {}", request_.key.text(),
                newest.error().text());
      return {};
    }
    THAW_ASSIGN(newest_, std::move(newest));
    report_.generation = newest_ ? newest_->generation : 0;
    return {};
  }

  Result<> import_into(Saving& saving) {
    THAW_ASSIGN(auto manifests, saving.load_bases(context_));
    for (Manifest& manifest : manifests) bases_.emplace_back(std::move(manifest));
    PackWriter packs(context_, store_, transfer_limits(request_.distance).uploads);
    auto stored = store_into(saving, packs);
    // Nothing refers to them.
    if (!stored || report_.outcome != SaveOutcome::saved) packs.abandon();
    return stored;
  }

  Result<> store_into(Saving& saving, PackWriter& packs) {
    step("reading");
    LayoutBuilder layout(bases_);
    THAW_ASSIGN(Tree tree, read_tree(layout, packs));
    share_with_links(tree);
    THAW_CHECK(check_tree(tree));
    saving.go_on(context_);
    entry_.ids = report_.ids = ids_of(tree);
    entry_.totals = report_.totals = totals_of(tree);
    THAW_ASSIGN(const bool refused_now, refused());
    if (refused_now) return {};
    THAW_ASSIGN(const bool unchanged, equals_newest());
    if (unchanged) {
      report_.outcome = SaveOutcome::unchanged;
      report_.stored_bytes = newest_->stored_bytes;
      return {};
    }
    // What the budget gives up could only be laid anew from the archive, which has gone by: a later
    // save of the tree does it.
    step("storing");
    THAW_ASSIGN(const std::vector<PackRef> written, packs.finish());
    report_.new_bytes = packs.frame_bytes();
    Manifest manifest{std::move(tree), layout.finish(written)};
    THAW_CHECK(saving.put_manifest(context_, manifest, request_.threads, entry_));
    report_.stored_bytes = entry_.stored_bytes;
    return publish(saving);
  }

  // What is needed to make the tree is gone when it is there.
  Result<Tree> read_tree(LayoutBuilder& layout, PackWriter& packs) {
    NameTable names;
    MetadataBudget budget([this] { return stream_->fetched_bytes(); });
    SnapshotTree sink(context_, names, budget, layout, packs,
                      {request_.compression_level, request_.threads, progress_});
    THAW_ASSIGN(const WalkTotals totals,
                walk(context_, *reader_, names, budget, sink, request_.walk));
    report_.passed_over = totals.passed_over;
    report_.attributes_skipped = totals.attributes_dropped;
    return sink.take_tree();
  }

  Result<bool> refused() {
    std::optional<TreeTotals> newest;
    if (newest_) newest = newest_->totals;
    if (!request_.policy.judge(report_.totals, newest, 0)) return false;
    uint64_t refusals = 0;
    if (newest_) {
      THAW_ASSIGN(refusals, count_refusals(context_, store_, request_.key, newest_->generation));
    }
    const auto verdict = request_.policy.judge(report_.totals, newest, refusals);
    if (!verdict) return false;
    const bool empty = *verdict == Refused::empty;
    report_.outcome = empty ? SaveOutcome::refused_empty : SaveOutcome::refused_shrunken;
    if (!newest_) return true;
    const Refusal refusal{request_.key.text(), newest_->generation, empty ? "empty" : "shrunken",
                          report_.totals.bytes, system_clock().now().ns};
    const auto noted = note_refusal(context_, store_, refusal, refusals);
    if (!noted) log::warn("a refusal was not counted: {}", noted.error().text());
    return true;
  }

  Result<bool> equals_newest() {
    if (!newest_) return false;
    const bool equal = request_.unchanged_by == UnchangedBy::all
                           ? newest_->ids.snapshot == entry_.ids.snapshot
                           : newest_->ids.content == entry_.ids.content;
    if (!equal) return false;
    THAW_ASSIGN(const bool sound, soundness_.is_sound(context_, *newest_));
    if (!sound) return false;
    clear_refusals(context_, store_, request_.key, newest_->generation);
    return true;
  }

  Result<> publish(Saving& saving) {
    step("publishing");
    entry_.nonce = RandomId::fresh();
    entry_.created_ns = system_clock().now().ns;
    entry_.labels = request_.labels;
    entry_.host = host_name();
    entry_.tool = fmt::format("thaw/{}", kVersion);
    const std::vector<Key> keys{request_.key};
    THAW_ASSIGN(const auto generations, saving.publish(context_, entry_, keys));
    report_.generation = generations.front();
    if (newest_) clear_refusals(context_, store_, request_.key, newest_->generation);
    return {};
  }

  const Context& context_;
  ObjectStore& store_;
  const ImportRequest& request_;
  Progress* const progress_;
  Soundness soundness_;
  std::unique_ptr<Decompressing> stream_;
  std::unique_ptr<TarReader> reader_;
  std::optional<Entry> newest_;
  std::vector<BaseSnapshot> bases_;
  Entry entry_;
  ImportReport report_;
};

}  // namespace

Result<ImportReport> import_archive(const Context& context, ObjectStore& store,
                                    const ImportRequest& request, Progress* progress) {
  THAW_CHECK(check_labels(request.labels));
  return Importer(context, store, request, progress).run();
}

}  // namespace thaw::archive
