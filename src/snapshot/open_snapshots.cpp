#include "snapshot/open_snapshots.h"

#include <algorithm>
#include <utility>
#include <variant>

#include "base/task_group.h"
#include "snapshot/catalog.h"

namespace thaw {
namespace {

constexpr std::chrono::milliseconds kLongestDecided{1000};
// Names that may be remembered at once; more, and those that can be asked for again are forgotten.
constexpr size_t kMostNames = 4096;
// Parts that are opened at the same time.
constexpr unsigned kPartThreads = 16;

bool is_older(Timestamp now, Timestamp since, std::chrono::milliseconds age) {
  const int64_t age_ns = std::chrono::nanoseconds(age).count();
  // A clock that was set back makes everything old.
  return now < since || now.ns - since.ns >= age_ns;
}

}  // namespace

OpenSnapshots::OpenSnapshots(ObjectStore& store, ChunkCache& cache, OpenOptions options,
                             const Context& process, const WallClock& clock)
    : store_(store), cache_(cache), options_(options), process_(process), clock_(clock) {}

OpenSnapshots::ManifestId OpenSnapshots::manifest_id(const Entry& entry) {
  const auto* at = std::get_if<ManifestRef>(&entry.manifest);
  // One that lies in its entry has the save's nonce, which no other save has.
  return at != nullptr ? at->id : entry.nonce;
}

Result<OpenSnapshots::Handle> OpenSnapshots::open(const Context& context, const KeyRef& ref) {
  auto entry = decide(context, ref);
  if (!entry) return std::move(entry).within("open " + ref.text()).error();
  if (!*entry) return Error(Code::not_found, "no snapshot of " + ref.text());
  return open(context, **entry);
}

Result<OpenSnapshots::Handle> OpenSnapshots::open(const Context& context, const Entry& entry) {
  sweep(clock_.now());
  const ManifestId id = manifest_id(entry);
  return loading_
      .run(context, id,
           [&]() -> Result<Handle> {
             if (Handle open = take(id)) return open;
             return load(context, entry);
           })
      .within("open " + entry.key + "@" + std::to_string(entry.generation));
}

Result<OpenSnapshots::Handle> OpenSnapshots::load(const Context& context, const Entry& entry) {
  auto manifest = load_manifest(context, store_, entry);
  const auto* at = std::get_if<ManifestRef>(&entry.manifest);
  if (!manifest && manifest.error().code() == Code::corrupt && at != nullptr &&
      options_.reader.damage != nullptr) {
    options_.reader.damage->remember(at->id);
  }
  if (!manifest) return std::move(manifest).error();
  if (ids_of(manifest->tree) != entry.ids) {
    return Error(Code::corrupt, "the manifest holds another tree than its entry says");
  }
  Handle reader = open_reader(store_, *std::move(manifest), cache_, options_.reader, process_);
  const std::lock_guard lock(mutex_);
  opened_.insert_or_assign(manifest_id(entry), Opened{reader, entry.ids.snapshot, clock_.now()});
  return reader;
}

OpenSnapshots::Handle OpenSnapshots::take(const ManifestId& id) {
  const std::lock_guard lock(mutex_);
  const auto found = opened_.find(id);
  if (found == opened_.end()) return nullptr;
  found->second.used = clock_.now();
  return found->second.reader;
}

std::shared_ptr<SnapshotReader> OpenSnapshots::find(const Digest& snapshot) {
  const std::lock_guard lock(mutex_);
  for (auto& [id, opened] : opened_) {
    if (opened.snapshot != snapshot) continue;
    opened.used = clock_.now();
    return opened.reader;
  }
  return nullptr;
}

bool OpenSnapshots::is_fresh(const Decided& decided, Timestamp now) const {
  return !is_older(now, decided.at, std::min(options_.decided_for, kLongestDecided));
}

std::optional<std::optional<Entry>> OpenSnapshots::decided(const KeyRef& ref) {
  const std::lock_guard lock(mutex_);
  const auto found = decided_.find(ref.text());
  if (found == decided_.end()) return std::nullopt;
  const std::optional<Entry>& entry = found->second.entry;
  // What a number names never changes.
  const bool stays = ref.generation && entry && opened_.contains(manifest_id(*entry));
  if (stays || is_fresh(found->second, clock_.now())) return entry;
  decided_.erase(found);
  return std::nullopt;
}

Result<std::optional<Entry>> OpenSnapshots::decide(const Context& context, const KeyRef& ref) {
  return deciding_.run(context, ref.text(), [&]() -> Result<std::optional<Entry>> {
    if (auto known = decided(ref)) return *std::move(known);
    THAW_ASSIGN(auto entry, find_entry(context, store_, ref));
    if (!entry) THAW_CHECK(check_store(context, store_));  // a newer store keeps them elsewhere
    const std::lock_guard lock(mutex_);
    if (decided_.size() >= kMostNames) decided_.clear();
    decided_.insert_or_assign(ref.text(), Decided{entry, clock_.now()});
    return entry;
  });
}

Result<OpenPart> OpenSnapshots::open_part(const Context& context, const PartRequest& part) {
  OpenPart opened;
  THAW_ASSIGN(opened.reader, open(context, part.ref));
  if (!part.file.empty()) {
    THAW_ASSIGN(opened.file, opened.reader->find_file(part.file));
  }
  return opened;
}

Result<std::vector<OpenPart>> OpenSnapshots::open_parts(const Context& context,
                                                        std::span<const PartRequest> parts) {
  std::vector<OpenPart> opened(parts.size());
  THAW_CHECK(parallel_for(context, kPartThreads, parts.size(),
                          [&](const Context& inner, unsigned, size_t i) -> Result<> {
                            auto part = open_part(inner, parts[i]);
                            if (!part) return std::move(part).within(parts[i].name).error();
                            opened[i] = *std::move(part);
                            return {};
                          }));
  return opened;
}

void OpenSnapshots::close_idle(Timestamp now, std::vector<Handle>& closed) {
  std::vector<std::pair<Timestamp, ManifestId>> idle;
  for (auto each = opened_.begin(); each != opened_.end();) {
    Opened& opened = each->second;
    // With one handle left it is this one, and only under the lock is it copied.
    const bool is_idle = opened.reader.use_count() == 1;
    if (!is_idle) opened.used = now;
    if (is_idle && is_older(now, opened.used, options_.idle_for)) {
      closed.push_back(std::move(opened.reader));
      each = opened_.erase(each);
      continue;
    }
    if (is_idle) idle.emplace_back(opened.used, each->first);
    ++each;
  }
  if (opened_.size() <= options_.most_idle) return;
  std::sort(idle.begin(), idle.end());
  const size_t surplus = std::min(opened_.size() - options_.most_idle, idle.size());
  for (size_t i = 0; i < surplus; ++i) {
    const auto found = opened_.find(idle[i].second);
    closed.push_back(std::move(found->second.reader));
    opened_.erase(found);
  }
}

void OpenSnapshots::sweep(Timestamp now) {
  // Closing waits for what is fetched ahead, so it is done without the lock.
  std::vector<Handle> closed;
  const std::lock_guard lock(mutex_);
  close_idle(now, closed);
  std::erase_if(decided_, [&](const auto& each) {
    const std::optional<Entry>& entry = each.second.entry;
    return !is_fresh(each.second, now) && !(entry && opened_.contains(manifest_id(*entry)));
  });
}

size_t OpenSnapshots::open_count() const {
  const std::lock_guard lock(mutex_);
  return opened_.size();
}

}  // namespace thaw
