#include "format/digest.h"

#include <openssl/evp.h>

#include <algorithm>
#include <cstdlib>

#include "format/limits.h"

namespace thaw {
namespace {

// Fetched once: OpenSSL 3 looks the algorithm up under a lock at each implicit fetch, which costs
// more than hashing a small file.
const EVP_MD* algorithm() {
  static EVP_MD* const one = EVP_MD_fetch(nullptr, "SHA256", nullptr);
  // Without SHA-256 nothing can be verified, so nothing may go on.
  if (one == nullptr) std::abort();
  return one;
}

}  // namespace

std::optional<Digest> Digest::parse(std::string_view hex) {
  const auto raw = from_hex(hex);
  if (!raw || raw->size() != 32) return std::nullopt;
  Digest digest;
  std::copy(raw->begin(), raw->end(), digest.bytes.begin());
  return digest;
}

struct Sha256::State {
  EVP_MD_CTX* const context = EVP_MD_CTX_new();
  ~State() { EVP_MD_CTX_free(context); }
  void begin() {
    if (context == nullptr || EVP_DigestInit_ex2(context, algorithm(), nullptr) != 1) std::abort();
  }
};

Sha256::Sha256() : state_(std::make_unique<State>()) { state_->begin(); }
Sha256::~Sha256() = default;
Sha256::Sha256(Sha256&&) noexcept = default;
Sha256& Sha256::operator=(Sha256&&) noexcept = default;

void Sha256::update(Bytes bytes) {
  if (EVP_DigestUpdate(state_->context, bytes.data(), bytes.size()) != 1) std::abort();
}

Digest Sha256::finish() {
  Digest digest;
  if (EVP_DigestFinal_ex(state_->context, digest.bytes.data(), nullptr) != 1) std::abort();
  state_->begin();
  return digest;
}

Digest sha256(Bytes bytes) {
  thread_local Sha256 hash;
  hash.update(bytes);
  return hash.finish();
}

const Digest& zero_leaf_digest() {
  static const Digest digest = [] {
    const std::vector<uint8_t> zeros(limits::kLeafBytes);
    return sha256(zeros);
  }();
  return digest;
}

uint64_t leaf_count(uint64_t size_bytes) {
  return size_bytes == 0 ? 1 : (size_bytes - 1) / limits::kLeafBytes + 1;
}

uint64_t span_count(uint64_t size_bytes) {
  return size_bytes == 0 ? 1 : (size_bytes - 1) / limits::kSpanBytes + 1;
}

Digest span_digest(std::span<const Digest> leaves) {
  if (leaves.size() == 1) return leaves.front();
  Sha256 hash;
  for (const Digest& leaf : leaves) hash.update(leaf.bytes);
  return hash.finish();
}

Digest file_digest(uint64_t size_bytes, std::span<const Digest> spans) {
  if (size_bytes <= limits::kLeafBytes) return spans.front();
  Sha256 hash;
  hash.update("thaw file v1\n");
  hash.update_le(size_bytes);
  for (const Digest& span : spans) hash.update(span.bytes);
  return hash.finish();
}

void DigestBatch::add(Bytes content) {
  sizes_.push_back(content.size());
  size_t at = 0;
  do {
    leaves_.push_back(content.subspan(at, std::min(limits::kLeafBytes, content.size() - at)));
    at += limits::kLeafBytes;
  } while (at < content.size());
}

std::vector<Digest> DigestBatch::finish() {
  std::vector<Digest> leaves(leaves_.size());
  sha256_each(leaves_, leaves);
  std::vector<Digest> digests;
  digests.reserve(sizes_.size());
  std::vector<Digest> spans;
  std::span<const Digest> rest = leaves;
  for (const uint64_t size_bytes : sizes_) {
    std::span<const Digest> own = rest.first(leaf_count(size_bytes));
    rest = rest.subspan(own.size());
    spans.clear();
    for (; !own.empty(); own = own.subspan(std::min(limits::kSpanLeaves, own.size()))) {
      spans.push_back(span_digest(own.first(std::min(limits::kSpanLeaves, own.size()))));
    }
    digests.push_back(file_digest(size_bytes, spans));
  }
  leaves_.clear();
  sizes_.clear();
  return digests;
}

Digest content_digest(Bytes content) {
  if (content.size() <= limits::kLeafBytes) return sha256(content);
  DigestBatch one;
  one.add(content);
  return one.finish().front();
}

BundleDigest::BundleDigest() { hash_.update("thaw bundle v1\n"); }

void BundleDigest::add(uint32_t length, const Digest& file) {
  hash_.update_le(length);
  hash_.update(file.bytes);
}

Digest BundleDigest::finish() {
  const Digest digest = hash_.finish();
  hash_.update("thaw bundle v1\n");
  return digest;
}

}  // namespace thaw
