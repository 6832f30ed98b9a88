#include "archive/export.h"

#include <algorithm>
#include <memory>
#include <utility>
#include <vector>

#include "archive/in_order.h"
#include "archive/tar_writer.h"
#include "snapshot/catalog.h"
#include "snapshot/chunk_cache.h"
#include "snapshot/known_damage.h"
#include "snapshot/reader.h"

namespace thaw::archive {
namespace {

// What is read by one thread at once: a run of small files, or a piece of a large one.
constexpr uint64_t kPieceBytes = 1024 * 1024;
constexpr size_t kRunFiles = 256;
constexpr uint64_t kHoleBytes = 128 * 1024;
// Sixteen bundles: neighbours in the tree lie in few of them.
constexpr uint64_t kCacheBytes = 64 * 1024 * 1024;

class Exporter {
 public:
  Exporter(const Context& context, ObjectStore& store, const ExportRequest& request,
           ArchiveSink& sink, Progress* progress)
      : context_(context),
        store_(store),
        request_(request),
        sink_(sink),
        progress_(progress),
        cache_(kCacheBytes),
        damage_(request.damage_dir) {}

  Result<ExportReport> run() {
    if (progress_ != nullptr) progress_->begin("looking up", 0, 0);
    THAW_CHECK(open());
    if (progress_ != nullptr)
      progress_->begin("packing", report_.totals.bytes, report_.totals.files);
    THAW_CHECK(write_archive());
    if (progress_ != nullptr) progress_->begin("publishing", 0, 0);
    THAW_CHECK(sink_.finish());
    return report_;
  }

 private:
  // A piece of work: files of one run, or a piece of one file.
  struct Part {
    std::vector<uint32_t> nodes;
    uint64_t offset = 0;
    uint64_t length = 0;  // of all of them
  };

  Result<> open() {
    THAW_CHECK(check_store(context_, store_));
    THAW_ASSIGN(const auto entry, find_entry(context_, store_, request_.ref));
    if (!entry) return Error(Code::not_found, "no snapshot of " + request_.ref.text());
    THAW_ASSIGN(Manifest manifest, load_manifest(context_, store_, *entry));
    if (ids_of(manifest.tree) != entry->ids) {
      return Error(Code::corrupt, "the manifest of " + request_.ref.text() +
                                      " holds another tree than its entry says");
    }
    report_.generation = entry->generation;
    report_.ids = entry->ids;
    report_.totals = entry->totals;
    const ReaderOptions options{
        .distance = request_.distance, .threads = request_.threads, .damage = &damage_};
    reader_ = open_reader(store_, std::move(manifest), cache_, options, context_);
    return {};
  }

  const Tree& tree() const { return reader_->manifest().tree; }

  FileRef file_of(uint32_t node) const {
    const uint32_t content = tree().nodes[node].payload;
    return {content, tree().contents[content].size_bytes, node};
  }

  Result<> write_archive() {
    THAW_ASSIGN(const auto compressor, make_compressor(context_, request_.format, request_.level,
                                                       request_.threads, [this](Bytes bytes) {
                                                         report_.stored_bytes += bytes.size();
                                                         return sink_.append(bytes);
                                                       }));
    THAW_ASSIGN(writer_,
                TarWriter::open([&compressor](Bytes bytes) { return compressor->append(bytes); }));
    InOrder<ByteVector> work(context_, request_.threads,
                             size_t{4} * std::max(request_.threads, 1U));
    work_ = &work;
    for (uint32_t i = 0; i < tree().nodes.size(); ++i) {
      THAW_CHECK(context_.alive());
      THAW_CHECK(write_node(i).within(request_.ref.text()));
    }
    THAW_CHECK(writer_->finish());
    return compressor->finish();
  }

  std::string name_of(uint32_t node) const {
    const std::string path = tree().path(node);
    if (request_.prefix.empty()) return path.empty() ? "." : path;
    return path.empty() ? request_.prefix : request_.prefix + "/" + path;
  }

  Result<> write_node(uint32_t number) {
    const Node& node = tree().nodes[number];
    TarNode out;
    out.name = name_of(number);
    out.mode = node.mode;
    out.owner = node.owner;
    out.mtime_ns = node.mtime_ns;
    if (node.xattrs != kNone) out.xattrs = &tree().xattr_sets[node.xattrs];
    if (node.is_link()) {
      out.hard_link = true;
      out.link_to = name_of(node.link_to);
    } else if (node.is_symlink()) {
      out.link_to = tree().targets[node.payload];
    } else if (node.is_device()) {
      out.device = tree().devices[node.payload];
    } else if (node.is_file()) {
      out.size_bytes = file_of(number).size_bytes;
      out.runs = runs_of(number);
      THAW_CHECK(writer_->begin(out));
      return write_content(out);
    }
    return writer_->begin(out);
  }

  // Empty for a file without holes that are worth it.
  std::vector<DataRun> runs_of(uint32_t number) const {
    const FileRef file = file_of(number);
    std::vector<DataRun> runs;
    for (const DataRun& run : reader_->extents(file, 0, file.size_bytes)) {
      if (!runs.empty() && run.offset - (runs.back().offset + runs.back().length) < kHoleBytes) {
        runs.back().length = run.offset + run.length - runs.back().offset;
      } else {
        runs.push_back(run);
      }
    }
    if (!runs.empty() && runs.front().offset < kHoleBytes) {
      runs.front() = {0, runs.front().offset + runs.front().length};
    }
    if (!runs.empty() && file.size_bytes - (runs.back().offset + runs.back().length) < kHoleBytes) {
      runs.back().length = file.size_bytes - runs.back().offset;
    }
    if (runs.empty() && file.size_bytes >= kHoleBytes) runs.push_back({file.size_bytes, 0});
    if (runs.size() == 1 && runs.front() == DataRun{0, file.size_bytes}) runs.clear();
    return runs;
  }

  // What is read of a file: of a large one its runs, of a small one all of it, for what lies
  // together in a piece is read together.
  std::vector<DataRun> read_runs(uint64_t size_bytes, std::vector<DataRun> runs) const {
    if (size_bytes <= kPieceBytes || runs.empty()) return {{0, size_bytes}};
    return runs;
  }

  // The bytes of the next file, which follow one another through what is read.
  Result<> write_content(const TarNode& file) {
    uint64_t at = 0;
    for (const DataRun& run : read_runs(file.size_bytes, file.runs)) {
      THAW_CHECK(write_hole(run.offset - at));
      THAW_CHECK(write_data(run.length));
      at = run.offset + run.length;
    }
    THAW_CHECK(write_hole(file.size_bytes - at));
    if (progress_ != nullptr) ++progress_->files_done;
    return {};
  }

  Result<> write_hole(uint64_t length) {
    if (progress_ != nullptr) progress_->bytes_done += length;
    return writer_->hole(length);
  }

  Result<> write_data(uint64_t left) {
    while (left > 0) {
      if (used_ == bytes_.size()) THAW_CHECK(take());
      const size_t taken = std::min<uint64_t>(left, bytes_.size() - used_);
      THAW_CHECK(writer_->data(bytes_.view().subspan(used_, taken)));
      used_ += taken;
      left -= taken;
      if (progress_ != nullptr) progress_->bytes_done += taken;
    }
    return {};
  }

  Result<> take() {
    while (!work_->full() && begin_more()) {
    }
    if (work_->empty()) return Error(Code::internal, "fewer files were read than there are");
    THAW_ASSIGN(bytes_, work_->take());
    used_ = 0;
    return {};
  }

  bool has_bytes(uint32_t number) const {
    const Node& node = tree().nodes[number];
    return node.is_file() && !node.is_link() && file_of(number).size_bytes > 0;
  }

  // False when everything is under way.
  bool begin_more() {
    Part part;
    while (next_run_ == runs_.size() && next_ < tree().nodes.size() &&
           part.nodes.size() < kRunFiles && part.length < kPieceBytes) {
      if (!has_bytes(next_)) {
        ++next_;
        continue;
      }
      const uint64_t size = file_of(next_).size_bytes;
      if (size <= kPieceBytes) {
        part.nodes.push_back(next_++);
        part.length += size;
        continue;
      }
      if (!part.nodes.empty()) break;
      large_ = next_++;
      runs_ = read_runs(size, runs_of(large_));
      next_run_ = 0;
      drop_empty_runs();
    }
    if (part.nodes.empty() && next_run_ < runs_.size()) part = next_large_part();
    if (part.nodes.empty()) return false;
    work_->begin(
        [this, part = std::move(part)](const Context& inner) { return read_part(inner, part); });
    return true;
  }

  void drop_empty_runs() {
    while (next_run_ < runs_.size() && runs_[next_run_].length == 0) ++next_run_;
  }

  // Precondition: there is a run that is not read yet.
  Part next_large_part() {
    DataRun& run = runs_[next_run_];
    Part part;
    part.nodes.push_back(large_);
    part.offset = run.offset;
    part.length = std::min(kPieceBytes, run.length);
    run = {run.offset + part.length, run.length - part.length};
    drop_empty_runs();
    return part;
  }

  Result<ByteVector> read_part(const Context& context, const Part& part) const {
    ByteVector bytes(part.length);
    size_t at = 0;
    for (const uint32_t node : part.nodes) {
      const FileRef file = file_of(node);
      const uint64_t length = std::min(file.size_bytes - part.offset, part.length - at);
      THAW_ASSIGN(const size_t n,
                  reader_->read_at(context, file, part.offset, bytes.span().subspan(at, length)));
      if (n != length) return Error(Code::internal, "a snapshot's file ends early");
      at += length;
    }
    return bytes;
  }

  const Context& context_;
  ObjectStore& store_;
  const ExportRequest& request_;
  ArchiveSink& sink_;
  Progress* const progress_;
  ChunkCache cache_;
  const KnownDamage damage_;
  std::shared_ptr<SnapshotReader> reader_;
  ExportReport report_;
  std::unique_ptr<TarWriter> writer_;
  InOrder<ByteVector>* work_ = nullptr;  // while the archive is written
  uint32_t next_ = 0;                    // the node to be read next
  uint32_t large_ = kNone;               // a large one before it
  std::vector<DataRun> runs_;            // of that, and which of them is not read yet
  size_t next_run_ = 0;
  ByteVector bytes_;  // at hand, and how far they are used
  size_t used_ = 0;
};

}  // namespace

Result<ExportReport> export_snapshot(const Context& context, ObjectStore& store,
                                     const ExportRequest& request, ArchiveSink& sink,
                                     Progress* progress) {
  auto report = Exporter(context, store, request, sink, progress).run();
  if (report) return report;
  const Context root;  // outlives its child
  const Context farewell = root.within(farewell_time(context));
  sink.abandon(farewell);
  return report;
}

}  // namespace thaw::archive
