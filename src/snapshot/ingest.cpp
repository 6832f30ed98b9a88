#include "snapshot/ingest.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "base/beneath.h"
#include "base/task_group.h"
#include "format/limits.h"
#include "snapshot/image_kind.h"
#include "snapshot/ingest_worker.h"
#include "snapshot/lay_chunk.h"
#include "snapshot/xattrs.h"

namespace thaw {
namespace {

// At 4 MiB bundles take 2.3% less room than at 2 MiB, which faster parameters of compression spend
// (docs/benchmarks.md); a read of one small file decompresses one bundle.
constexpr size_t kBundleBytes = 4 * 1024 * 1024;
// Files are hashed in batches that still lie in the processor's caches.
constexpr size_t kBatchBytes = 1024 * 1024;
// Small files are handed out in runs, so that neighbours land in one bundle.
constexpr uint64_t kRunBytes = 4 * 1024 * 1024;
constexpr size_t kRunFiles = 1024;
constexpr int kAttempts = 3;

struct Unit {
  size_t begin = 0;  // into the nodes: a run of small files …
  size_t end = 0;
  LargeFile* large = nullptr;  // … or one segment of a large one
  uint64_t segment = 0;
};

std::string_view extension_of(std::string_view name) {
  const size_t dot = name.rfind('.');
  return dot == std::string_view::npos ? std::string_view() : name.substr(dot);
}

// Files of one folder side by side, and in it those of one kind: bundles of them are 0.7% smaller
// than in the tree's own order (docs/benchmarks.md).
void sort_for_bundles(const Tree& tree, std::vector<uint32_t>& nodes) {
  std::sort(nodes.begin(), nodes.end(), [&tree](uint32_t a, uint32_t b) {
    const Node& left = tree.nodes[a];
    const Node& right = tree.nodes[b];
    if (left.parent != right.parent) return left.parent < right.parent;
    const int order = extension_of(tree.name(left)).compare(extension_of(tree.name(right)));
    return order != 0 ? order < 0 : a < b;
  });
}

}  // namespace

Ingest::Ingest(Scan& scan, std::string root_name, LayoutBuilder& layout, PackWriter& packs,
               ObjectStore& store, const KnownDamage& damage, IngestOptions options,
               Progress* progress)
    : scan_(scan),
      root_name_(std::move(root_name)),
      layout_(layout),
      packs_(packs),
      store_(store),
      damage_(damage),
      parents_(layout.bases()),
      options_(std::move(options)),
      progress_(progress),
      recordable_(scan.tree.nodes.size(), 0) {}

Result<> Ingest::run(const Context& context, std::span<const uint32_t> nodes) {
  std::vector<std::unique_ptr<LargeFile>> large;
  std::vector<Unit> segments;
  std::vector<Unit> runs;
  std::vector<uint32_t> small;
  uint64_t run_bytes = 0;
  for (const uint32_t node : nodes) {
    const FileStat& stat = scan_.stats[node];
    if (stat.size_bytes > limits::kMemberBytes || has_holes(stat) ||
        (stat.size_bytes > 0 && is_named_image(node))) {
      auto file = std::make_unique<LargeFile>();
      file->node = node;
      file->spans.resize(span_count(stat.size_bytes));
      file->extents.resize((stat.size_bytes + kSegmentBytes - 1) / kSegmentBytes);
      file->segments_left = file->segments();
      for (uint64_t i = 0; i < file->segments(); ++i) segments.push_back({0, 0, file.get(), i});
      large.push_back(std::move(file));
      continue;
    }
    small.push_back(node);
  }
  sort_for_bundles(scan_.tree, small);
  for (size_t i = 0; i < small.size(); ++i) {
    const uint64_t size_bytes = scan_.stats[small[i]].size_bytes;
    if (runs.empty() || run_bytes + size_bytes > kRunBytes ||
        runs.back().end - runs.back().begin >= kRunFiles) {
      runs.push_back({i, i, nullptr, 0});
      run_bytes = 0;
    }
    runs.back().end = i + 1;
    run_bytes += size_bytes;
  }
  // Large pieces first: what is left at the end is small, and no thread waits long for another.
  std::vector<Unit> units = std::move(segments);
  units.insert(units.end(), runs.begin(), runs.end());

  std::vector<std::unique_ptr<IngestWorker>> workers;
  for (unsigned i = 0; i < std::max(options_.threads, 1U); ++i) {
    workers.push_back(std::make_unique<IngestWorker>(*this));
  }
  THAW_CHECK(
      parallel_for(context, options_.threads, units.size(),
                   [&](const Context& inner, unsigned worker, size_t index) -> Result<> {
                     const Unit& unit = units[index];
                     if (unit.large != nullptr) {
                       return workers[worker]->read_segment(inner, *unit.large, unit.segment);
                     }
                     THAW_CHECK(workers[worker]->read_run(
                         inner, std::span(small).subspan(unit.begin, unit.end - unit.begin)));
                     return inner.alive();
                   }));
  return parallel_for(context, options_.threads, workers.size(),
                      [&](const Context&, unsigned, size_t i) { return workers[i]->flush(); });
}

bool Ingest::is_named_image(uint32_t node) const {
  return !options_.image.empty() && options_.image.match(scan_.tree.path(node));
}

std::string IngestWorker::name_of(uint32_t node) const {
  return ingest_.root_name_ + "/" + ingest_.scan_.tree.path(node);
}

void IngestWorker::drop(uint32_t node) {
  const std::lock_guard lock(ingest_.mutex_);
  ingest_.vanished_.push_back(node);
}

Result<OpenFile> IngestWorker::open_file(uint32_t node) {
  for (int attempt = 1;; ++attempt) {
    auto opened = open_once(node);
    if (opened || opened.error().code() != Code::invalid) return opened;
    if (attempt == kAttempts) return Error(Code::busy, opened.error().text());
  }
}

// Code::invalid: it, or a folder above it, has become something else.
Result<OpenFile> IngestWorker::open_once(uint32_t node) {
  const Tree& tree = ingest_.scan_.tree;
  const uint32_t parent = tree.nodes[node].parent;
  if (parent != folder_node_ || !folder_.valid()) {
    const int root = ingest_.scan_.root.get();
    const std::string path = tree.path(parent);
    auto folder = open_beneath(root, path, O_PATH | O_DIRECTORY);
    if (!folder && folder.error().code() == Code::not_found && !is_gone(root, path)) {
      return Error(Code::invalid, folder.error().text());
    }
    THAW_ASSIGN(folder_, std::move(folder));
    folder_node_ = parent;
  }
  OpenFile file;
  const std::string name(tree.name(node));
  // O_NONBLOCK: a FIFO that took the file's place must not hold us up.
  THAW_ASSIGN(file.fd, open_at(folder_.get(), name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY));
  if (ingest_.options_.record_stats) file.lease.emplace(file.fd.get());
  if (::fstat(file.fd.get(), &file.status) != 0) return errno_error(errno, "stat " + name_of(node));
  if (!S_ISREG(file.status.st_mode)) {
    return Error(Code::invalid, name_of(node) + " became something else while it was being saved");
  }
  file.stat = file_stat_of(file.status);
  return file;
}

Result<bool> IngestWorker::unchanged(const OpenFile& file, const std::string& name) {
  struct stat after {};
  if (::fstat(file.fd.get(), &after) != 0) return errno_error(errno, "stat " + name);
  return file_stat_of(after).same_version(file.stat);
}

// What is to be known of the file besides its bytes, now that these were read.
Result<FileRead> IngestWorker::finish_reading(uint32_t node, const OpenFile& file,
                                              const std::string& name) {
  FileRead read;
  read.node = node;
  read.stat = file.stat;
  read.mode = file.status.st_mode;
  read.owner = {file.status.st_uid, file.status.st_gid};
  THAW_ASSIGN(read.xattrs, read_xattrs(file.fd.get(), name));
  read.stable = file.lease && ctime_is_past(file.stat.ctime_ns) && file.lease->unbroken();
  return read;
}

// The node takes the attributes that the file had when it was read.
void IngestWorker::accept(FileRead file, uint32_t number) {
  Scan& scan = ingest_.scan_;
  Node& node = scan.tree.nodes[file.node];
  node.mode = static_cast<uint16_t>(file.mode);
  node.owner = file.owner;
  node.mtime_ns = file.stat.mtime_ns;
  node.payload = number;
  node.xattrs = kNone;
  if (!file.xattrs.empty()) {
    const std::lock_guard lock(ingest_.mutex_);
    node.xattrs = static_cast<uint32_t>(scan.tree.xattr_sets.size());
    scan.tree.xattr_sets.push_back(std::move(file.xattrs));
  }
  scan.stats[file.node] = file.stat;
  ingest_.recordable_[file.node] = file.stable ? 1 : 0;
  ++ingest_.files_read_;
  if (ingest_.progress_ != nullptr) {
    ++ingest_.progress_->files_done;
    if (file.stat.size_bytes <= limits::kMemberBytes)
      ingest_.progress_->bytes_done += file.stat.size_bytes;
  }
}

Result<> IngestWorker::read_run(const Context& context, std::span<const uint32_t> nodes) {
  for (const uint32_t node : nodes) {
    THAW_CHECK(read_small(context, node));
    if (pending_bytes_ >= kBatchBytes) take_pending();
  }
  return {};
}

// Digests of many files at once take half the time (format/digest.h). What is new stays in the
// bundle, what is known gives its place to the next.
void IngestWorker::take_pending() {
  for (const FileRead& file : pending_) {
    batch_.add(bundle_.view().subspan(file.offset, file.stat.size_bytes));
  }
  const std::vector<Digest> digests = batch_.finish();
  size_t end = pending_.empty() ? bundle_.size() : pending_.front().offset;
  for (size_t i = 0; i < digests.size(); ++i) {
    const size_t size_bytes = pending_[i].stat.size_bytes;
    const size_t offset = pending_[i].offset;
    const auto claim = ingest_.layout_.claim_content({digests[i], size_bytes});
    accept(std::move(pending_[i]), claim.content);
    if (!claim.lay_down) continue;
    if (end != offset) std::memmove(bundle_.data() + end, bundle_.data() + offset, size_bytes);
    members_.push_back({claim.content, static_cast<uint32_t>(end)});
    bundle_digest_.add(static_cast<uint32_t>(size_bytes), digests[i]);
    end += size_bytes;
  }
  bundle_.resize(end);
  pending_.clear();
  pending_bytes_ = 0;
}

// For one file more; the byte after its last one is read too.
Result<> IngestWorker::make_room(uint64_t size_bytes) {
  if (bundle_.size() + size_bytes < kBundleBytes) return {};
  take_pending();
  if (bundle_.size() + size_bytes < kBundleBytes) return {};
  return flush();
}

Result<> IngestWorker::read_small(const Context& context, uint32_t node) {
  for (int attempt = 0; attempt < kAttempts; ++attempt) {
    THAW_ASSIGN(const Reading reading, try_small(node));
    switch (reading) {
      case Reading::done:
        return {};
      case Reading::gone:
        drop(node);
        return {};
      case Reading::too_large: {
        LargeFile file;
        file.node = node;
        return read_large_alone(context, file, kAttempts - attempt);
      }
      case Reading::changed:
        THAW_CHECK(context.alive());
        break;
    }
  }
  return Error(Code::busy, name_of(node) + " changed each of the three times that it was read");
}

Result<IngestWorker::Reading> IngestWorker::try_small(uint32_t node) {
  auto opened = open_file(node);
  if (!opened && opened.error().code() == Code::not_found) return Reading::gone;
  if (!opened) return std::move(opened).within("save " + name_of(node)).error();
  OpenFile& file = *opened;
  if (file.stat.size_bytes > limits::kMemberBytes) return Reading::too_large;
  // Whether a change made within the clock's tick would show: asked before the bytes are read.
  if (file.lease && !ctime_is_past(file.stat.ctime_ns)) file.lease.reset();
  THAW_CHECK(make_room(file.stat.size_bytes));
  const size_t offset = bundle_.size();
  // One byte more than it should have, to see it grow.
  bundle_.resize(offset + file.stat.size_bytes + 1);
  // The whole path is only made where it is to be said.
  const std::string name(ingest_.scan_.tree.name(node));
  auto read = [&]() -> Result<Reading> {
    THAW_ASSIGN(const size_t n,
                pread_up_to(file.fd.get(), bundle_.span().subspan(offset), 0, name));
    THAW_ASSIGN(const bool same, unchanged(file, name));
    if (n != file.stat.size_bytes || !same) return Reading::changed;
    THAW_ASSIGN(FileRead done, finish_reading(node, file, name));
    done.offset = offset;
    pending_.push_back(std::move(done));
    pending_bytes_ += n;
    return Reading::done;
  }();
  // What did not count takes no room.
  bundle_.resize(offset + (read && *read == Reading::done ? file.stat.size_bytes : 0));
  if (!read) return std::move(read).error().within(name_of(node));
  return read;
}

Result<> IngestWorker::flush() {
  take_pending();
  if (members_.empty()) {
    bundle_.clear();
    return {};
  }
  const uint32_t chunk = ingest_.layout_.add_bundle();
  THAW_CHECK(lay_chunk(ingest_.layout_, ingest_.packs_, encoder_, chunk, bundle_.view(),
                       bundle_digest_.finish(), ChunkKind::bundle));
  for (const Member& member : members_) {
    ingest_.layout_.place_in_bundle(member.content, chunk, member.offset);
  }
  members_.clear();
  bundle_.clear();
  return {};
}

}  // namespace thaw
