#include "archive/snapshot_tree.h"

#include <sys/stat.h>
#include <xxhash.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <numeric>
#include <string>
#include <utility>

#include "format/chunker.h"
#include "format/digest.h"
#include "format/limits.h"
#include "snapshot/lay_chunk.h"
#include "snapshot/reader.h"

namespace thaw::archive {
namespace {

// As a save has them: bundles of 4 MiB, segments of one span.
constexpr size_t kRunBytes = 4 * 1024 * 1024;
constexpr size_t kRunFiles = 4096;
constexpr uint64_t kSegmentBytes = limits::kSpanBytes;
constexpr uint64_t kHoleBytes = 128 * 1024;
// Files of more than 1 MiB together, holes included: the digests of their spans are in memory, 32
// bytes for each 32 MiB, and an archive of a few KB can name a file of exabytes.
constexpr uint64_t kLargeBytes = uint64_t{1} << 43;
// What a target, a set of attributes and an attribute take in memory beside their bytes.
constexpr size_t kTargetBytes = 48;
constexpr size_t kSetBytes = 96;
constexpr size_t kAttributeBytes = 96;

uint64_t hash_of(const XattrSet& xattrs) {
  uint64_t hash = 0;
  for (const Xattr& xattr : xattrs) {
    hash = ::XXH3_64bits_withSeed(xattr.name.data(), xattr.name.size(), hash);
    hash = ::XXH3_64bits_withSeed(xattr.value.data(), xattr.value.size(), hash);
  }
  return hash;
}

const Digest& zero_span_digest() {
  static const Digest kDigest =
      span_digest(std::vector<Digest>(limits::kSpanLeaves, zero_leaf_digest()));
  return kDigest;
}

}  // namespace

struct SnapshotTree::Run {
  struct File {
    uint32_t object;
    size_t offset;
    size_t size;
  };
  std::vector<File> files;
  ByteVector bytes;
};

struct SnapshotTree::Large {
  uint32_t object = 0;
  uint64_t size_bytes = 0;
  std::vector<Digest> spans;                 // per segment
  std::vector<std::vector<Extent>> extents;  // per segment
  std::atomic<uint64_t> segments_left{0};
};

struct SnapshotTree::Segment {
  std::shared_ptr<Large> file;
  uint64_t number = 0;
  ByteVector bytes;           // all of it, holes as zeros
  size_t filled = 0;          // so far
  std::vector<DataRun> runs;  // within the segment
};

SnapshotTree::SnapshotTree(const Context& context, const NameTable& names, MetadataBudget& budget,
                           LayoutBuilder& layout, PackWriter& packs, SnapshotTreeOptions options)
    : names_(names),
      budget_(budget),
      layout_(layout),
      packs_(packs),
      options_(options),
      run_(std::make_unique<Run>()),
      group_(context, std::max(options.threads, 1U), 1) {}

SnapshotTree::~SnapshotTree() { group_.stop_and_join(); }

Result<uint32_t> SnapshotTree::new_object(uint32_t id, const TarEntry& entry) {
  Node node;
  node.mode = static_cast<uint16_t>(entry.mode);
  node.owner = entry.owner;
  node.mtime_ns = entry.mtime_ns;
  owners_.insert(uint64_t{node.owner.uid} << 32U | node.owner.gid);
  if (owners_.size() > limits::kOwners) {
    return Error(Code::exhausted, "the archive has more than 65,536 different owners");
  }
  if (!entry.xattrs.empty()) {
    THAW_ASSIGN(node.xattrs, set_of(entry.xattrs));
    THAW_CHECK(count_attributes(node));
  }
  if (entry.kind == EntryKind::symlink) {
    THAW_CHECK(budget_.take_text(entry.target.size() + kTargetBytes));
    // Whatever the archive says: no system that a tree comes from or goes to lets a link have
    // another one.
    node.mode = S_IFLNK | 0777;
    node.payload = static_cast<uint32_t>(parts_.targets.size());
    parts_.targets.push_back(entry.target);
  } else if (entry.kind == EntryKind::device) {
    node.payload = static_cast<uint32_t>(parts_.devices.size());
    parts_.devices.push_back(entry.device);
  }
  const auto object = static_cast<uint32_t>(objects_.size());
  objects_.push_back(node);
  object_of_.resize(std::max<size_t>(object_of_.size(), names_.size()), kNone);
  object_of_[id] = object;
  const std::lock_guard lock(mutex_);
  contents_.push_back(kNone);
  return object;
}

// An archive has the same few attributes on all of its files, as a rule.
Result<uint32_t> SnapshotTree::set_of(const XattrSet& xattrs) {
  const uint64_t hash = hash_of(xattrs);
  const auto [first, last] = sets_.equal_range(hash);
  for (auto known = first; known != last; ++known) {
    if (parts_.xattr_sets[known->second] == xattrs) return known->second;
  }
  size_t bytes = 0;
  for (const Xattr& xattr : xattrs) bytes += xattr.name.size() + xattr.value.size();
  THAW_CHECK(budget_.take_text(bytes + kSetBytes + xattrs.size() * kAttributeBytes));
  const auto set = static_cast<uint32_t>(parts_.xattr_sets.size());
  parts_.xattr_sets.push_back(xattrs);
  set_bytes_.push_back(static_cast<uint32_t>(bytes));
  sets_.emplace(hash, set);
  return set;
}

// A tree's cap, which counts them for each name.
Result<> SnapshotTree::count_attributes(const Node& node) {
  if (node.xattrs == kNone) return {};
  xattr_bytes_ += set_bytes_[node.xattrs];
  if (xattr_bytes_ <= limits::kTreeXattrBytes) return {};
  return Error(Code::exhausted, "all names together have more than 1 GiB of extended attributes");
}

Result<> SnapshotTree::folder(const Context& /*context*/, uint32_t id, const TarEntry* entry) {
  if (entry == nullptr) return {};
  THAW_ASSIGN(const uint32_t object, new_object(id, *entry));
  static_cast<void>(object);
  return {};
}

// Owned by who makes it, as far as root does; with the mode that `get` gives it.
Result<> SnapshotTree::implied(const Context& context, uint32_t id, int64_t mtime_ns) {
  TarEntry entry;
  entry.kind = EntryKind::folder;
  entry.mode = S_IFDIR | kImpliedMode;
  entry.mtime_ns = mtime_ns;
  return folder(context, id, &entry);
}

Result<> SnapshotTree::file(const Context& context, uint32_t id, const TarEntry& entry,
                            TarReader& reader) {
  THAW_ASSIGN(const uint32_t object, new_object(id, entry));
  const bool small = entry.size_bytes <= limits::kMemberBytes && !entry.sparse;
  if (small) return add_small(object, entry, reader);
  return add_large(context, object, entry, reader);
}

Result<> SnapshotTree::special(const Context& context, uint32_t id, const TarEntry& entry) {
  THAW_ASSIGN(const uint32_t object, new_object(id, entry));
  static_cast<void>(object);
  return context.alive();
}

Result<> SnapshotTree::link(const Context& /*context*/, uint32_t id, uint32_t target) {
  object_of_.resize(std::max<size_t>(object_of_.size(), names_.size()), kNone);
  object_of_[id] = object_of_[target];
  return count_attributes(objects_[object_of_[id]]);
}

Result<> SnapshotTree::forget(const Context& /*context*/, uint32_t id) {
  object_of_[id] = kNone;
  return {};
}

Result<> SnapshotTree::add_small(uint32_t object, const TarEntry& entry, TarReader& reader) {
  if (!run_->files.empty() &&
      (run_->bytes.size() + entry.size_bytes > kRunBytes || run_->files.size() >= kRunFiles)) {
    submit_run();
  }
  ByteVector& bytes = run_->bytes;
  if (bytes.capacity() == 0) bytes.reserve(kRunBytes);
  const size_t offset = bytes.size();
  bytes.resize(offset + entry.size_bytes);
  THAW_CHECK(read_whole(reader, bytes.span().subspan(offset)));
  run_->files.push_back({object, offset, entry.size_bytes});
  return {};
}

void SnapshotTree::submit_run() {
  if (run_->files.empty()) return;
  std::shared_ptr<Run> run = std::exchange(run_, std::make_unique<Run>());
  group_.submit([this, run](const Context& inner) { return lay_run(inner, *run); });
}

std::unique_ptr<FrameEncoder> SnapshotTree::borrow_encoder() {
  {
    const std::lock_guard lock(mutex_);
    if (!encoders_.empty()) {
      auto encoder = std::move(encoders_.back());
      encoders_.pop_back();
      return encoder;
    }
  }
  return std::make_unique<FrameEncoder>(options_.compression_level);
}

void SnapshotTree::give_back(std::unique_ptr<FrameEncoder> encoder) {
  const std::lock_guard lock(mutex_);
  encoders_.push_back(std::move(encoder));
}

// What is new of a run is one bundle; what is known gives its place to the next.
Result<> SnapshotTree::lay_run(const Context& context, Run& run) {
  THAW_CHECK(context.alive());
  DigestBatch batch;
  for (const Run::File& file : run.files) {
    batch.add(run.bytes.view().subspan(file.offset, file.size));
  }
  const std::vector<Digest> digests = batch.finish();
  struct Member {
    uint32_t content;
    uint32_t offset;
  };
  std::vector<Member> members;
  BundleDigest bundle;
  size_t end = 0;
  for (size_t i = 0; i < digests.size(); ++i) {
    const Run::File& file = run.files[i];
    const auto claim = layout_.claim_content({digests[i], file.size});
    {
      const std::lock_guard lock(mutex_);
      contents_[file.object] = claim.content;
    }
    if (options_.progress != nullptr) ++options_.progress->files_done;
    if (!claim.lay_down) continue;
    std::memmove(run.bytes.data() + end, run.bytes.data() + file.offset, file.size);
    members.push_back({claim.content, static_cast<uint32_t>(end)});
    bundle.add(static_cast<uint32_t>(file.size), digests[i]);
    end += file.size;
  }
  if (options_.progress != nullptr) options_.progress->bytes_done += run.bytes.size();
  if (members.empty()) return {};
  auto encoder = borrow_encoder();
  const uint32_t chunk = layout_.add_bundle();
  THAW_CHECK(lay_chunk(layout_, packs_, *encoder, chunk, run.bytes.view().first(end),
                       bundle.finish(), ChunkKind::bundle));
  give_back(std::move(encoder));
  for (const Member& member : members) {
    layout_.place_in_bundle(member.content, chunk, member.offset);
  }
  return {};
}

// A large file as it comes: segments are filled one after another, and go to the pool when full.
class SnapshotTree::LargeReading {
 public:
  LargeReading(SnapshotTree& tree, std::shared_ptr<Large> file)
      : tree_(tree), file_(std::move(file)) {}

  Result<> take(uint64_t at, Bytes data) {
    if (at < end_ || at > file_->size_bytes || data.size() > file_->size_bytes - at) {
      return Error(Code::corrupt, "its data does not lie in it");
    }
    while (!data.empty()) {
      const uint64_t number = at / kSegmentBytes;
      if (!segment_ || segment_->number != number) begin(number);
      const size_t within = at - number * kSegmentBytes;
      const size_t taken = std::min<uint64_t>(data.size(), segment_->bytes.size() - within);
      fill_with_zeros(within);
      std::memcpy(segment_->bytes.data() + within, data.data(), taken);
      segment_->filled = within + taken;
      note_run(within, taken);
      data = data.subspan(taken);
      at += taken;
    }
    end_ = at;
    return {};
  }

  // What is left of the file is a hole.
  void finish() {
    submit();
    tree_.end_segment(*file_);  // the reading itself held it
  }

 private:
  void begin(uint64_t number) {
    submit();
    segment_ = std::make_shared<Segment>();
    segment_->file = file_;
    segment_->number = number;
    segment_->bytes.resize(std::min(kSegmentBytes, file_->size_bytes - number * kSegmentBytes));
  }

  void fill_with_zeros(size_t to) {
    std::memset(segment_->bytes.data() + segment_->filled, 0, to - segment_->filled);
  }

  // Holes that are too short to be worth it are zeros like any others.
  void note_run(size_t within, size_t length) {
    std::vector<DataRun>& runs = segment_->runs;
    if (!runs.empty() && within - (runs.back().offset + runs.back().length) < kHoleBytes) {
      runs.back().length = within + length - runs.back().offset;
    } else {
      runs.push_back({within, length});
    }
  }

  void submit() {
    if (!segment_) return;
    fill_with_zeros(segment_->bytes.size());
    ++file_->segments_left;
    tree_.group_.submit([&tree = tree_, segment = std::move(segment_)](const Context& inner) {
      return tree.lay_segment(inner, *segment);
    });
    segment_.reset();
  }

  SnapshotTree& tree_;
  const std::shared_ptr<Large> file_;
  std::shared_ptr<Segment> segment_;
  uint64_t end_ = 0;
};

Result<> SnapshotTree::add_large(const Context& context, uint32_t object, const TarEntry& entry,
                                 TarReader& reader) {
  large_bytes_ += std::min(entry.size_bytes, kLargeBytes);
  if (large_bytes_ > kLargeBytes || entry.size_bytes > kLargeBytes) {
    return Error(Code::exhausted,
                 "files of more than 1 MiB hold more than 8 TiB together, holes "
                 "included: more than one import takes");
  }
  auto file = std::make_shared<Large>();
  file->object = object;
  file->size_bytes = entry.size_bytes;
  file->segments_left = 1;
  // Until something else comes, all of it is a hole.
  file->spans.assign(span_count(entry.size_bytes), zero_span_digest());
  file->extents.resize(file->spans.size());
  if (const uint64_t rest = entry.size_bytes % kSegmentBytes; rest != 0) {
    std::vector<Digest> leaves(leaf_count(rest), zero_leaf_digest());
    if (rest % limits::kLeafBytes != 0) {
      leaves.back() = sha256(as_bytes(std::string(rest % limits::kLeafBytes, '\0')));
    }
    file->spans.back() = span_digest(leaves);
  }
  LargeReading reading(*this, file);
  THAW_CHECK(reader.read([&](uint64_t at, Bytes data) -> Result<> {
    THAW_CHECK(reading.take(at, data));
    if (auto failure = group_.failure()) return *std::move(failure);
    return context.alive();
  }));
  reading.finish();
  return {};
}

Result<> SnapshotTree::lay_segment(const Context& context, Segment& segment) {
  THAW_CHECK(context.alive());
  DigestBatch batch;
  const Bytes bytes = segment.bytes.view();
  for (size_t at = 0; at < bytes.size(); at += limits::kLeafBytes) {
    batch.add(bytes.subspan(at, std::min(limits::kLeafBytes, bytes.size() - at)));
  }
  const size_t leaf_total = leaf_count(bytes.size());
  std::vector<Bytes> chunks;
  std::vector<uint64_t> offsets;
  const ChunkerSizes sizes;
  for (const DataRun& run : segment.runs) {
    Bytes ahead = bytes.subspan(run.offset, run.length);
    uint64_t at = segment.number * kSegmentBytes + run.offset;
    while (!ahead.empty()) {
      const size_t length =
          first_chunk_length(ahead.first(std::min(ahead.size(), sizes.max_bytes)), sizes);
      chunks.push_back(ahead.first(length));
      batch.add(chunks.back());
      offsets.push_back(at);
      at += length;
      ahead = ahead.subspan(length);
    }
  }
  const std::vector<Digest> digests = batch.finish();
  Large& file = *segment.file;
  file.spans[segment.number] = span_digest(std::span(digests).first(leaf_total));
  std::vector<Extent>& extents = file.extents[segment.number];
  auto encoder = borrow_encoder();
  for (size_t i = 0; i < chunks.size(); ++i) {
    THAW_CHECK(context.alive());
    THAW_ASSIGN(const uint32_t number,
                lay_whole_chunk(layout_, packs_, *encoder, chunks[i], digests[leaf_total + i]));
    extents.push_back({offsets[i], number, 0, static_cast<uint32_t>(chunks[i].size())});
    if (options_.progress != nullptr) options_.progress->bytes_done += chunks[i].size();
  }
  give_back(std::move(encoder));
  end_segment(file);
  return {};
}

// Whoever ends last gives the content its place.
void SnapshotTree::end_segment(Large& file) {
  if (file.segments_left.fetch_sub(1) != 1) return;
  const auto claim =
      layout_.claim_content({file_digest(file.size_bytes, file.spans), file.size_bytes});
  if (claim.lay_down) {
    std::vector<Extent> extents;
    for (const auto& part : file.extents) extents.insert(extents.end(), part.begin(), part.end());
    layout_.place_extents(claim.content, std::move(extents));
  }
  if (options_.progress != nullptr) ++options_.progress->files_done;
  const std::lock_guard lock(mutex_);
  contents_[file.object] = claim.content;
}

Result<> SnapshotTree::finish(const Context& /*context*/) {
  submit_run();
  return group_.wait();
}

Result<Tree> SnapshotTree::take_tree() {
  // The names of each folder, in the order of their bytes.
  const uint32_t count = names_.size();
  object_of_.resize(count, kNone);
  if (std::find(object_of_.begin(), object_of_.end(), kNone) != object_of_.end()) {
    return Error(Code::internal, "a name of the archive came to nothing");
  }
  std::vector<uint32_t> order(count - 1);
  std::iota(order.begin(), order.end(), 1);
  std::sort(order.begin(), order.end(), [this](uint32_t a, uint32_t b) {
    if (names_.parent(a) != names_.parent(b)) return names_.parent(a) < names_.parent(b);
    return names_.name(a) < names_.name(b);
  });
  std::vector<uint32_t> first_child(count + 1, 0);
  for (const uint32_t id : order) ++first_child[names_.parent(id) + 1];
  std::partial_sum(first_child.begin(), first_child.end(), first_child.begin());

  Tree tree;
  tree.nodes.reserve(count);
  std::vector<uint32_t> node_of_object(objects_.size(), kNone);
  const auto add = [&](uint32_t id, uint32_t parent) {
    const uint32_t object = object_of_[id];
    Node node = objects_[object];
    if (node.is_file()) node.payload = contents_[object];
    node.parent = parent;
    node.name_offset = static_cast<uint32_t>(tree.names.size());
    node.name_length = static_cast<uint8_t>(names_.name(id).size());
    tree.names += names_.name(id);
    const auto number = static_cast<uint32_t>(tree.nodes.size());
    if (!node.is_dir()) {
      uint32_t& first = node_of_object[object];
      if (first == kNone) {
        first = number;
      } else {
        node.link_to = first;
        node.payload = kNone;
      }
    }
    tree.nodes.push_back(node);
    return number;
  };
  struct Step {
    uint32_t id;
    uint32_t parent;
  };
  std::vector<Step> steps{{0, 0}};
  while (!steps.empty()) {
    const Step step = steps.back();
    steps.pop_back();
    const uint32_t number = add(step.id, step.parent);
    // The last one first, for the first one is to be taken next.
    for (uint32_t i = first_child[step.id + 1]; i-- > first_child[step.id];) {
      steps.push_back({order[i], number});
    }
  }
  tree.contents = layout_.contents();
  tree.targets = std::move(parts_.targets);
  tree.devices = std::move(parts_.devices);
  tree.xattr_sets = std::move(parts_.xattr_sets);
  return tree;
}

}  // namespace thaw::archive
