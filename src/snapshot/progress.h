// How far a long piece of work has come, for whoever wants to show it.
#pragma once

#include <atomic>
#include <cstdint>

namespace thaw {

// Written by the engine, read by anyone at any time; thread-safe. Totals are 0 while unknown.
struct Progress {
  std::atomic<const char*> step{"starting"};  // "scanning", "reading", "fetching", … static strings
  std::atomic<uint64_t> bytes_done{0};
  std::atomic<uint64_t> bytes_total{0};
  std::atomic<uint64_t> files_done{0};
  std::atomic<uint64_t> files_total{0};

  void begin(const char* name, uint64_t bytes, uint64_t files) {
    bytes_done = 0;
    files_done = 0;
    bytes_total = bytes;
    files_total = files;
    step = name;
  }
};

}  // namespace thaw
