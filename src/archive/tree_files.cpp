#include "archive/tree_files.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "base/beneath.h"
#include "base/fd.h"
#include "snapshot/image_kind.h"
#include "snapshot/xattrs.h"

namespace thaw::archive {
namespace {

// Small files up to here are read in runs of so much; larger ones in pieces of it. A thread reads a
// run in a millisecond or two.
constexpr uint64_t kPieceBytes = 1024 * 1024;
constexpr size_t kRunFiles = 256;
constexpr uint64_t kHoleBytes = 128 * 1024;  // shorter ones are zeros
constexpr int kAttempts = 3;

Error changed(const std::string& name) { return {Code::busy, name + " changed while it was read"}; }

// The runs of data, over holes that are worth it; one empty run at the end for a file without any.
std::vector<DataRun> data_runs(int fd, uint64_t size_bytes) {
  std::vector<DataRun> runs;
  uint64_t at = 0;
  while (at < size_bytes) {
    const off_t data = ::lseek(fd, static_cast<off_t>(at), SEEK_DATA);
    if (data < 0 || static_cast<uint64_t>(data) >= size_bytes) break;
    const off_t hole = ::lseek(fd, data, SEEK_HOLE);
    if (hole < 0) return {};
    const uint64_t begin = static_cast<uint64_t>(data);
    const uint64_t end = std::min(static_cast<uint64_t>(hole), size_bytes);
    if (!runs.empty() && begin - (runs.back().offset + runs.back().length) < kHoleBytes) {
      runs.back().length = end - runs.back().offset;
    } else {
      runs.push_back({begin, end - begin});
    }
    at = end;
  }
  if (runs.empty()) runs.push_back({size_bytes, 0});
  if (runs.size() == 1 && runs.front().offset == 0 && runs.front().length == size_bytes) return {};
  return runs;
}

}  // namespace

struct TreeFiles::Open {
  uint32_t node = 0;
  UniqueFd fd;
  struct stat status {};
  FileStat stat;
};

TreeFiles::TreeFiles(const Context& context, const Scan& scan, std::string root_name,
                     unsigned threads)
    : scan_(scan),
      root_name_(std::move(root_name)),
      work_(context, threads, size_t{4} * std::max(threads, 1U)) {
  for (uint32_t i = 0; i < scan.tree.nodes.size(); ++i) {
    if (scan.tree.nodes[i].is_file() && !scan.tree.nodes[i].is_link()) nodes_.push_back(i);
  }
}

TreeFiles::~TreeFiles() = default;

Result<std::optional<TreePiece>> TreeFiles::next(const Context& context) {
  THAW_CHECK(context.alive());
  while (!work_.full() && (large_ || next_node_ < nodes_.size())) THAW_CHECK(begin_more());
  if (work_.empty()) return std::optional<TreePiece>();
  THAW_ASSIGN(TreePiece piece, work_.take());
  return std::optional<TreePiece>(std::move(piece));
}

// The next run of small files, or piece of a large one.
Result<> TreeFiles::begin_more() {
  if (large_) {
    const std::shared_ptr<Open> file = large_;
    const Part part = next_part();
    if (part.last) large_.reset();
    work_.begin([this, file, part](const Context& inner) { return read_part(inner, file, part); });
    return {};
  }
  if (scan_.stats[nodes_[next_node_]].size_bytes > kPieceBytes) {
    const uint32_t node = nodes_[next_node_++];
    auto file = open(node);
    TreePiece begin;
    begin.files.emplace_back();
    begin.files.front().node = node;
    if (!file && file.error().code() == Code::not_found) {
      begin.files.front().gone = true;
    } else if (!file) {
      return std::move(file).error();
    } else {
      THAW_CHECK(describe(**file, begin.files.front()));
      begin.files.front().in_pieces = (*file)->stat.size_bytes > 0;
      if (begin.files.front().in_pieces) {
        large_ = *std::move(file);
        runs_ = begin.files.front().runs;
        if (runs_.empty()) runs_.push_back({0, large_->stat.size_bytes});
        next_run_ = 0;
        large_offset_ = 0;
      }
    }
    // Known already, and in its place among what is read.
    auto known = std::make_shared<TreePiece>(std::move(begin));
    work_.begin(
        [known](const Context& /*inner*/) -> Result<TreePiece> { return std::move(*known); });
    return {};
  }
  std::vector<uint32_t> run;
  uint64_t bytes = 0;
  while (next_node_ < nodes_.size() && run.size() < kRunFiles && bytes < kPieceBytes) {
    const uint64_t size = scan_.stats[nodes_[next_node_]].size_bytes;
    if (size > kPieceBytes) break;
    bytes += size;
    run.push_back(nodes_[next_node_++]);
  }
  work_.begin([this, run = std::move(run)](const Context& inner) { return read_run(inner, run); });
  return {};
}

TreeFiles::Part TreeFiles::next_part() {
  const uint64_t size = large_->stat.size_bytes;
  Part part;
  while (next_run_ < runs_.size()) {
    const DataRun& run = runs_[next_run_];
    const uint64_t end = run.offset + run.length;
    if (large_offset_ >= end) {
      ++next_run_;
      continue;
    }
    part.offset = std::max(large_offset_, run.offset);
    part.hole_bytes = part.offset - large_offset_;
    part.length = std::min(kPieceBytes, end - part.offset);
    large_offset_ = part.offset + part.length;
    part.last = large_offset_ == size;
    return part;
  }
  part.offset = size;
  part.hole_bytes = size - large_offset_;
  part.last = true;
  return part;
}

Result<std::shared_ptr<TreeFiles::Open>> TreeFiles::open(uint32_t node) const {
  auto file = std::make_shared<Open>();
  file->node = node;
  // O_NONBLOCK: a FIFO that took the file's place must not hold us up.
  auto opened =
      open_beneath(scan_.root.get(), scan_.tree.path(node), O_RDONLY | O_NONBLOCK | O_NOCTTY);
  // A link took its place, or that of a folder above it.
  if (!opened && opened.error().code() == Code::invalid) return changed(name_of(node));
  THAW_ASSIGN(file->fd, std::move(opened).within("read " + name_of(node)));
  if (::fstat(file->fd.get(), &file->status) != 0)
    return errno_error(errno, "stat " + name_of(node));
  if (!S_ISREG(file->status.st_mode)) return changed(name_of(node));
  file->stat = file_stat_of(file->status);
  return file;
}

Result<> TreeFiles::describe(const Open& file, TreeFile& into) const {
  into.node = file.node;
  into.mode = static_cast<uint16_t>(file.status.st_mode);
  into.owner = {file.status.st_uid, file.status.st_gid};
  into.mtime_ns = file.stat.mtime_ns;
  into.size_bytes = file.stat.size_bytes;
  if (has_holes(file.stat)) into.runs = data_runs(file.fd.get(), file.stat.size_bytes);
  THAW_ASSIGN(into.xattrs, read_xattrs(file.fd.get(), name_of(file.node)));
  return {};
}

Result<TreePiece> TreeFiles::read_run(const Context& context,
                                      const std::vector<uint32_t>& nodes) const {
  TreePiece piece;
  uint64_t bytes = 1;
  for (const uint32_t node : nodes) bytes += scan_.stats[node].size_bytes;
  piece.bytes.reserve(bytes);
  for (const uint32_t node : nodes) {
    bool done = false;
    for (int attempt = 0; attempt < kAttempts && !done; ++attempt) {
      THAW_CHECK(context.alive());
      THAW_ASSIGN(done, read_small(node, piece));
    }
    if (!done) return changed(name_of(node));
  }
  return piece;
}

// False when it changed meanwhile.
Result<bool> TreeFiles::read_small(uint32_t node, TreePiece& piece) const {
  auto opened = open(node);
  if (!opened && opened.error().code() == Code::not_found) {
    piece.files.emplace_back();
    piece.files.back().node = node;
    piece.files.back().gone = true;
    return true;
  }
  if (!opened && opened.error().code() == Code::busy) return false;
  if (!opened) return std::move(opened).error();
  const Open& file = **opened;
  // It has grown since it was listed; a put of what grows has no good end.
  if (file.stat.size_bytes > 2 * kPieceBytes) return false;
  const size_t offset = piece.bytes.size();
  // One byte more than it should have, to see it grow.
  piece.bytes.resize(offset + file.stat.size_bytes + 1);
  THAW_ASSIGN(const size_t n,
              pread_up_to(file.fd.get(), piece.bytes.span().subspan(offset), 0, name_of(node)));
  struct stat after {};
  const bool same = n == file.stat.size_bytes && ::fstat(file.fd.get(), &after) == 0 &&
                    file_stat_of(after).same_version(file.stat);
  piece.bytes.resize(offset + (same ? n : 0));
  if (!same) return false;
  TreeFile read;
  THAW_CHECK(describe(file, read));
  read.offset = offset;
  piece.files.push_back(std::move(read));
  return true;
}

Result<TreePiece> TreeFiles::read_part(const Context& context, const std::shared_ptr<Open>& file,
                                       const Part& part) const {
  THAW_CHECK(context.alive());
  TreePiece piece;
  piece.hole_bytes = part.hole_bytes;
  piece.bytes.resize(part.length);
  piece.last = part.last;
  const std::string name = name_of(file->node);
  THAW_ASSIGN(const size_t n, pread_up_to(file->fd.get(), piece.bytes.span(), part.offset, name));
  struct stat after {};
  if (n != part.length || ::fstat(file->fd.get(), &after) != 0 ||
      !file_stat_of(after).same_version(file->stat)) {
    return changed(name);
  }
  return piece;
}

}  // namespace thaw::archive
