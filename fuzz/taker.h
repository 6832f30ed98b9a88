// Takes numbers and runs of bytes off the front of a fuzzer's input. Past its end all is zero.
#pragma once

#include <algorithm>
#include <cstdint>
#include <string>

#include "base/bytes.h"

namespace thaw {

class Taker {
 public:
  explicit Taker(Bytes input) : left_(input) {}

  bool empty() const { return left_.empty(); }
  Bytes rest() const { return left_; }
  uint8_t byte() { return static_cast<uint8_t>(number(1)); }
  uint16_t u16() { return static_cast<uint16_t>(number(2)); }
  uint32_t u32() { return static_cast<uint32_t>(number(4)); }
  uint64_t u64() { return number(8); }
  // Below `bound`, or 0 where that is 0.
  uint32_t below(uint32_t bound) { return bound == 0 ? 0 : u32() % bound; }
  Bytes bytes(size_t size_bytes) {
    const Bytes taken = left_.first(std::min(size_bytes, left_.size()));
    left_ = left_.subspan(taken.size());
    return taken;
  }
  std::string text(size_t size_bytes) { return std::string(as_text(bytes(size_bytes))); }

 private:
  uint64_t number(size_t size_bytes) {
    uint64_t value = 0;
    for (const uint8_t each : bytes(size_bytes)) value = value << 8 | each;
    return value;
  }
  Bytes left_;
};

}  // namespace thaw
