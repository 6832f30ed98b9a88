#include "format/checksum.h"

#include <gtest/gtest.h>

// The library's own functions, for comparison.
#include <xxhash.h>

#include "support/random_bytes.h"

namespace thaw {
namespace {

TEST(Checksum, KnownValues) {
  EXPECT_EQ(checksum64({}), 0x2d06800538d394c2U);
  EXPECT_EQ(to_hex(checksum128({})), "99aa06d3014798d86001c324468d497f");
}

TEST(Checksum, IsWhatTheLibrarySays) {
  const auto bytes = test::random_bytes(200'000, 1);
  for (const size_t size :
       {1U, 3U, 8U, 16U, 17U, 128U, 129U, 240U, 241U, 4096U, 65'536U, 65'537U, 199'999U}) {
    const Bytes part = Bytes(bytes).subspan(1, size);
    EXPECT_EQ(checksum64(part), XXH3_64bits(part.data(), part.size())) << size;
    XXH128_canonical_t canonical;
    XXH128_canonicalFromHash(&canonical, XXH3_128bits(part.data(), part.size()));
    EXPECT_EQ(to_hex(checksum128(part)), to_hex(canonical.digest)) << size;
  }
}

}  // namespace
}  // namespace thaw
