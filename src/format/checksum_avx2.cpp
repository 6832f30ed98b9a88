#include "format/checksum_avx2.h"

#ifdef THAW_CHECKSUM_AVX2
// No C++ header is included: an inline function that is compiled here, with -mavx2
// (cmake/Layers.cmake), might be the copy that the linker keeps for everybody.
#define XXH_INLINE_ALL
#include <xxhash.h>
static_assert(XXH_VECTOR == XXH_AVX2);

namespace thaw {

uint64_t checksum64_avx2(const void* bytes, size_t size_bytes) {
  return XXH3_64bits(bytes, size_bytes);
}

}  // namespace thaw
#endif
