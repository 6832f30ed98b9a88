// SHA-256 digests: of bytes, of files (over fixed leaves) and of bundles. See docs/format.md.
#pragma once

#include <array>
#include <compare>
#include <cstdint>
#include <cstring>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/bytes.h"

namespace thaw {

struct Digest {
  std::array<uint8_t, 32> bytes{};

  static std::optional<Digest> parse(std::string_view hex);  // 64 lower-case digits
  std::string hex() const { return to_hex(bytes); }
  auto operator<=>(const Digest&) const = default;
};

// Incremental SHA-256 (FIPS 180-4) by OpenSSL. Reusable after finish(). One thread at a time.
class Sha256 {
 public:
  Sha256();
  ~Sha256();
  Sha256(Sha256&&) noexcept;
  Sha256& operator=(Sha256&&) noexcept;

  void update(Bytes bytes);
  void update(std::string_view text) { update(as_bytes(text)); }
  template <class T>
  void update_le(T value) {
    uint8_t raw[sizeof value];
    store_le(raw, value);
    update(Bytes(raw));
  }
  // The digest of all since the last finish; starts anew.
  Digest finish();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

Digest sha256(Bytes bytes);
// The SHA-256 of each part, in place. About twice as fast as one after the other where Intel's
// multi-buffer library is (x86-64). Precondition: as many digests as parts.
void sha256_each(std::span<const Bytes> parts, std::span<Digest> digests);

// The digest of a leaf that holds only zeros, of a full leaf's length.
const Digest& zero_leaf_digest();

// At least 1.
uint64_t leaf_count(uint64_t size_bytes);
// At least 1.
uint64_t span_count(uint64_t size_bytes);
// A span's digest from its leaves': 1 to limits::kSpanLeaves of them.
Digest span_digest(std::span<const Digest> leaves);
// A file's digest from its spans'. Precondition: as many as span_count(size_bytes); an empty file's
// one span has one leaf, with the digest of no bytes.
Digest file_digest(uint64_t size_bytes, std::span<const Digest> spans);

// The digests of many contents, whose leaves are hashed together: longer batches keep
// sha256_each's lanes full. One thread at a time.
class DigestBatch {
 public:
  // The bytes stay as they are until finish().
  void add(Bytes content);
  // The file digest of each content, in order; starts anew.
  std::vector<Digest> finish();

 private:
  std::vector<Bytes> leaves_;
  std::vector<uint64_t> sizes_;
};

// The file digest of content that is at hand as a whole. A whole chunk's digest is this, too.
Digest content_digest(Bytes content);

// A bundle's chunk digest, member by member.
class BundleDigest {
 public:
  BundleDigest();
  void add(uint32_t length, const Digest& file);
  Digest finish();

 private:
  Sha256 hash_;
};

}  // namespace thaw

template <>
struct std::hash<thaw::Digest> {
  // A digest is uniform already.
  size_t operator()(const thaw::Digest& digest) const noexcept {
    size_t value;
    std::memcpy(&value, digest.bytes.data(), sizeof value);
    return value;
  }
};
