// When reads of a file follow one another: what to fetch ahead of them.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <mutex>

namespace thaw {

// Watches the reads of a snapshot's files. From the second on of reads that follow one another it
// asks for a window ahead of them, which grows while they go on; the first read elsewhere ends
// that. Thread-safe and cheap: threads that meet do not wait for one another, and a read may go
// unnoticed.
class ReadAhead {
 public:
  static constexpr uint64_t kFirstBytes = 2 * 1024 * 1024;
  static constexpr uint64_t kMostBytes = 16 * 1024 * 1024;

  // Never asks for more than `most_bytes` ahead; 0 turns it off.
  explicit ReadAhead(uint64_t most_bytes);

  struct Range {
    uint64_t offset = 0;
    uint64_t length = 0;  // 0: nothing is asked for
    uint64_t run = 0;     // which run of reads it is for
  };
  // Notes a read of a file of `size_bytes`, and answers what to begin to fetch now.
  Range note(uint32_t content, uint64_t offset, uint64_t length, uint64_t size_bytes);
  // Whether the run of reads that the range was asked for still goes on.
  bool is_wanted(uint32_t content, const Range& range) const;

 private:
  // Files share tracks; two that meet in one disturb each other, no more.
  struct alignas(64) Track {
    std::mutex mutex;
    uint32_t content = UINT32_MAX;
    uint64_t next = 0;      // where a read would follow
    uint64_t asked_to = 0;  // the end of what was asked for
    uint64_t window = 0;    // 0: no run of reads yet
    std::atomic<uint64_t> run{0};
  };
  static constexpr size_t kTracks = 32;
  Range follow(Track& track, uint64_t size_bytes) const;

  const uint64_t most_bytes_;
  std::array<Track, kTracks> tracks_;
};

}  // namespace thaw
