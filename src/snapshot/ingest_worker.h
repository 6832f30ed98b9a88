// One thread's part of an ingest; for ingest.cpp alone.
#pragma once

#include <memory>
#include <optional>

#include "snapshot/image_window.h"
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

// What a file was when all of its bytes had been read.
struct FileRead {
  uint32_t node = 0;
  FileStat stat;
  uint32_t mode = 0;
  Owner owner;
  XattrSet xattrs;
  bool stable = false;  // the stat cache may know it by these times
  size_t offset = 0;    // of its bytes in the worker's bundle, for small files
};

// A file of more than a leaf (or one with holes), shared by the threads that read its segments.
struct LargeFile {
  uint32_t node = 0;
  bool image = false;
  std::optional<ImageParent> parent{};  // of an image
  AliveBytes parent_alive;
  std::mutex mutex;  // guards open and the vectors' growth; segments write to slots of their own
  std::optional<OpenFile> open;
  bool gone = false;
  std::atomic<bool> torn{false};             // it shrank under the reading
  std::vector<Digest> spans;                 // per segment
  std::vector<std::vector<Extent>> extents;  // per segment
  std::atomic<uint64_t> segments_left{0};

  uint64_t segments() const { return extents.size(); }
};

class IngestWorker {
 public:
  explicit IngestWorker(Ingest& ingest)
      : ingest_(ingest),
        encoder_(ingest.options_.compression_level),
        image_encoder_(ingest.options_.compression_level, FrameTuning::speed),
        base_reader_(ingest.store_, ingest.layout_.bases(), ingest.damage_,
                     ingest.options_.distance) {}

  // Small files, which are likely to be neighbours in a bundle.
  Result<> read_run(const Context& context, std::span<const uint32_t> nodes);
  // One segment; whoever reads the last one completes the file.
  Result<> read_segment(const Context& context, LargeFile& file, uint64_t segment);
  // Lays the open bundle down.
  Result<> flush();

 private:
  enum class Reading { done, changed, gone, too_large };
  Result<> read_small(const Context& context, uint32_t node);
  Result<Reading> try_small(uint32_t node);
  void take_pending();
  Result<> make_room(uint64_t size_bytes);
  Result<> read_large_alone(const Context& context, LargeFile& file, int attempts_left);
  // Looks three times; Code::busy when it was no regular file each time.
  Result<OpenFile> open_file(uint32_t node);
  Result<OpenFile> open_once(uint32_t node);
  Result<bool> open_large(LargeFile& file);
  Result<> read_open_segment(const Context& context, LargeFile& file, uint64_t segment);
  Result<> read_by_content(const Context& context, LargeFile& file, uint64_t begin, uint64_t end,
                           std::vector<Extent>& extents);
  // Whether it is laid down as an image, and the file of a base that it is compared with.
  Result<> choose_cut(LargeFile& file);
  Result<> read_as_image(const Context& context, LargeFile& file, uint64_t begin, uint64_t end,
                         std::vector<Extent>& extents);
  // Part of a segment that is read as an image, in ingest_image.cpp.
  struct Window {
    uint64_t offset;
    Bytes content;
    std::span<const Digest> leaves;
  };
  struct Packed {
    Bytes content;
    Digest digest;
  };
  Result<> lay_window(const Context& context, const LargeFile& file, const Window& window,
                      std::vector<Extent>& extents);
  Packed pack(const Window& window, std::span<const WindowRun> runs);
  Result<bool> lay_over_base(const Context& context, const LargeFile& file, const Window& window,
                             std::span<const WindowRun> runs, BaseWindow base,
                             std::vector<Extent>& extents);
  std::vector<Extent> read_next(const ImageParent& parent, const Window& window) const;
  Result<> lay_pages(const Window& window, const WindowPlan& plan, uint32_t base,
                     std::vector<Extent>& extents);
  Result<> flush_pages(std::vector<Extent>& extents);
  Result<bool> complete(LargeFile& file);
  static void yield_lease(LargeFile& file);
  Result<uint32_t> lay_whole_chunk(FrameEncoder& encoder, Bytes content, const Digest& digest);
  Result<FileRead> finish_reading(uint32_t node, const OpenFile& file, const std::string& name);
  void accept(FileRead file, uint32_t number);
  Result<bool> unchanged(const OpenFile& file, const std::string& name);
  std::string name_of(uint32_t node) const;
  void drop(uint32_t node);

  struct Member {
    uint32_t content;
    uint32_t offset;
  };
  Ingest& ingest_;
  FrameEncoder encoder_;
  FrameEncoder image_encoder_;
  // Files to be laid down, not yet compressed; then those that were read and not yet hashed.
  ByteVector bundle_;
  std::vector<FileRead> pending_;
  uint64_t pending_bytes_ = 0;
  std::vector<Member> members_;
  BundleDigest bundle_digest_;
  DigestBatch batch_;
  ByteVector window_;           // of a large file
  std::vector<Digest> leaves_;  // of its segment at hand
  BaseReader base_reader_;
  ByteVector base_window_;
  ByteVector packed_;  // what a window holds besides zeros
  ByteVector pages_;   // changed ones of neighbouring windows, not yet compressed
  uint32_t folder_node_ = kNone;
  UniqueFd folder_;
};

}  // namespace thaw
