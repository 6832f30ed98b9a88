// DiskTree: a TreeSink that writes files below a folder, by several threads.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
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
#include "base/fd.h"
#include "base/task_group.h"
#include "format/tree.h"
#include "snapshot/progress.h"

namespace thaw::archive {

struct DiskTreeOptions {
  bool owners = true;  // only root can give files away
  bool xattrs = true;
  unsigned threads = 1;
  Progress* progress = nullptr;
};

// Writes below `folder`, which is new, empty and private: what lies in it was made here, so no path
// leads through a link. Names are made with O_EXCL: one that is there although the table calls it
// new is another name to the archive and the same to the filesystem, which is Code::corrupt. The
// caller's thread makes folders and reads the archive; files are written by a pool, small ones in
// batches. In memory are two MiB for each thread and, within the budget, the attributes of folders.
// The names, the budget, the folder and the context outlive it.
class DiskTree final : public TreeSink {
 public:
  DiskTree(const Context& context, const NameTable& names, MetadataBudget& budget, int folder,
           DiskTreeOptions options);
  ~DiskTree() override;

  Result<> folder(const Context& context, uint32_t id, const TarEntry* entry) override;
  Result<> file(const Context& context, uint32_t id, const TarEntry& entry,
                TarReader& reader) override;
  Result<> special(const Context& context, uint32_t id, const TarEntry& entry) override;
  Result<> link(const Context& context, uint32_t id, uint32_t target) override;
  Result<> forget(const Context& context, uint32_t id) override;
  Result<> implied(const Context& context, uint32_t id, int64_t mtime_ns) override;
  // All files are complete, and all folders but the root have their attributes.
  Result<> finish(const Context& context) override;
  std::optional<Error> failure() override { return group_.failure(); }

  // After finish(): whether an entry says what a folder, or the root, is like.
  bool speaks_of(uint32_t id) const { return implied_.count(id) == 0; }
  // After an error: nothing writes below the folder any more.
  void stop() { group_.stop_and_join(); }

  // After finish(): the root's mode, and its attributes, set.
  uint32_t root_mode() const;
  Result<> set_root_attributes(int fd);
  // Names that were made, and attributes, owners and devices that could not be.
  uint64_t written() const { return written_; }
  uint64_t attributes_skipped() const { return attributes_skipped_; }

 private:
  struct Batch;
  struct LargeFile;
  // The folder that one thread works in, kept open for the next name.
  struct Place {
    uint32_t folder_id = kNone;
    UniqueFd fd;
  };
  struct Link {
    uint32_t id;
    uint32_t target;
  };

  Result<int> open_folder(Place& place, uint32_t folder_id, const std::string& path) const;
  Result<int> open_parent(uint32_t id);
  Result<> add_small(const Context& context, uint32_t id, const TarEntry& entry, TarReader& reader);
  Result<> write_large(const Context& context, uint32_t id, const TarEntry& entry,
                       TarReader& reader);
  Result<> submit_batch();
  void submit(TaskGroup::Task task);
  Result<> drain(const Context& context);
  Result<> write_batch(const Context& context, const Batch& batch);
  Result<> complete(LargeFile& file);
  Result<> make_links(const Context& context);
  Result<> set_attributes_of(int fd, const Tree& tree, const Node& node, bool mode_is_set,
                             const std::string& name);

  const NameTable& names_;
  MetadataBudget& budget_;
  const int folder_;
  const DiskTreeOptions options_;
  const uint32_t umask_;
  std::unique_ptr<Batch> batch_;                         // the one that is filled
  Place place_;                                          // of the caller's thread
  std::vector<Link> links_;                              // hard links that are to be made
  Tree folders_;                                         // attributes alone
  std::unordered_map<uint32_t, uint32_t> folder_nodes_;  // by name: into folders_.nodes
  std::unordered_set<uint32_t> implied_;                 // folders that no entry spoke of
  std::atomic<uint64_t> written_{0};
  std::atomic<uint64_t> attributes_skipped_{0};
  std::mutex mutex_;  // guards pending_
  std::condition_variable done_;
  size_t pending_ = 0;  // tasks that have not ended
  TaskGroup group_;     // last: its threads use what is above
};

}  // namespace thaw::archive
