#include "format/digest.h"

#include <gtest/gtest.h>

#include <string>
#include <thread>

#include "format/limits.h"
#include "support/random_bytes.h"

namespace thaw::test {
namespace {

constexpr size_t kLeaf = limits::kLeafBytes;

Digest digest_of_file(Bytes bytes) {
  std::vector<Digest> leaves;
  for (uint64_t i = 0; i < leaf_count(bytes.size()); ++i) {
    const size_t at = i * kLeaf;
    leaves.push_back(sha256(bytes.subspan(at, std::min(kLeaf, bytes.size() - at))));
  }
  return file_digest(bytes.size(), leaves);
}

// FIPS 180-4's own examples.
TEST(Sha256Test, KnownVectors) {
  EXPECT_EQ(sha256({}).hex(), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  EXPECT_EQ(sha256(as_bytes("abc")).hex(),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(sha256(as_bytes("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq")).hex(),
            "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
  EXPECT_EQ(sha256(as_bytes(std::string(1'000'000, 'a'))).hex(),
            "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

TEST(Sha256Test, PiecesMakeTheSameDigestAndFinishStartsAnew) {
  Sha256 hash;
  for (int round = 0; round < 2; ++round) {
    hash.update("a");
    hash.update(Bytes());
    hash.update(std::string_view());
    hash.update("bc");
    EXPECT_EQ(hash.finish(), sha256(as_bytes("abc")));
  }
  EXPECT_EQ(hash.finish(), sha256({}));
  Sha256 moved = std::move(hash);
  moved.update_le(uint32_t{0x04030201});
  EXPECT_EQ(moved.finish(), sha256(as_bytes("\x01\x02\x03\x04")));
}

// Lengths around every border of blocks, in batches of every small size.
TEST(Sha256Test, ManyAtOnceAreEachTheirOwn) {
  const auto text = random_bytes((size_t{4} << 20) + 1, 3);
  const size_t lengths[] = {0,
                            1,
                            55,
                            56,
                            63,
                            64,
                            65,
                            119,
                            120,
                            1000,
                            4095,
                            1U << 20U,
                            (4U << 20U) - 9,
                            4U << 20U,
                            (4U << 20U) + 1};
  for (size_t count = 0; count <= 20; ++count) {
    std::vector<Bytes> parts;
    for (size_t i = 0; i < count; ++i) {
      const size_t length = lengths[(i * 7 + count) % std::size(lengths)];
      parts.push_back(Bytes(text).subspan(text.size() - length));
    }
    std::vector<Digest> digests(count);
    sha256_each(parts, digests);
    for (size_t i = 0; i < count; ++i) {
      EXPECT_EQ(digests[i], sha256(parts[i])) << count << " parts, length " << parts[i].size();
    }
  }
}

TEST(Sha256Test, ThreadsDoNotDisturbOneAnother) {
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([] {
      for (int k = 0; k < 1000; ++k) {
        const std::string text = std::to_string(k);
        Sha256 own;
        own.update(text);
        EXPECT_EQ(sha256(as_bytes(text)), own.finish());
      }
    });
  }
  for (auto& thread : threads) thread.join();
}

TEST(DigestTest, HexThereAndBack) {
  const Digest digest = sha256(as_bytes("abc"));
  EXPECT_EQ(Digest::parse(digest.hex()), digest);
  EXPECT_FALSE(Digest::parse(""));
  EXPECT_FALSE(Digest::parse(digest.hex().substr(1)));
  EXPECT_FALSE(Digest::parse(digest.hex() + "00"));
  EXPECT_FALSE(Digest::parse("BA7816BF8F01CFEA414140DE5DAE2223B00361A396177A9CB410FF61F20015AD"));
  EXPECT_FALSE(Digest::parse(std::string(64, 'g')));
}

TEST(FileDigestTest, LeafCount) {
  EXPECT_EQ(leaf_count(0), 1U);
  EXPECT_EQ(leaf_count(1), 1U);
  EXPECT_EQ(leaf_count(kLeaf), 1U);
  EXPECT_EQ(leaf_count(kLeaf + 1), 2U);
  EXPECT_EQ(leaf_count(UINT64_MAX), (UINT64_MAX >> 20) + 1);
}

// Computed from docs/format.md by another program (Python's hashlib).
TEST(FileDigestTest, GoldenValues) {
  const std::pair<size_t, const char*> golden[] = {
      {0, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},
      {1, "d1bbd73bb09190bfb883056771e22e997541ed20079793bf33975fe1654581c3"},
      {kLeaf - 1, "c6d4f9bb9358a5323bbee94b8f8c715b69b84475e208c77de1439935f0b875ae"},
      {kLeaf, "85b66b3a5816d686deb42f2d2473d9a7121ceb75c822b838f958c76ca86ed8ea"},
      {kLeaf + 1, "b3a20fe4227d904f4db020d4fa90b6d14a4dbcd199fa724f9a95059eba4a14a8"},
      {2 * kLeaf, "fab43fbe7cebc79bd7e0be33905f5b11ec8c6981619414cae5c48bb959cc324a"},
      {5 * kLeaf + 12345, "66ae2cfba82e051e2982f817a5efae9134db63626883a66572a5e8b22221f04a"},
  };
  const auto bytes = random_bytes(5 * kLeaf + 12345, 1);
  for (const auto& [size, hex] : golden) {
    EXPECT_EQ(digest_of_file(Bytes(bytes).first(size)).hex(), hex) << size;
  }
}

TEST(FileDigestTest, FilesOfOneLeafHaveTheirPlainDigest) {
  const auto bytes = random_bytes(kLeaf, 4);
  EXPECT_EQ(digest_of_file(bytes), sha256(bytes));
  EXPECT_EQ(digest_of_file({}), sha256({}));
}

TEST(FileDigestTest, ABatchGivesEachContentItsFileDigest) {
  const auto bytes = random_bytes(3 * kLeaf + 5, 8);
  const std::vector<size_t> sizes = {0, 1, kLeaf, kLeaf + 1, 3 * kLeaf + 5, 0, 2 * kLeaf};
  DigestBatch batch;
  for (int round = 0; round < 2; ++round) {
    EXPECT_TRUE(batch.finish().empty()) << "it starts anew";
    for (const size_t size : sizes) batch.add(Bytes(bytes).first(size));
    const auto digests = batch.finish();
    ASSERT_EQ(digests.size(), sizes.size());
    for (size_t i = 0; i < sizes.size(); ++i) {
      const Bytes content = Bytes(bytes).first(sizes[i]);
      EXPECT_EQ(digests[i], digest_of_file(content)) << sizes[i];
      EXPECT_EQ(chunk_digest(content), digest_of_file(content)) << sizes[i];
    }
  }
}

TEST(FileDigestTest, SizeAndOrderOfLeavesMatter) {
  const Digest a = sha256(as_bytes("a"));
  const Digest b = sha256(as_bytes("b"));
  EXPECT_NE(file_digest(kLeaf + 1, {a, b}), file_digest(kLeaf + 1, {b, a}));
  EXPECT_NE(file_digest(kLeaf + 1, {a, b}), file_digest(kLeaf + 2, {a, b}));
}

TEST(FileDigestTest, ZeroLeaf) {
  EXPECT_EQ(zero_leaf_digest().hex(),
            "30e14955ebf1352266dc2ff8067e68104607e750abb9d3b36582b8af909fcb58");
}

TEST(BundleDigestTest, GoldenValues) {
  BundleDigest bundle;
  bundle.add(3, sha256(as_bytes("abc")));
  bundle.add(0, sha256({}));
  EXPECT_EQ(bundle.finish().hex(),
            "36e9983ced8bf291b3bc9a25815ad9c8606007ce184ecfa3b0d1f5afcbfde737");
  // Starts anew, and without members.
  EXPECT_EQ(bundle.finish().hex(),
            "925f75cea0a789f800f71a03f0707b3a8bfb35120200bd829265c07060f4d668");
}

}  // namespace
}  // namespace thaw::test
