#include <algorithm>

#include "format/digest.h"

#ifdef THAW_HAVE_IPSEC_MB
#include <intel-ipsec-mb.h>
#endif

namespace thaw {

#ifdef THAW_HAVE_IPSEC_MB
namespace {

// Several messages at once through Intel's multi-buffer library: single ones leave half of the
// processor's units idle. One thread at a time.
class Lanes {
 public:
  using Choose = void (*)(IMB_MGR*);
  explicit Lanes(Choose choose) : manager_(alloc_mb_mgr(0)) {
    if (manager_ != nullptr) choose(manager_);
  }
  ~Lanes() {
    if (manager_ != nullptr) free_mb_mgr(manager_);
  }
  Lanes(const Lanes&) = delete;
  Lanes& operator=(const Lanes&) = delete;

  // Of the processor, not of the manager that was chosen.
  bool has(uint64_t feature) const {
    return manager_ != nullptr && (manager_->features & feature) == feature;
  }

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
bool agrees(Lanes& lanes) {
  std::vector<uint8_t> text(300);
  for (size_t i = 0; i < text.size(); ++i) text[i] = static_cast<uint8_t>(i * 7 + 1);
  std::vector<Bytes> parts;
  for (const size_t length :
       {0, 1, 55, 56, 63, 64, 65, 119, 120, 128, 300, 299, 290, 100, 101, 102, 103, 104}) {
    parts.push_back(Bytes(text).first(length));
  }
  std::vector<Digest> digests(parts.size());
  if (!lanes.hash(parts, digests)) return false;
  for (size_t i = 0; i < parts.size(); ++i) {
    if (digests[i] != sha256(parts[i])) return false;
  }
  return true;
}

// Which managers are worth their while here. Each choice passes over the library's own, which
// knows no difference between many messages and few (docs/decisions/0005).
struct Managers {
  Lanes::Choose few = nullptr;   // two lanes of the SHA extensions, or eight of AVX2
  Lanes::Choose many = nullptr;  // sixteen lanes of AVX-512, each slow by itself

  static const Managers& here() {
    static const Managers managers = find();
    return managers;
  }

 private:
  static Managers find() {
    Managers managers;
    Lanes probe(&init_mb_mgr_sse);
    const bool sha = probe.has(IMB_FEATURE_SHANI) || !probe.has(IMB_FEATURE_AVX2);
    managers.few = kept(sha ? &init_mb_mgr_sse : &init_mb_mgr_avx2);
    if (probe.has(IMB_FEATURE_AVX512_SKX)) managers.many = kept(&init_mb_mgr_avx512);
    return managers;
  }
  static Lanes::Choose kept(Lanes::Choose choose) {
    Lanes lanes(choose);
    return agrees(lanes) ? choose : nullptr;
  }
};

// So many full lanes of AVX-512 outrun the SHA extensions.
constexpr uint64_t kManyLanes = 8;

bool hash_in_lanes(std::span<const Bytes> parts, std::span<Digest> digests) {
  if (parts.size() < 2) return false;
  const Managers& managers = Managers::here();
  uint64_t total = 0;
  uint64_t longest = 1;
  for (const Bytes part : parts) {
    total += part.size();
    longest = std::max<uint64_t>(longest, part.size());
  }
  // The longest message goes through one lane: the others can keep so many busy meanwhile.
  if (managers.many != nullptr && total / longest >= kManyLanes) {
    thread_local Lanes lanes(managers.many);
    return lanes.hash(parts, digests);
  }
  if (managers.few == nullptr) return false;
  thread_local Lanes lanes(managers.few);
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
