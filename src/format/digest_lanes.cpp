#include <algorithm>
#include <array>

#include "format/digest.h"

#ifdef THAW_HAVE_IPSEC_MB
#include <intel-ipsec-mb.h>
#endif

namespace thaw {

#ifdef THAW_HAVE_IPSEC_MB
namespace {

// How many messages a manager hashes side by side.
enum class Width {
  two,   // the SHA extensions: each message at full speed
  most,  // as many as vectors hold: 16 with AVX-512, each at a quarter of that speed
};

bool has(const IMB_MGR* manager, uint64_t feature) {
  return (manager->features & feature) == feature;
}

// Which of the library's managers is fastest. Its own choice passes over the SHA extensions on a
// processor with AVX2, where they are twice as fast (docs/benchmarks.md).
void choose_manager(IMB_MGR* manager, Width width) {
  if (width == Width::most && has(manager, IMB_FEATURE_AVX512_SKX)) {
    init_mb_mgr_avx512(manager);
  } else if (has(manager, IMB_FEATURE_SHANI) || !has(manager, IMB_FEATURE_AVX2)) {
    init_mb_mgr_sse(manager);
  } else {
    init_mb_mgr_avx2(manager);
  }
}

// Messages of 1 MiB on a processor with both, GB/s: two at a time give 3.1 however many there are;
// 16 lanes give 0.8 for 2 leaves, 1.6 for 4, 3.2 for 8 and 6.1 for 16. So a lane of the wide kind
// takes 3.75 times as long for the same bytes.
Width best_width(std::span<const Bytes> parts) {
  uint64_t longest = 0;
  uint64_t total = 0;
  for (const Bytes& part : parts) {
    longest = std::max<uint64_t>(longest, part.size());
    total += part.size();
  }
  const uint64_t narrow = std::max(longest, total / 2);
  const uint64_t wide = std::max(longest, total / 16) * 15 / 4;
  return wide < narrow ? Width::most : Width::two;
}

// Several messages at once through Intel's multi-buffer library: single ones leave half of the
// processor's units idle. One thread at a time.
class Lanes {
 public:
  explicit Lanes(Width width) : manager_(alloc_mb_mgr(0)) {
    if (manager_ != nullptr) choose_manager(manager_, width);
  }
  ~Lanes() {
    if (manager_ != nullptr) free_mb_mgr(manager_);
  }
  Lanes(const Lanes&) = delete;
  Lanes& operator=(const Lanes&) = delete;

  // False when the library failed at any of them: then nothing in `digests` counts.
  bool hash(std::span<const Bytes> parts, std::span<Digest> digests) {
    if (manager_ == nullptr) return false;
    size_t completed = 0;
    for (size_t i = 0; i < parts.size(); ++i) {
      IMB_JOB* job = IMB_GET_NEXT_JOB(manager_);
      *job = {};
      job->cipher_mode = IMB_CIPHER_NULL;
      job->cipher_direction = IMB_DIR_ENCRYPT;
      job->chain_order = IMB_ORDER_HASH_CIPHER;
      job->hash_alg = IMB_AUTH_SHA_256;
      job->src = parts[i].empty() ? &kNothing : parts[i].data();
      job->msg_len_to_hash_in_bytes = parts[i].size();
      job->auth_tag_output = digests[i].bytes.data();
      job->auth_tag_output_len_in_bytes = digests[i].bytes.size();
      completed += count_completed(IMB_SUBMIT_JOB_NOCHECK(manager_));
    }
    while (IMB_JOB* job = IMB_FLUSH_JOB(manager_)) completed += count_completed(job);
    return completed == parts.size();
  }

 private:
  size_t count_completed(const IMB_JOB* job) {
    size_t count = 0;
    for (; job != nullptr; job = IMB_GET_COMPLETED_JOB(manager_)) {
      count += job->status == IMB_STATUS_COMPLETED ? 1 : 0;
    }
    return count;
  }

  static constexpr uint8_t kNothing = 0;
  IMB_MGR* const manager_;
};

// Whether the lanes agree with OpenSSL on this processor: asked once, of lengths around a block's
// borders.
bool lanes_work(Width width) {
  std::vector<uint8_t> text(300);
  for (size_t i = 0; i < text.size(); ++i) text[i] = static_cast<uint8_t>(i * 7 + 1);
  std::vector<Bytes> parts;
  for (const size_t length : {0, 1, 55, 56, 63, 64, 65, 119, 120, 128, 300}) {
    parts.push_back(Bytes(text).first(length));
  }
  std::vector<Digest> digests(parts.size());
  if (!Lanes(width).hash(parts, digests)) return false;
  for (size_t i = 0; i < parts.size(); ++i) {
    if (digests[i] != sha256(parts[i])) return false;
  }
  return true;
}

bool hash_in_lanes(std::span<const Bytes> parts, std::span<Digest> digests) {
  static const bool work = lanes_work(Width::two) && lanes_work(Width::most);
  if (!work || parts.size() < 2) return false;
  thread_local Lanes two(Width::two);
  thread_local Lanes most(Width::most);
  return (best_width(parts) == Width::most ? most : two).hash(parts, digests);
}

}  // namespace
#else
namespace {
bool hash_in_lanes(std::span<const Bytes>, std::span<Digest>) { return false; }
}  // namespace
#endif

void sha256_each(std::span<const Bytes> parts, std::span<Digest> digests) {
  if (hash_in_lanes(parts, digests)) return;
  std::transform(parts.begin(), parts.end(), digests.begin(), sha256);
}

}  // namespace thaw
