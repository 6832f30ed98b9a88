#include "snapshot/save.h"

#include <fmt/format.h>

#include <algorithm>
#include <variant>

#include "base/log.h"
#include "base/task_group.h"
#include "base/version.h"
#include "format/limits.h"
#include "snapshot/catalog.h"
#include "snapshot/ingest.h"
#include "snapshot/known_damage.h"
#include "snapshot/refusals.h"
#include "snapshot/saving.h"
#include "snapshot/soundness.h"
#include "snapshot/stat_cache.h"

namespace thaw {
namespace {

// A key that this save publishes under, and the newest generation that it found there.
struct Destination {
  Key key;
  std::optional<Entry> newest;
  uint64_t generation = 0;
  bool publish = true;
  bool refusals = false;  // there are refusals since the newest generation
};

// One save, step by step; the members are what the steps hand on.
class Saver {
 public:
  Saver(const Context& context, ObjectStore& store, const SaveRequest& request, Progress* progress)
      : context_(context),
        store_(store),
        request_(request),
        progress_(progress),
        damage_(request.damage_dir),
        soundness_(store, damage_.recall()) {}

  Result<SaveReport> run();

 private:
  Result<> find_destinations();
  Result<> scan();
  void recall_known_files();
  Result<bool> refused();
  Result<> refuse_what_is_too_large() const;
  Result<bool> nothing_to_publish();
  bool equals_newest(const Destination& destination) const;
  Result<> begin_saving();
  Result<> store_contents();
  Result<> store_into(PackWriter& packs);
  Result<> lay_anew(Ingest& ingest);
  Result<> drop_vanished(const std::vector<uint32_t>& nodes);
  void finish_tree();
  Result<> put_manifest(const std::vector<PackRef>& packs);
  Result<> publish_all();
  void remember_files(const Ingest* ingest);
  void describe_result();

  void step(const char* name, uint64_t bytes = 0, uint64_t files = 0) {
    if (progress_ != nullptr) progress_->begin(name, bytes, files);
  }

  const Context& context_;
  ObjectStore& store_;
  const SaveRequest& request_;
  Progress* const progress_;
  SaveReport report_;

  std::vector<Destination> destinations_;
  std::vector<Entry> base_entries_;
  const KnownDamage damage_;
  Soundness soundness_;
  Scan scan_;
  StatCache known_;
  bool record_stats_ = false;
  std::vector<std::optional<Digest>> digests_;  // per node, from the stat cache
  size_t recalled_ = 0;
  std::optional<Saving> saving_;
  std::vector<BaseSnapshot> bases_;
  std::optional<LayoutBuilder> layout_;
  Entry entry_;  // what all destinations get, but for key and number
};

bool is_own_file(const Node& node) { return node.is_file() && !node.is_link(); }

Result<SaveReport> Saver::run() {
  step("looking up");
  THAW_CHECK(find_destinations());
  step("scanning");
  THAW_CHECK(scan());
  recall_known_files();
  THAW_ASSIGN(const bool refused_now, refused());
  if (refused_now) return report_;
  // All files known: then the tree's id is known too, and an equal tree needs nothing further.
  if (recalled_ == static_cast<size_t>(std::count_if(scan_.tree.nodes.begin(),
                                                     scan_.tree.nodes.end(), is_own_file))) {
    LayoutBuilder unplaced(bases_);
    for (uint32_t i = 0; i < scan_.tree.nodes.size(); ++i) {
      Node& node = scan_.tree.nodes[i];
      if (is_own_file(node))
        node.payload = unplaced.claim_content({*digests_[i], scan_.stats[i].size_bytes}).content;
    }
    scan_.tree.contents = unplaced.contents();
    finish_tree();
    THAW_ASSIGN(const bool nothing, nothing_to_publish());
    if (nothing) {
      remember_files(nullptr);
      describe_result();
      return report_;
    }
  }
  THAW_CHECK(prepare_store(context_, store_));
  THAW_CHECK(begin_saving());
  auto done = [&]() -> Result<> {
    THAW_ASSIGN(auto manifests, saving_->load_bases(context_));
    for (Manifest& manifest : manifests) bases_.emplace_back(std::move(manifest));
    THAW_CHECK(store_contents());
    return publish_all();
  }();
  // The lease goes whatever happened, also when the context is over: under a short one of its own.
  const Context root;  // outlives its child
  const Context farewell = root.within(farewell_time(context_));
  saving_->end(farewell);
  if (!done) return std::move(done).error();
  describe_result();
  return report_;
}

Result<> Saver::find_destinations() {
  THAW_ASSIGN(const StoreState state, find_store(context_, store_));
  const bool there = state != StoreState::absent;
  // Whatever else this save comes to: those that read the store shall find it.
  if (state == StoreState::unmarked) THAW_CHECK(prepare_store(context_, store_));
  destinations_.push_back({request_.key, std::nullopt});
  for (const Key& key : request_.also) {
    const bool repeated = std::any_of(destinations_.begin(), destinations_.end(),
                                      [&](const Destination& each) { return each.key == key; });
    if (!repeated) destinations_.push_back({key, std::nullopt});
  }
  for (const KeyRef& ref : request_.bases) {
    if (!there) return Error(Code::not_found, "base " + ref.text() + ": the store is empty");
    THAW_ASSIGN(auto base, find_entry(context_, store_, ref));
    if (!base)
      return Error(Code::not_found, "base " + ref.text() + ": no such snapshot (see `thaw ls`)");
    base_entries_.push_back(*std::move(base));
  }
  if (!there) return {};
  for (Destination& destination : destinations_) {
    auto newest = find_newest(context_, store_, destination.key);
    if (!newest && newest.error().code() == Code::corrupt) {
      // Advisory: what cannot be read is no base, and the next generation supersedes it.
      log::warn("the newest generation of {} is ignored: {}", destination.key.text(),
                newest.error().text());
      continue;
    }
    if (!newest) return std::move(newest).error();
    destination.newest = *std::move(newest);
  }
  return {};
}

Result<> Saver::scan() {
  ScanOptions options;
  options.exclude = Globs(request_.exclude);
  options.skip = request_.skip;
  options.threads = request_.threads;
  THAW_ASSIGN(scan_, scan_tree(context_, request_.path, options));
  report_.sockets_skipped = scan_.sockets_skipped;
  report_.skipped = scan_.skipped;
  return refuse_what_is_too_large();
}

Result<> Saver::refuse_what_is_too_large() const {
  uint64_t bytes = 0;
  for (uint32_t i = 0; i < scan_.tree.nodes.size(); ++i) {
    if (!is_own_file(scan_.tree.nodes[i])) continue;
    const uint64_t size = scan_.stats[i].size_bytes;
    if (size <= limits::kMemberBytes) continue;
    bytes += std::min(size, limits::kSavedLargeBytes + 1);
    if (bytes <= limits::kSavedLargeBytes) continue;
    return Error(Code::exhausted,
                 fmt::format("{} makes files of more than 1 MiB hold more than {} together, holes "
                             "included: more than one save takes",
                             scan_.tree.path(i), human_size(limits::kSavedLargeBytes)));
  }
  return {};
}

void Saver::recall_known_files() {
  digests_.resize(scan_.tree.nodes.size());
  record_stats_ = request_.stat_cache_dir && stat_cache_works_on(scan_.root.get());
  if (!record_stats_) return;
  known_ = StatCache::load(*request_.stat_cache_dir, request_.path);
  for (uint32_t i = 0; i < scan_.tree.nodes.size(); ++i) {
    Node& node = scan_.tree.nodes[i];
    if (!is_own_file(node)) continue;
    const StatRecord* record = known_.find(scan_.stats[i]);
    if (record == nullptr) continue;
    digests_[i] = record->digest;
    if (const XattrSet* xattrs = known_.xattrs_of(*record)) {
      node.xattrs = static_cast<uint32_t>(scan_.tree.xattr_sets.size());
      scan_.tree.xattr_sets.push_back(*xattrs);
    }
    ++recalled_;
  }
}

// Policy looks at the listing, before the first byte is stored.
Result<bool> Saver::refused() {
  TreeTotals totals;
  for (uint32_t i = 0; i < scan_.tree.nodes.size(); ++i) {
    const Node& node = scan_.tree.nodes[i];
    if (node.is_dir())
      ++totals.dirs;
    else if (node.is_file())
      ++totals.files;
    else
      ++totals.others;
    if (is_own_file(node)) totals.bytes += scan_.stats[i].size_bytes;
  }
  report_.totals = totals;
  for (const Destination& destination : destinations_) {
    std::optional<TreeTotals> newest;
    if (destination.newest) newest = destination.newest->totals;
    if (!request_.policy.judge(totals, newest, 0)) continue;
    const uint64_t number = destination.newest ? destination.newest->generation : 0;
    uint64_t refusals = 0;
    if (destination.newest) {
      THAW_ASSIGN(refusals, count_refusals(context_, store_, destination.key, number));
    }
    const auto verdict = request_.policy.judge(totals, newest, refusals);
    if (!verdict) continue;
    report_.outcome =
        *verdict == Refused::empty ? SaveOutcome::refused_empty : SaveOutcome::refused_shrunken;
    report_.generation = number;
    // Empty ones are never accepted: counted, they would let a shrunken one pass before its time.
    if (destination.newest && *verdict == Refused::shrunken) {
      const Refusal refusal{destination.key.text(), number, "shrunken", totals.bytes,
                            system_clock().now().ns};
      const auto noted = note_refusal(context_, store_, refusal, refusals);
      if (!noted) log::warn("a refusal was not counted: {}", noted.error().text());
    }
    return true;
  }
  return false;
}

bool Saver::equals_newest(const Destination& destination) const {
  const auto& newest = destination.newest;
  if (!newest) return false;
  if (request_.labels_matter && newest->labels != request_.labels) return false;
  return request_.unchanged_by == UnchangedBy::all ? newest->ids.snapshot == entry_.ids.snapshot
                                                   : newest->ids.content == entry_.ids.content;
}

// Sets which destinations have this tree already, whole. Precondition: finish_tree() ran.
Result<bool> Saver::nothing_to_publish() {
  const bool all_equal =
      std::all_of(destinations_.begin(), destinations_.end(),
                  [&](const Destination& destination) { return equals_newest(destination); });
  for (Destination& destination : destinations_) {
    destination.generation = destination.newest ? destination.newest->generation : 0;
    destination.publish = !equals_newest(destination);
  }
  // Each question is a round trip where the store is far: both are asked at once.
  THAW_CHECK(parallel_for(
      context_, 2, all_equal ? 2 : 1,
      [&](const Context& inner, unsigned, size_t question) -> Result<> {
        if (question == 1) {
          for (Destination& each : destinations_)
            each.refusals = has_refusals(inner, store_, each.key, each.generation);
          return {};
        }
        for (Destination& destination : destinations_) {
          if (!equals_newest(destination)) continue;
          THAW_ASSIGN(const bool sound, soundness_.is_sound(inner, *destination.newest));
          destination.publish = !sound;
        }
        return {};
      }));
  for (const Destination& destination : destinations_) {
    if (destination.publish) return false;
  }
  for (const Destination& destination : destinations_) {
    if (destination.refusals)
      clear_refusals(context_, store_, destination.key, destination.generation);
    if (destination.newest->labels != request_.labels) report_.labels_dropped = true;
  }
  if (request_.labels.empty()) report_.labels_dropped = false;
  report_.outcome = SaveOutcome::unchanged;
  report_.stored_bytes = destinations_.front().newest->stored_bytes;
  return true;
}

Result<> Saver::begin_saving() {
  // The newest generations first: what an image is compared with is the first base that has it, and
  // a child is closer to its own last generation than to the template that --base names.
  std::vector<Entry> closest_first;
  const auto add = [&closest_first](const Entry& entry) {
    const bool repeated = std::any_of(
        closest_first.begin(), closest_first.end(),
        [&](const Entry& each) { return each.ids == entry.ids && each.nonce == entry.nonce; });
    if (!repeated) closest_first.push_back(entry);
  };
  for (const Destination& destination : destinations_) {
    if (destination.newest) add(*destination.newest);
  }
  for (const Entry& entry : base_entries_) add(entry);
  base_entries_ = std::move(closest_first);
  THAW_ASSIGN(Saving saving, Saving::begin(context_, store_, soundness_, std::move(base_entries_)));
  saving_.emplace(std::move(saving));
  return {};
}

Result<> Saver::store_contents() {
  layout_.emplace(bases_);
  PackWriter packs(context_, store_, transfer_limits(request_.distance).uploads);
  auto stored = store_into(packs);
  if (!stored) packs.abandon();
  return stored;
}

Result<> Saver::store_into(PackWriter& packs) {
  const IngestOptions options{.image = Globs(request_.image),
                              .compression_level = request_.compression_level,
                              .threads = request_.threads,
                              .record_stats = record_stats_,
                              .distance = request_.distance};
  Ingest ingest(scan_, request_.path, *layout_, packs, store_, damage_, options, progress_);

  std::vector<uint32_t> unknown;
  uint64_t bytes = 0;
  for (uint32_t i = 0; i < scan_.tree.nodes.size(); ++i) {
    Node& node = scan_.tree.nodes[i];
    if (!is_own_file(node)) continue;
    const uint64_t size = scan_.stats[i].size_bytes;
    if (digests_[i] && layout_->base_has({*digests_[i], size})) {
      node.payload = layout_->claim_content({*digests_[i], size}).content;
    } else {
      unknown.push_back(i);
      bytes += size;
    }
  }
  step("reading", bytes, unknown.size());
  THAW_CHECK(ingest.run(context_, unknown));
  THAW_CHECK(drop_vanished(ingest.vanished()));
  saving_->go_on(context_);
  scan_.tree.contents = layout_->contents();
  finish_tree();
  report_.files_read = ingest.files_read();
  THAW_ASSIGN(const bool nothing, nothing_to_publish());
  if (nothing) {
    remember_files(&ingest);
    return {};
  }
  THAW_CHECK(lay_anew(ingest));
  step("storing");
  THAW_ASSIGN(const std::vector<PackRef> written, packs.finish());
  report_.new_bytes = packs.frame_bytes();
  THAW_CHECK(put_manifest(written));
  remember_files(&ingest);
  return {};
}

// What the fragmentation budget gives up is read again, from files that were just found unchanged.
Result<> Saver::lay_anew(Ingest& ingest) {
  const std::vector<uint32_t> contents = layout_->give_up({});
  if (contents.empty()) return {};
  std::vector<uint8_t> wanted(scan_.tree.contents.size(), 0);
  for (const uint32_t content : contents) wanted[content] = 1;
  std::vector<uint32_t> nodes;
  for (uint32_t i = 0; i < scan_.tree.nodes.size(); ++i) {
    const Node& node = scan_.tree.nodes[i];
    if (!is_own_file(node) || wanted[node.payload] == 0) continue;
    wanted[node.payload] = 0;
    nodes.push_back(i);
  }
  const TreeIds before = entry_.ids;
  std::vector<Node> were;
  were.reserve(nodes.size());
  for (const uint32_t node : nodes) were.push_back(scan_.tree.nodes[node]);
  auto changed = [&] {
    std::string name = request_.path;
    if (!ingest.vanished().empty()) name += "/" + scan_.tree.path(ingest.vanished().front());
    for (size_t i = 0; i < nodes.size() && name == request_.path; ++i) {
      const Node& now = scan_.tree.nodes[nodes[i]];
      if (now.payload != were[i].payload || now.mtime_ns != were[i].mtime_ns)
        name += "/" + scan_.tree.path(nodes[i]);
    }
    return Error(Code::busy, name + " changed while it was being saved");
  };
  step("laying anew", 0, nodes.size());
  THAW_CHECK(ingest.run(context_, nodes));
  if (!ingest.vanished().empty() || layout_->contents().size() != scan_.tree.contents.size()) {
    return changed();
  }
  finish_tree();
  if (entry_.ids != before) return changed();
  return {};
}

// Takes names that are gone out of the tree.
Result<> Saver::drop_vanished(const std::vector<uint32_t>& nodes) {
  if (nodes.empty()) return {};
  Tree& tree = scan_.tree;
  std::vector<uint32_t> numbers(tree.nodes.size(), 0);
  for (const uint32_t node : nodes) numbers[node] = kNone;
  for (const Node& node : tree.nodes) {
    if (node.is_link() && numbers[node.link_to] == kNone) {
      return Error(Code::busy, request_.path + "/" + tree.path(node.link_to) +
                                   " vanished while it was being saved");
    }
  }
  uint32_t next = 0;
  for (uint32_t i = 0; i < tree.nodes.size(); ++i) {
    if (numbers[i] == kNone) continue;
    numbers[i] = next;
    Node node = tree.nodes[i];
    node.parent = numbers[node.parent];
    if (node.is_link()) node.link_to = numbers[node.link_to];
    tree.nodes[next] = node;
    scan_.stats[next] = scan_.stats[i];
    digests_[next] = digests_[i];
    ++next;
  }
  tree.nodes.resize(next);
  scan_.stats.resize(next);
  digests_.resize(next);
  report_.vanished = nodes.size();
  const bool is_empty = std::all_of(tree.nodes.begin(), tree.nodes.end(),
                                    [](const Node& node) { return node.is_dir(); });
  if (is_empty && !request_.policy.allow_empty)
    return Error(Code::busy,
                 "all files of " + request_.path + " vanished while it was being saved");
  // The numbers that the ingest knows nodes by are no longer theirs.
  record_stats_ = false;
  log::warn("{} files vanished while {} was being saved", nodes.size(), request_.path);
  return {};
}

void Saver::finish_tree() {
  Tree& tree = scan_.tree;
  share_with_links(tree);  // or there are no ids to tell
  entry_.ids = ids_of(tree);
  entry_.totals = totals_of(tree);
  report_.ids = entry_.ids;
  report_.totals = entry_.totals;
}

Result<> Saver::put_manifest(const std::vector<PackRef>& packs) {
  Manifest manifest{std::move(scan_.tree), layout_->finish(packs)};
  auto put = saving_->put_manifest(context_, manifest, request_.threads, entry_);
  scan_.tree = std::move(manifest.tree);
  report_.stored_bytes = entry_.stored_bytes;
  return std::move(put).within("describe " + request_.path);
}

Result<> Saver::publish_all() {
  if (report_.outcome == SaveOutcome::unchanged) return {};
  if (request_.before_publishing) THAW_CHECK(request_.before_publishing(context_));
  step("publishing");
  entry_.nonce = RandomId::fresh();
  entry_.created_ns = system_clock().now().ns;
  entry_.labels = request_.labels;
  entry_.host = host_name();
  entry_.tool = fmt::format("thaw/{}", kVersion);
  std::vector<Destination*> published;
  std::vector<Key> keys;
  // The request's own key comes last: wherever this ends, who finds a generation there finds it
  // under the others, too, and nobody takes a save for done whose other keys never appeared.
  for (auto each = destinations_.rbegin(); each != destinations_.rend(); ++each) {
    if (!each->publish) continue;
    published.push_back(&*each);
    keys.push_back(each->key);
  }
  THAW_ASSIGN(const auto generations, saving_->publish(context_, entry_, keys));
  for (size_t i = 0; i < keys.size(); ++i) published[i]->generation = generations[i];
  for (const Destination* destination : published) {
    if (destination->newest)
      clear_refusals(context_, store_, destination->key, destination->newest->generation);
  }
  return {};
}

void Saver::remember_files(const Ingest* ingest) {
  if (!record_stats_) return;
  StatCache cache;
  cache.reserve(known_.size());
  size_t fresh = 0;
  const Tree& tree = scan_.tree;
  for (uint32_t i = 0; i < tree.nodes.size(); ++i) {
    const Node& node = tree.nodes[i];
    if (!is_own_file(node)) continue;
    const bool read_now = ingest != nullptr && ingest->recordable(i);
    const bool still_known = digests_[i] && known_.find(scan_.stats[i]) != nullptr;
    if (!read_now && !still_known) continue;
    fresh += read_now ? 1 : 0;
    cache.add(scan_.stats[i], tree.contents[node.payload].digest,
              node.xattrs == kNone ? nullptr : &tree.xattr_sets[node.xattrs]);
  }
  // Nothing new, nothing gone: what is kept says it all.
  if (fresh == 0 && cache.size() == known_.size()) return;
  const auto kept = cache.store(*request_.stat_cache_dir, request_.path);
  if (!kept)
    log::warn("the stat cache was not written, the next save reads again: {}", kept.error().text());
}

void Saver::describe_result() {
  report_.generation = destinations_.front().generation;
  for (size_t i = 1; i < destinations_.size(); ++i) {
    report_.also.push_back({destinations_[i].key, destinations_[i].generation});
  }
}

}  // namespace

Result<SaveReport> save(const Context& context, ObjectStore& store, const SaveRequest& request,
                        Progress* progress) {
  THAW_CHECK(check_labels(request.labels));
  return Saver(context, store, request, progress).run().within("save " + request.path);
}

}  // namespace thaw
