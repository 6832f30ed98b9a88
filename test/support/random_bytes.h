// Bytes for tests: the same for a seed everywhere, so that golden values can be taken of them.
#pragma once

#include <cstdint>
#include <random>
#include <vector>

namespace thaw::test {

// SplitMix64 (S. Vigna).
class TestRandom {
 public:
  explicit TestRandom(uint64_t seed) : state_(seed) {}

  uint64_t next() {
    uint64_t z = state_ += 0x9e3779b97f4a7c15;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    return z ^ (z >> 31);
  }
  uint64_t below(uint64_t bound) { return next() % bound; }

 private:
  uint64_t state_;
};

// Each number gives eight bytes, the lowest first.
inline std::vector<uint8_t> random_bytes(size_t size_bytes, uint64_t seed) {
  TestRandom random(seed);
  std::vector<uint8_t> bytes(size_bytes);
  uint64_t value = 0;
  for (size_t i = 0; i < size_bytes; ++i) {
    if (i % 8 == 0) value = random.next();
    bytes[i] = static_cast<uint8_t>(value >> (i % 8 * 8));
  }
  return bytes;
}

// Another at each run. The test says it when it fails: SCOPED_TRACE(seed).
inline uint64_t fresh_seed() { return std::random_device{}(); }

}  // namespace thaw::test
