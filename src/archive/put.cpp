#include "archive/put.h"

#include <algorithm>
#include <memory>
#include <utility>

#include "archive/tar_writer.h"
#include "archive/tree_files.h"
#include "base/log.h"
#include "snapshot/scan.h"
#include "snapshot/transfer.h"

namespace thaw::archive {
namespace {

// What an archive takes for a name beside its content, compressed, is less than this.
constexpr uint64_t kMostNameBytes = 2048;

TreeTotals totals_of_scan(const Scan& scan) {
  TreeTotals totals;
  for (uint32_t i = 0; i < scan.tree.nodes.size(); ++i) {
    const Node& node = scan.tree.nodes[i];
    ++(node.is_dir() ? totals.dirs : node.is_file() ? totals.files : totals.others);
    if (node.is_file() && !node.is_link()) totals.bytes += scan.stats[i].size_bytes;
  }
  return totals;
}

class Putter {
 public:
  Putter(const Context& context, const PutRequest& request, ArchiveSink& sink, Progress* progress)
      : context_(context), request_(request), sink_(sink), progress_(progress) {}

  Result<PutReport> run() {
    step("scanning");
    THAW_CHECK(scan());
    THAW_ASSIGN(previous_, sink_.previous());
    report_.previous_bytes = previous_ ? previous_->size_bytes : 0;
    if (refused_by_listing()) return report_;
    step("packing", report_.totals.bytes, report_.totals.files);
    THAW_CHECK(write_archive());
    // All that was in it may have vanished since it was listed.
    if (report_.vanished > 0 && request_.policy.judge(report_.totals, std::nullopt, 0)) {
      report_.outcome = PutOutcome::refused_empty;
      return report_;
    }
    if (judge_size(request_.policy, report_.stored_bytes, request_.format, previous_)) {
      report_.outcome = PutOutcome::refused_shrunken;
      return report_;
    }
    step("publishing");
    THAW_CHECK(sink_.finish());
    return report_;
  }

 private:
  void step(const char* name, uint64_t bytes = 0, uint64_t files = 0) {
    if (progress_ != nullptr) progress_->begin(name, bytes, files);
  }

  Result<> scan() {
    ScanOptions options;
    options.exclude = Globs(request_.exclude);
    options.skip = request_.skip;
    for (std::string& path : sink_.own_paths()) options.skip.push_back(std::move(path));
    options.threads = request_.threads;
    THAW_ASSIGN(scan_, scan_tree(context_, request_.path, options));
    report_.totals = totals_of_scan(scan_);
    report_.sockets_skipped = scan_.sockets_skipped;
    report_.skipped = scan_.skipped;
    gone_.assign(scan_.tree.nodes.size(), 0);
    return {};
  }

  // Before a byte is sent: an empty tree, and one whose archive cannot come near the old one.
  bool refused_by_listing() {
    const auto verdict = request_.policy.judge(report_.totals, std::nullopt, 0);
    if (verdict) {
      report_.outcome = PutOutcome::refused_empty;
      return true;
    }
    const uint64_t most = report_.totals.bytes + kMostNameBytes * scan_.tree.nodes.size();
    if (judge_size(request_.policy, most, request_.format, previous_)) {
      report_.outcome = PutOutcome::refused_shrunken;
      return true;
    }
    return false;
  }

  Result<> write_archive() {
    THAW_ASSIGN(const auto compressor, make_compressor(context_, request_.format, request_.level,
                                                       request_.threads, [this](Bytes bytes) {
                                                         report_.stored_bytes += bytes.size();
                                                         return sink_.append(bytes);
                                                       }));
    THAW_ASSIGN(writer_,
                TarWriter::open([&compressor](Bytes bytes) { return compressor->append(bytes); }));
    TreeFiles files(context_, scan_, request_.path, request_.threads);
    files_ = &files;
    for (uint32_t i = 0; i < scan_.tree.nodes.size(); ++i) {
      THAW_CHECK(context_.alive());
      const Node& node = scan_.tree.nodes[i];
      THAW_CHECK(node.is_file() && !node.is_link() ? write_file(i) : write_other(i));
    }
    THAW_CHECK(writer_->finish());
    THAW_CHECK(compressor->finish());
    if (report_.vanished > 0)
      log::warn("{} files vanished while {} was being read", report_.vanished, request_.path);
    return {};
  }

  std::string name_of(uint32_t node) const {
    const std::string path = scan_.tree.path(node);
    if (request_.prefix.empty()) return path.empty() ? "." : path;
    return path.empty() ? request_.prefix : request_.prefix + "/" + path;
  }

  // Folders, links, special files.
  Result<> write_other(uint32_t number) {
    const Tree& tree = scan_.tree;
    const Node& node = tree.nodes[number];
    TarNode out;
    out.name = name_of(number);
    out.mode = node.mode;
    out.owner = node.owner;
    out.mtime_ns = node.mtime_ns;
    if (node.xattrs != kNone) out.xattrs = &tree.xattr_sets[node.xattrs];
    if (node.is_link()) {
      if (gone_[node.link_to] != 0) {
        return Error(Code::busy, request_.path + "/" + tree.path(node.link_to) +
                                     " vanished while it was being read");
      }
      out.hard_link = true;
      out.link_to = name_of(node.link_to);
    } else if (node.is_symlink()) {
      out.link_to = tree.targets[node.payload];
    } else if (node.is_device()) {
      out.device = tree.devices[node.payload];
    }
    return writer_->begin(out);
  }

  Result<> write_file(uint32_t number) {
    if (next_file_ == piece_.files.size()) THAW_CHECK(take_piece());
    const TreeFile file = std::move(piece_.files.at(next_file_++));
    if (file.node != number) return Error(Code::internal, "files were read out of order");
    if (file.gone) {
      gone_[number] = 1;
      ++report_.vanished;
      --report_.totals.files;
      return {};
    }
    TarNode out;
    out.name = name_of(number);
    out.mode = file.mode;
    out.owner = file.owner;
    out.mtime_ns = file.mtime_ns;
    out.xattrs = file.xattrs.empty() ? nullptr : &file.xattrs;
    out.size_bytes = file.size_bytes;
    out.runs = file.runs;
    THAW_CHECK(writer_->begin(out));
    if (!file.in_pieces) {
      THAW_CHECK(writer_->data(piece_.bytes.view().subspan(file.offset, file.size_bytes)));
      count(file.size_bytes);
    } else {
      do {
        THAW_CHECK(take_piece());
        THAW_CHECK(writer_->hole(piece_.hole_bytes));
        THAW_CHECK(writer_->data(piece_.bytes.view()));
        count(piece_.hole_bytes + piece_.bytes.size());
      } while (!piece_.last);
    }
    if (progress_ != nullptr) ++progress_->files_done;
    return {};
  }

  Result<> take_piece() {
    THAW_ASSIGN(auto piece, files_->next(context_));
    if (!piece) return Error(Code::internal, "fewer files were read than listed");
    piece_ = *std::move(piece);
    next_file_ = 0;
    return {};
  }

  void count(uint64_t bytes) {
    if (progress_ != nullptr) progress_->bytes_done += bytes;
  }

  const Context& context_;
  const PutRequest& request_;
  ArchiveSink& sink_;
  Progress* const progress_;
  PutReport report_;
  Scan scan_;
  std::optional<Previous> previous_;
  std::vector<uint8_t> gone_;  // per node
  std::unique_ptr<TarWriter> writer_;
  TreeFiles* files_ = nullptr;  // while the archive is written
  TreePiece piece_;             // the one at hand
  size_t next_file_ = 0;
};

}  // namespace

std::optional<Refused> judge_size(const Policy& policy, uint64_t stored_bytes, Format format,
                                  const std::optional<Previous>& previous) {
  if (!previous || previous->compression != compression_of(format)) return std::nullopt;
  // Only sizes are compared: that there is something was judged by the tree itself.
  TreeTotals now;
  now.files = 1;
  now.bytes = stored_bytes;
  TreeTotals before;
  before.files = 1;
  before.bytes = previous->size_bytes;
  return policy.judge(now, before, 0);
}

Result<PutReport> put(const Context& context, const PutRequest& request, ArchiveSink& sink,
                      Progress* progress) {
  auto report = Putter(context, request, sink, progress).run().within("archive " + request.path);
  if (report && report->outcome == PutOutcome::put) return report;
  const Context root;  // outlives its child
  const Context farewell = root.within(farewell_time(context));
  sink.abandon(farewell);
  return report;
}

}  // namespace thaw::archive
