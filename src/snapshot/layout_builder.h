// Decides where the contents of a new snapshot lie: where a base has them, or newly laid down.
#pragma once

#include <cstdint>
#include <mutex>
#include <optional>
#include <unordered_map>
#include <vector>

#include "format/manifest.h"

namespace thaw {

// A snapshot that a save deduplicates against, with its contents and whole chunks by digest.
// Thread-safe once built.
class BaseSnapshot {
 public:
  explicit BaseSnapshot(Manifest manifest);
  const Manifest& manifest() const { return manifest_; }
  std::optional<uint32_t> find_content(const Content& content) const;
  std::optional<uint32_t> find_chunk(const Digest& digest) const;

 private:
  Manifest manifest_;
  std::unordered_map<Digest, uint32_t> contents_;
  std::unordered_map<Digest, uint32_t> chunks_;  // whole ones
};

// How scattered a snapshot may lie over its bases' packs before parts of it are laid down anew, so
// that a restore after any number of generations fetches at most twice what it needs and asks a
// bounded number of requests.
struct FragmentationBudget {
  // A bundle of which less than this share is still alive is given up. Not so a chunk of an image:
  // those have a budget for each window (snapshot/image_window.h).
  double min_alive = 0.5;
  // Fetch ranges that are always allowed, and how many more per 8 MiB of frames.
  uint64_t free_ranges = 16;
  uint64_t ranges_per_8_mib = 4;
};

// The contents and chunks of a snapshot in the making. All but finish() is thread-safe; contents
// and chunks go by number, in order of their first claim.
class LayoutBuilder {
 public:
  // The bases outlive the builder.
  explicit LayoutBuilder(const std::vector<BaseSnapshot>& bases);
  const std::vector<BaseSnapshot>& bases() const { return bases_; }

  // Whether a base has this content, usable as it lies there.
  bool base_has(const Content& content) const;

  struct ContentClaim {
    uint32_t content;
    bool lay_down;  // the caller is the one to place it
  };
  // The number for this content. One caller is told to lay it down, unless a base has it.
  ContentClaim claim_content(const Content& content);
  void place_in_bundle(uint32_t content, uint32_t chunk, uint32_t chunk_offset);
  void place_extents(uint32_t content, std::vector<Extent> extents);

  struct ChunkClaim {
    uint32_t chunk;
    bool lay_down;
  };
  ChunkClaim claim_whole_chunk(const Digest& digest);
  // The number for a whole chunk that lies in a base, of which any part may be used. Empty when the
  // budget gave it up.
  std::optional<uint32_t> claim_base_chunk(uint32_t base, uint32_t chunk);
  // Whether claim_base_chunk would answer.
  bool base_gives(uint32_t base, uint32_t chunk) const;
  uint32_t add_bundle();
  // The chunk's pack is a number of the save's own packs.
  void place_chunk(uint32_t chunk, const ChunkPlace& place);

  // The contents that the budget gives up: what a base has of them is no longer used, and the next
  // claim of each is told to lay it down. Call once, when every content is placed.
  std::vector<uint32_t> give_up(const FragmentationBudget& budget);

  const std::vector<Content>& contents() const { return tree_contents_; }
  // Every content and chunk has to be placed. `new_packs` by the save's own numbers.
  Layout finish(const std::vector<PackRef>& new_packs);

 private:
  struct Source {
    uint32_t base = kNone;  // kNone: laid down by this save
    uint32_t number = 0;    // content or chunk in that base
  };
  struct ContentState {
    Source source;
    std::vector<Extent> extents;  // laid down here; chunk is a number of this builder
    bool given_up = false;        // the next claim is to lay it down
  };
  struct ChunkState {
    Source source;
    ChunkPlace place;
  };

  std::optional<Source> find_in_bases(const Content& content) const;
  bool given_up(uint32_t base, uint32_t chunk) const { return given_up_[base][chunk] != 0; }
  // Extents of a content in terms of (base, chunk), for measuring.
  void count_live(std::vector<std::vector<uint64_t>>& live) const;
  void give_up_dead_bundles(double min_alive);
  void give_up_scattered_packs(const FragmentationBudget& budget);
  std::vector<uint32_t> take_back_contents();

  const std::vector<BaseSnapshot>& bases_;
  mutable std::mutex mutex_;
  std::vector<Content> tree_contents_;
  std::vector<ContentState> contents_;
  std::unordered_map<Digest, std::vector<uint32_t>> content_numbers_;  // sizes may differ
  std::vector<ChunkState> chunks_;
  std::unordered_map<Digest, uint32_t> chunk_numbers_;
  std::vector<std::vector<uint8_t>> given_up_;  // per base, per chunk
};

// How many ranges a restore fetches for these frames (offset, stored bytes) of one pack, given in
// order.
struct FrameSpan {
  uint64_t offset;
  uint64_t stored_bytes;
};
// Frames of one pack that are no further apart than this are fetched together.
inline constexpr uint64_t kFetchGapBytes = 128 * 1024;
// No fetch is larger, but for a single frame.
inline constexpr uint64_t kFetchBytes = 8 * 1024 * 1024;
uint64_t count_ranges(const std::vector<FrameSpan>& frames);

}  // namespace thaw
