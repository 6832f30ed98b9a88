// Writing a snapshot's nodes into a private folder that nobody else looks at yet.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "base/context.h"
#include "format/manifest.h"
#include "object/store.h"
#include "snapshot/fetch_plan.h"
#include "snapshot/known_damage.h"
#include "snapshot/progress.h"
#include "snapshot/stat_cache.h"
#include "snapshot/transfer.h"

namespace thaw {

struct WriteOptions {
  bool owners = true;
  bool xattrs = true;
  bool record_stats = false;
  unsigned threads = 1;
  StoreDistance distance = StoreDistance::local;
  Progress* progress = nullptr;
  std::optional<std::string> damage_dir{};
};

struct WriteTotals {
  uint64_t fetched_bytes = 0;
  uint64_t fetches = 0;
  uint64_t written = 0;
  uint64_t attributes_skipped = 0;
};

// How nodes are named below the folder.
enum class Naming {
  tree,  // by their paths
  flat,  // all in the folder itself, by their numbers: for moving them into place one by one
};

// Writes the nodes of a manifest below `folder`, which must be new, empty and private (mode 0700):
// names in it are resolved without care for links that others might put there. Every byte is
// verified before it is written. The manifest and folder outlive it.
class TreeWriter {
 public:
  TreeWriter(const Manifest& manifest, int folder, Naming naming, WriteOptions options);

  // Writes the nodes whose number has a non-zero mark; with Naming::tree their parents must be
  // marked too, and the root's attributes are the folder's own.
  Result<WriteTotals> write(const Context& context, ObjectStore& store,
                            const std::vector<uint8_t>& nodes);

  // What was written, for the stat cache; valid once the ctimes are in the past.
  struct Written {
    uint32_t node;
    FileStat stat;
  };
  const std::vector<Written>& stats() const { return stats_; }
  std::vector<Written> take_stats() { return std::move(stats_); }

 private:
  struct PendingFile {
    std::atomic<uint32_t> extents_left{0};
  };
  // Where a name is made: the folder that it lies in, open, and the name in it.
  struct Place {
    int folder;
    std::string name;
  };
  // The folder that one thread works in, kept open for the next name: neighbours in a chunk mostly
  // share it, and a path of six names need not be walked for each. One thread at a time.
  class Cursor {
   public:
    explicit Cursor(TreeWriter& writer) : writer_(writer) {}
    // The node's place; its folder is made when it is not there yet.
    Result<Place> place_of(uint32_t node);

   private:
    TreeWriter& writer_;
    uint32_t parent_ = kNone;
    UniqueFd fd_;
  };
  Result<> make_folder(uint32_t node);
  Result<> make_missing_folders(const Context& context, const std::vector<uint8_t>& nodes);
  Result<> write_chunk(const Context& context, uint32_t chunk, Bytes content);
  Result<> write_small(Cursor& cursor, uint32_t node, Bytes bytes);
  Result<> write_part(Cursor& cursor, uint32_t node, const Extent& extent, Bytes bytes);
  Result<> make_empty_and_special(const Context& context, const std::vector<uint8_t>& nodes);
  Result<> make_hole(Cursor& cursor, uint32_t node);
  Result<> make_special(Cursor& cursor, uint32_t node);
  Result<> make_links(const Context& context, const std::vector<uint8_t>& nodes);
  Result<> finish_parts(Cursor& cursor, uint32_t content);
  Result<> finish_file(uint32_t node, int fd, bool mode_is_set);
  Result<> finish_folders(const Context& context, const std::vector<uint8_t>& nodes);
  std::string name_of(uint32_t node) const;
  Result<UniqueFd> open_for(uint32_t node, const Place& place, int flags, mode_t mode = 0) const;
  void record(uint32_t node, const struct stat& status);
  Result<> record_linked_anew(const std::vector<uint8_t>& linked);
  void count_written(uint64_t bytes);

  const Manifest& manifest_;
  const int folder_;
  const Naming naming_;
  const WriteOptions options_;
  const uint32_t umask_;
  const FetchPlan* plan_ = nullptr;   // while write() runs
  std::vector<uint32_t> node_begin_;  // per content, and one more: into nodes_of_content_
  std::vector<uint32_t> nodes_of_content_;
  std::vector<std::unique_ptr<PendingFile>>
      pending_;                             // per content with more than one extent, else null
  std::vector<std::atomic<uint8_t>> made_;  // per node: whether it is a folder that is there
  std::atomic<uint64_t> attributes_skipped_{0};
  std::atomic<uint64_t> written_{0};
  std::mutex mutex_;
  std::vector<Written> stats_;
};

// The process's umask, which cannot be asked for without changing it but for a file of /proc; 0777
// where that cannot be read.
uint32_t process_umask();

// Sets what the node says on an open file or folder: owner, attributes, mode, time; in this order,
// for a change of owner clears set-id bits, and a mode may forbid to set attributes. Answers how
// many could not be set for want of privilege.
struct AttributeOptions {
  bool owners = true;
  bool xattrs = true;
  bool fresh = false;        // just created: there are no attributes to take away
  bool mode_is_set = false;  // … and it was created with exactly this mode
};
Result<uint64_t> set_attributes(int fd, const Tree& tree, const Node& node,
                                const AttributeOptions& options, const std::string& name);
// The same for a link, FIFO or device, which cannot be opened: by its name in an open folder.
Result<uint64_t> set_attributes_of_link(int folder, const std::string& name, const Tree& tree,
                                        const Node& node, const AttributeOptions& options);

}  // namespace thaw
