// Ingesting: files are read once, hashed, told apart from what is known, and laid down in packs.
#pragma once

#include <atomic>
#include <cstdint>
#include <mutex>
#include <span>
#include <string>
#include <vector>

#include "base/context.h"
#include "format/frame.h"
#include "object/store.h"
#include "snapshot/base_image.h"
#include "snapshot/glob.h"
#include "snapshot/known_damage.h"
#include "snapshot/layout_builder.h"
#include "snapshot/pack_writer.h"
#include "snapshot/progress.h"
#include "snapshot/scan.h"

namespace thaw {

struct IngestOptions {
  Globs image;  // further files that are laid down as images
  int compression_level = 3;
  unsigned threads = 1;
  bool record_stats = false;  // take leases, so that stable files can go into the stat cache
  StoreDistance distance = StoreDistance::local;  // of the bases
};

// Reads files of one scan into a layout and packs. The nodes that were read get their attributes,
// times and payload as they were at the reading. The objects passed in outlive it.
class Ingest {
 public:
  // `store` is where the layout's bases are read, and `damage` what remembers that they cannot be.
  Ingest(Scan& scan, std::string root_name, LayoutBuilder& layout, PackWriter& packs,
         ObjectStore& store, const KnownDamage& damage, IngestOptions options, Progress* progress);

  // Reads these nodes (regular files, no hard links), in canonical order. Errors: busy (a file
  // changed at each of three readings), denied, and what the pack writer answers.
  Result<> run(const Context& context, std::span<const uint32_t> nodes);

  // Nodes that were gone when they were to be read.
  const std::vector<uint32_t>& vanished() const { return vanished_; }
  // Whether a node was read under a lease that held: its stat and digest may be recorded.
  bool recordable(uint32_t node) const { return recordable_[node] != 0; }
  uint64_t files_read() const { return files_read_; }

 private:
  friend class IngestWorker;
  friend struct LargeFile;

  bool is_named_image(uint32_t node) const;

  Scan& scan_;
  const std::string root_name_;
  LayoutBuilder& layout_;
  PackWriter& packs_;
  ObjectStore& store_;
  const KnownDamage& damage_;
  const ImageParents parents_;
  const IngestOptions options_;
  Progress* const progress_;
  std::mutex mutex_;  // guards the tree's attribute sets, and vanished_
  std::vector<uint32_t> vanished_;
  std::vector<uint8_t> recordable_;  // per node
  std::atomic<uint64_t> files_read_{0};
};

}  // namespace thaw
