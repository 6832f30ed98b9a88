#include <algorithm>
#include <array>

#include "format/digest.h"

#ifdef THAW_HAVE_IPSEC_MB
#include <intel-ipsec-mb.h>
#endif

namespace thaw {

#ifdef THAW_HAVE_IPSEC_MB
namespace {

// Which of the library's managers is fastest. Its own choice passes over the SHA extensions on a
// processor with AVX2, where they are twice as fast (docs/benchmarks.md).
void choose_manager(IMB_MGR* manager) {
  const auto has = [manager](uint64_t feature) { return (manager->features & feature) == feature; };
  if (has(IMB_FEATURE_AVX512_SKX)) {
    init_mb_mgr_avx512(manager);
  } else if (has(IMB_FEATURE_SHANI) || !has(IMB_FEATURE_AVX2)) {
    init_mb_mgr_sse(manager);
  } else {
    init_mb_mgr_avx2(manager);
  }
}

// Several messages at once through Intel's multi-buffer library: single ones leave half of the
// processor's units idle. One thread at a time.
class Lanes {
 public:
  Lanes() : manager_(alloc_mb_mgr(0)) {
    if (manager_ != nullptr) choose_manager(manager_);
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
bool lanes_work() {
  std::vector<uint8_t> text(300);
  for (size_t i = 0; i < text.size(); ++i) text[i] = static_cast<uint8_t>(i * 7 + 1);
  std::vector<Bytes> parts;
  for (const size_t length : {0, 1, 55, 56, 63, 64, 65, 119, 120, 128, 300}) {
    parts.push_back(Bytes(text).first(length));
  }
  std::vector<Digest> digests(parts.size());
  if (!Lanes().hash(parts, digests)) return false;
  for (size_t i = 0; i < parts.size(); ++i) {
    if (digests[i] != sha256(parts[i])) return false;
  }
  return true;
}

bool hash_in_lanes(std::span<const Bytes> parts, std::span<Digest> digests) {
  static const bool works = lanes_work();
  if (!works || parts.size() < 2) return false;
  thread_local Lanes lanes;
  return lanes.hash(parts, digests);
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
