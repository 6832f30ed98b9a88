// How one window of an image is laid down: what of it is zeros, what a base has of it, and what is
// laid anew. Pure.
#pragma once

#include <cstdint>
#include <span>
#include <unordered_map>
#include <vector>

#include "base/bytes.h"
#include "format/manifest.h"

namespace thaw {

// Images lie on a grid of windows (docs/decisions/0008): whole leaves, so that the digest of a
// window comes from digests that the file's own needs anyway.
inline constexpr uint64_t kWindowBytes = 2 * 1024 * 1024;
// A window never refers to more chunks.
inline constexpr size_t kWindowPieces = 8;
// The grain of comparison: what kernels and hypervisors write.
inline constexpr size_t kPageBytes = 4096;
// A run of zeros of this length is left out wherever it lies. A shorter one between data of a first
// save costs less compressed than as an extent of its own.
inline constexpr size_t kZeroRunBytes = 64 * 1024;
// Between pages that a child lays down the runs are left out from here on: there pages have extents
// of their own anyway, and pages that are scattered over a hole would make it data. (A chain of 20
// children of an image of 2 GiB: 1,186 MiB of extents in the last for 1,177 of data, not 1,312; to
// read it, 1,431 MiB are decoded and not 1,657.)
inline constexpr size_t kChildZeroRunBytes = 2 * kPageBytes;

bool all_zero(Bytes bytes);

// A run of a window, from its start.
struct WindowRun {
  uint32_t begin = 0;
  uint32_t end = 0;
  bool operator==(const WindowRun&) const = default;
};

// The runs that are to be kept of a window by itself: all but zeros at both ends and long runs of
// them between, by whole pages.
std::vector<WindowRun> data_runs(Bytes window);

// The part of a content's extents, which ascend, that lies within a range.
std::vector<Extent> clipped_extents(std::span<const Extent> extents, uint64_t offset,
                                    uint64_t length);

// Whether these extents are one chunk that holds exactly these runs of the window, one after
// another.
bool is_one_chunk_of(std::span<const Extent> extents, uint64_t window_offset,
                     std::span<const WindowRun> runs, uint32_t chunk_bytes);

// By chunk of a base: the bytes that one content uses, and all that it holds.
struct ChunkUseBytes {
  uint64_t alive = 0;
  uint64_t content = 0;
};
using AliveBytes = std::unordered_map<uint32_t, ChunkUseBytes>;
AliveBytes alive_bytes(const Layout& layout, uint32_t content);

// What a base has of a window.
struct BaseWindow {
  Bytes content;                // as long as the child's; what lies past the base's end is zeros
  std::vector<Extent> extents;  // clipped to the window
  std::vector<uint32_t> lost;   // chunks that cannot be had
  // How many bytes of each chunk the base's file uses, in all of its windows.
  const AliveBytes* alive = nullptr;
};

struct WindowPlan {
  std::vector<Extent> kept;      // the base's extents of pages that are the same
  std::vector<WindowRun> fresh;  // pages to be laid down; empty when nothing is
};

// Compares page by page. Pages that differ are laid down (or left out, where they are zeros), and
// so are all pages of some of the base's chunks, until the window has at most kWindowPieces chunks,
// of which what is laid down is one. Those go first that give least here and are mostly dead
// elsewhere: so chunks die in all windows at about the same time, and little is fetched in vain.
WindowPlan plan_window(Bytes content, uint64_t window_offset, const BaseWindow& base);

}  // namespace thaw
