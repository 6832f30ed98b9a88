// XXH3-64 with AVX2: 36 GB/s where plain x86-64 gives 22 (measured as in checksum.cpp). Internal to
// checksum.cpp.
#pragma once

#include <stddef.h>  // NOLINT(modernize-deprecated-headers): no C++ header here, see the .cpp
#include <stdint.h>  // NOLINT(modernize-deprecated-headers)

#if defined(__x86_64__)
#define THAW_CHECKSUM_AVX2
namespace thaw {

// Precondition: the processor has AVX2.
uint64_t checksum64_avx2(const void* bytes, size_t size_bytes);

}  // namespace thaw
#endif
