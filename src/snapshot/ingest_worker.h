// One thread's part of an ingest; for ingest.cpp alone.
#pragma once

#include <memory>
#include <optional>

#include "snapshot/ingest.h"
#include "snapshot/stat_cache.h"

namespace thaw {

// Large files are read in segments of this length, by several threads. A multiple of the leaf. At
// its borders cutting by content starts anew, which costs one chunk or two of dedup after an
// insertion.
inline constexpr uint64_t kSegmentBytes = 32 * 1024 * 1024;

// A file that is open for reading, as it was then.
struct OpenFile {
  UniqueFd fd;
  FileStat stat;
  struct stat status {};
  std::optional<ReadLease> lease;
};

// A file of more than a leaf (or one with holes), shared by the threads that read its segments.
struct LargeFile {
  uint32_t node = 0;
  bool image = false;
  std::mutex mutex;  // guards open and the vectors' growth; segments write to slots of their own
  std::optional<OpenFile> open;
  bool gone = false;
  std::atomic<bool> torn{false};  // it shrank under the reading
  std::vector<Digest> leaves;
  std::vector<std::vector<Extent>> extents;  // per segment
  std::atomic<uint64_t> segments_left{0};

  uint64_t segments() const { return extents.size(); }
};

class IngestWorker {
 public:
  explicit IngestWorker(Ingest& ingest)
      : ingest_(ingest), encoder_(ingest.options_.compression_level) {}

  Result<> read_small(const Context& context, uint32_t node);
  // One segment; whoever reads the last one completes the file.
  Result<> read_segment(const Context& context, LargeFile& file, uint64_t segment);
  // Lays the open bundle down.
  Result<> flush();

 private:
  enum class Reading { done, changed, gone, too_large };
  Result<Reading> try_small(uint32_t node);
  Result<> read_large_alone(const Context& context, LargeFile& file, int attempts_left);
  Result<OpenFile> open_file(uint32_t node);
  Result<bool> open_large(LargeFile& file);
  Result<> read_open_segment(const Context& context, LargeFile& file, uint64_t segment);
  Result<> read_by_content(const Context& context, LargeFile& file, uint64_t begin, uint64_t end,
                           std::vector<Extent>& extents);
  Result<> read_as_image(const Context& context, LargeFile& file, uint64_t begin, uint64_t end,
                         std::vector<Extent>& extents);
  Result<> lay_leaf(uint64_t at, Bytes leaf, const Digest& digest, std::vector<Extent>& extents);
  Result<bool> complete(LargeFile& file);
  static void yield_lease(LargeFile& file);
  Result<uint32_t> lay_whole_chunk(Bytes content, const Digest& digest);
  Result<> add_to_bundle(uint32_t content, Bytes bytes, const Digest& digest);
  Result<> accept(uint32_t node, OpenFile& file, const Content& content, uint32_t number);
  Result<bool> unchanged(const OpenFile& file, const std::string& name);
  std::string name_of(uint32_t node) const;
  void drop(uint32_t node);

  struct Member {
    uint32_t content;
    uint32_t offset;
  };
  Ingest& ingest_;
  FrameEncoder encoder_;
  ByteVector small_;   // the file that is being read
  ByteVector bundle_;  // files laid down, not yet compressed
  std::vector<Member> members_;
  BundleDigest bundle_digest_;
  ByteVector window_;  // of a large file
  uint32_t folder_node_ = kNone;
  UniqueFd folder_;
};

}  // namespace thaw
