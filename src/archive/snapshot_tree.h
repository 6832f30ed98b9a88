// SnapshotTree: a TreeSink that lays contents down in packs and makes a snapshot's tree.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "archive/metadata_budget.h"
#include "archive/name_table.h"
#include "archive/tree_sink.h"
#include "base/bytes.h"
#include "base/task_group.h"
#include "format/frame.h"
#include "format/tree.h"
#include "snapshot/layout_builder.h"
#include "snapshot/pack_writer.h"
#include "snapshot/progress.h"

namespace thaw::archive {

struct SnapshotTreeOptions {
  int compression_level = 3;
  unsigned threads = 1;
  Progress* progress = nullptr;
};

// The caller's thread reads the archive; a pool hashes and compresses: runs of small files, which
// become bundles, and segments of large ones, which are cut by content as in a save. In memory are
// two segments of 32 MiB for each thread at most, and the tree, within the budget. What is passed
// in outlives it.
class SnapshotTree final : public TreeSink {
 public:
  SnapshotTree(const Context& context, const NameTable& names, MetadataBudget& budget,
               LayoutBuilder& layout, PackWriter& packs, SnapshotTreeOptions options);
  ~SnapshotTree() override;

  Result<> folder(const Context& context, uint32_t id, const TarEntry* entry) override;
  Result<> file(const Context& context, uint32_t id, const TarEntry& entry,
                TarReader& reader) override;
  Result<> special(const Context& context, uint32_t id, const TarEntry& entry) override;
  Result<> link(const Context& context, uint32_t id, uint32_t target) override;
  Result<> forget(const Context& context, uint32_t id) override;
  Result<> implied(const Context& context, uint32_t id, int64_t mtime_ns) override;
  Result<> finish(const Context& context) override;
  // Nothing that goes wrong here is an entry's fault.
  std::optional<Error> failure() override { return group_.failure(); }

  // After finish(): the tree in canonical order, checked, with the layout's contents. Call it once.
  Result<Tree> take_tree();

 private:
  struct Run;
  struct Large;
  struct Segment;
  class LargeReading;

  Result<uint32_t> new_object(uint32_t id, const TarEntry& entry);
  Result<uint32_t> set_of(const XattrSet& xattrs);
  Result<> count_attributes(const Node& node);
  Result<> add_small(uint32_t object, const TarEntry& entry, TarReader& reader);
  Result<> add_large(const Context& context, uint32_t object, const TarEntry& entry,
                     TarReader& reader);
  void submit_run();
  Result<> lay_run(const Context& context, Run& run);
  Result<> lay_segment(const Context& context, Segment& segment);
  void end_segment(Large& file);
  std::unique_ptr<FrameEncoder> borrow_encoder();
  void give_back(std::unique_ptr<FrameEncoder> encoder);

  const NameTable& names_;
  MetadataBudget& budget_;
  LayoutBuilder& layout_;
  PackWriter& packs_;
  const SnapshotTreeOptions options_;
  Tree parts_;                // what nodes refer to: targets, devices, attributes
  std::deque<Node> objects_;  // what names lead to, without names; never moved, as there are many
  std::unordered_multimap<uint64_t, uint32_t> sets_;  // by their hash: equal attributes, one set
  std::vector<uint32_t> set_bytes_;                   // per set
  std::unordered_set<uint64_t> owners_;
  uint64_t xattr_bytes_ = 0;  // over all names
  uint64_t large_bytes_ = 0;
  std::vector<uint32_t> object_of_;  // per name; kNone: forgotten, or of a folder without an entry
  std::unique_ptr<Run> run_;
  std::mutex mutex_;                // guards contents_ and encoders_
  std::vector<uint32_t> contents_;  // per object: the content of a file
  std::vector<std::unique_ptr<FrameEncoder>> encoders_;
  TaskGroup group_;  // last: its threads use what is above
};

}  // namespace thaw::archive
