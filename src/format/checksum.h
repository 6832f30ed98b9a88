// XXH3 checksums: they find rot and torn writes in places that are ours, and are no proof against
// anybody. Thread-safe.
#pragma once

#include <array>
#include <cstdint>

#include "base/bytes.h"

namespace thaw {

uint64_t checksum64(Bytes bytes);                  // XXH3-64
std::array<uint8_t, 16> checksum128(Bytes bytes);  // XXH3-128, canonical (big-endian)

}  // namespace thaw
