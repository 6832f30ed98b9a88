#include "format/checksum.h"

// Inlined, with -O3 (cmake/Layers.cmake), it runs at 22 GB/s where the library's function runs at
// 13 (measured on an AMD EPYC, 64 KiB pieces of 4 MiB).
#define XXH_INLINE_ALL
#include <xxhash.h>

#include <algorithm>

#include "format/checksum_avx2.h"

namespace thaw {

uint64_t checksum64(Bytes bytes) {
#ifdef THAW_CHECKSUM_AVX2
  static const bool has_avx2 = __builtin_cpu_supports("avx2") != 0;
  if (has_avx2) return checksum64_avx2(bytes.data(), bytes.size());
#endif
  return XXH3_64bits(bytes.data(), bytes.size());
}

std::array<uint8_t, 16> checksum128(Bytes bytes) {
  XXH128_canonical_t canonical;
  XXH128_canonicalFromHash(&canonical, XXH3_128bits(bytes.data(), bytes.size()));
  std::array<uint8_t, 16> digest{};
  std::copy_n(std::begin(canonical.digest), digest.size(), digest.begin());
  return digest;
}

}  // namespace thaw
