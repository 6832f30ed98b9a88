#include "snapshot/ingest.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/beneath.h"
#include "base/task_group.h"
#include "format/limits.h"
#include "snapshot/ingest_worker.h"
#include "snapshot/xattrs.h"

namespace thaw {
namespace {

// At 2 MiB bundles compress within 2% of one stream over all files, at 1 MiB within 5%
// (docs/benchmarks.md); a read of one small file decompresses one bundle.
constexpr size_t kBundleBytes = 2 * 1024 * 1024;
// Small files are handed out in runs, so that neighbours land in one bundle.
constexpr uint64_t kRunBytes = 1024 * 1024;
constexpr size_t kRunFiles = 256;
constexpr int kAttempts = 3;

struct Unit {
  size_t begin = 0;  // into the nodes: a run of small files …
  size_t end = 0;
  LargeFile* large = nullptr;  // … or one segment of a large one
  uint64_t segment = 0;
};

bool has_holes(const FileStat& stat) {
  // Below this a hole saves less than the file's own records cost.
  constexpr uint64_t kWorthBytes = 64 * 1024;
  return stat.size_bytes > stat.allocated_bytes + kWorthBytes;
}

}  // namespace

Ingest::Ingest(Scan& scan, std::string root_name, LayoutBuilder& layout, PackWriter& packs,
               IngestOptions options, Progress* progress)
    : scan_(scan),
      root_name_(std::move(root_name)),
      layout_(layout),
      packs_(packs),
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
    const bool image =
        has_holes(stat) || (!options_.image.empty() && options_.image.match(scan_.tree.path(node)));
    if (stat.size_bytes > limits::kLeafBytes || (image && stat.size_bytes > 0)) {
      auto file = std::make_unique<LargeFile>();
      file->node = node;
      file->image = image;
      file->leaves.resize(leaf_count(stat.size_bytes));
      file->extents.resize((stat.size_bytes + kSegmentBytes - 1) / kSegmentBytes);
      file->segments_left = file->segments();
      for (uint64_t i = 0; i < file->segments(); ++i) segments.push_back({0, 0, file.get(), i});
      large.push_back(std::move(file));
      continue;
    }
    if (runs.empty() || run_bytes + stat.size_bytes > kRunBytes ||
        runs.back().end - runs.back().begin >= kRunFiles) {
      runs.push_back({small.size(), small.size(), nullptr, 0});
      run_bytes = 0;
    }
    small.push_back(node);
    runs.back().end = small.size();
    run_bytes += stat.size_bytes;
  }
  // Large pieces first: what is left at the end is small, and no thread waits long for another.
  std::vector<Unit> units = std::move(segments);
  units.insert(units.end(), runs.begin(), runs.end());

  std::vector<std::unique_ptr<IngestWorker>> workers;
  for (unsigned i = 0; i < std::max(options_.threads, 1U); ++i) {
    workers.push_back(std::make_unique<IngestWorker>(*this));
  }
  THAW_CHECK(parallel_for(context, options_.threads, units.size(),
                          [&](const Context& inner, unsigned worker, size_t index) -> Result<> {
                            const Unit& unit = units[index];
                            if (unit.large != nullptr) {
                              return workers[worker]->read_segment(inner, *unit.large,
                                                                   unit.segment);
                            }
                            for (size_t i = unit.begin; i < unit.end; ++i) {
                              THAW_CHECK(workers[worker]->read_small(inner, small[i]));
                            }
                            return inner.alive();
                          }));
  return parallel_for(context, options_.threads, workers.size(),
                      [&](const Context&, unsigned, size_t i) { return workers[i]->flush(); });
}

std::string IngestWorker::name_of(uint32_t node) const {
  return ingest_.root_name_ + "/" + ingest_.scan_.tree.path(node);
}

void IngestWorker::drop(uint32_t node) {
  const std::lock_guard lock(ingest_.mutex_);
  ingest_.vanished_.push_back(node);
}

Result<OpenFile> IngestWorker::open_file(uint32_t node) {
  const Tree& tree = ingest_.scan_.tree;
  const uint32_t parent = tree.nodes[node].parent;
  if (parent != folder_node_ || !folder_.valid()) {
    THAW_ASSIGN(folder_,
                open_beneath(ingest_.scan_.root.get(), tree.path(parent), O_PATH | O_DIRECTORY));
    folder_node_ = parent;
  }
  OpenFile file;
  const std::string name(tree.name(node));
  // O_NONBLOCK: a FIFO that took the file's place must not hold us up.
  THAW_ASSIGN(file.fd, open_at(folder_.get(), name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY));
  if (ingest_.options_.record_stats) file.lease.emplace(file.fd.get());
  if (::fstat(file.fd.get(), &file.status) != 0) return errno_error(errno, "stat " + name_of(node));
  if (!S_ISREG(file.status.st_mode)) {
    return Error(Code::busy, name_of(node) + " became something else while it was being saved");
  }
  file.stat = file_stat_of(file.status);
  return file;
}

Result<bool> IngestWorker::unchanged(const OpenFile& file, const std::string& name) {
  struct stat after {};
  if (::fstat(file.fd.get(), &after) != 0) return errno_error(errno, "stat " + name);
  return file_stat_of(after).same_version(file.stat);
}

// The node takes the attributes that the file had when it was read.
Result<> IngestWorker::accept(uint32_t node_number, OpenFile& file, const Content& content,
                              uint32_t number) {
  Scan& scan = ingest_.scan_;
  THAW_ASSIGN(const XattrSet xattrs, read_xattrs(file.fd.get(), name_of(node_number)));
  Node& node = scan.tree.nodes[node_number];
  node.mode = static_cast<uint16_t>(file.status.st_mode);
  node.owner = {file.status.st_uid, file.status.st_gid};
  node.mtime_ns = file.stat.mtime_ns;
  node.payload = number;
  node.xattrs = kNone;
  if (!xattrs.empty()) {
    const std::lock_guard lock(ingest_.mutex_);
    node.xattrs = static_cast<uint32_t>(scan.tree.xattr_sets.size());
    scan.tree.xattr_sets.push_back(xattrs);
  }
  scan.stats[node_number] = file.stat;
  const bool stable = file.lease && ctime_is_past(file.stat.ctime_ns) && file.lease->unbroken();
  ingest_.recordable_[node_number] = stable ? 1 : 0;
  ++ingest_.files_read_;
  if (ingest_.progress_ != nullptr) {
    ++ingest_.progress_->files_done;
    if (content.size_bytes <= limits::kLeafBytes)
      ingest_.progress_->bytes_done += content.size_bytes;
  }
  return {};
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
  if (file.stat.size_bytes > limits::kLeafBytes) return Reading::too_large;
  // Whether a change made within the clock's tick would show: asked before the bytes are read.
  if (file.lease && !ctime_is_past(file.stat.ctime_ns)) file.lease.reset();
  small_.clear();
  // One byte more than it should have, to see it grow.
  small_.resize(file.stat.size_bytes + 1);
  THAW_ASSIGN(const size_t n, pread_up_to(file.fd.get(), small_.span(), 0, name_of(node)));
  THAW_ASSIGN(const bool same, unchanged(file, name_of(node)));
  if (n != file.stat.size_bytes || !same) return Reading::changed;
  const Bytes bytes = small_.view().first(n);
  const Content content{sha256(bytes), n};
  const auto claim = ingest_.layout_.claim_content(content);
  THAW_CHECK(accept(node, file, content, claim.content));
  if (claim.lay_down) THAW_CHECK(add_to_bundle(claim.content, bytes, content.digest));
  return Reading::done;
}

Result<> IngestWorker::add_to_bundle(uint32_t content, Bytes bytes, const Digest& digest) {
  if (bundle_.size() + bytes.size() > kBundleBytes) THAW_CHECK(flush());
  members_.push_back({content, static_cast<uint32_t>(bundle_.size())});
  bundle_digest_.add(static_cast<uint32_t>(bytes.size()), digest);
  bundle_.append(bytes);
  return {};
}

Result<> IngestWorker::flush() {
  if (members_.empty()) return {};
  THAW_ASSIGN(const FrameEncoder::Encoded frame, encoder_.encode(bundle_.view()));
  ChunkPlace place;
  place.digest = bundle_digest_.finish();
  place.stored_bytes = static_cast<uint32_t>(frame.bytes.size());
  place.content_bytes = static_cast<uint32_t>(bundle_.size());
  place.codec = frame.codec;
  place.kind = ChunkKind::bundle;
  THAW_ASSIGN(const PackWriter::Place at,
              ingest_.packs_.add(
                  {place.digest, place.stored_bytes, place.content_bytes, place.codec, place.kind},
                  frame.bytes));
  place.pack = at.pack;
  place.offset = at.offset;
  const uint32_t chunk = ingest_.layout_.add_bundle();
  ingest_.layout_.place_chunk(chunk, place);
  for (const Member& member : members_) {
    ingest_.layout_.place_in_bundle(member.content, chunk, member.offset);
  }
  members_.clear();
  bundle_.clear();
  return {};
}

}  // namespace thaw
