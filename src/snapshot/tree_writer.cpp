#include "snapshot/tree_writer.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <memory>
#include <numeric>
#include <utility>

#include "base/beneath.h"
#include "base/task_group.h"
#include "snapshot/fetch.h"
#include "snapshot/xattrs.h"

namespace thaw {
namespace {

// Folders and special files are handed to threads in runs of this many.
constexpr size_t kRunNodes = 512;

// A name in a folder for the *at() calls: as it is where it is short enough, else from the folder
// that holds it.
class At {
 public:
  static Result<At> of(int root, const std::string& path) {
    At at;
    at.fd_ = root;
    at.name_ = path;
    if (path.size() < PATH_MAX - 64) return at;
    THAW_ASSIGN(ParentAndName parent, open_parent_beneath(root, path));
    at.owner_ = std::move(parent.folder);
    at.fd_ = at.owner_.get();
    at.name_ = std::move(parent.name);
    return at;
  }
  int fd() const { return fd_; }
  const char* name() const { return name_.c_str(); }
  const std::string& text() const { return name_; }

 private:
  UniqueFd owner_;
  int fd_ = -1;
  std::string name_;
};

}  // namespace

uint32_t process_umask() {
  const auto status = read_file("/proc/self/status", 64 * 1024);
  if (!status) return 0777;
  const std::string_view text = as_text(status->view());
  const size_t at = text.find("Umask:\t");
  if (at == std::string_view::npos) return 0777;
  return static_cast<uint32_t>(
      std::strtoul(std::string(text.substr(at + 7, 8)).c_str(), nullptr, 8));
}

TreeWriter::TreeWriter(const Manifest& manifest, int folder, Naming naming, WriteOptions options)
    : manifest_(manifest),
      folder_(folder),
      naming_(naming),
      options_(std::move(options)),
      umask_(process_umask()),
      made_(naming == Naming::tree ? manifest.tree.nodes.size() : 0) {
  if (!made_.empty()) made_[0] = 1;
}

Result<TreeWriter::Place> TreeWriter::Cursor::place_of(uint32_t node) {
  if (writer_.naming_ == Naming::flat) return Place{writer_.folder_, std::to_string(node)};
  const Tree& tree = writer_.manifest_.tree;
  const uint32_t parent = tree.nodes[node].parent;
  if (parent == 0) return Place{writer_.folder_, std::string(tree.name(node))};
  if (parent != parent_) {
    parent_ = kNone;
    THAW_CHECK(writer_.make_folder(parent));
    const std::string path = tree.path(parent);
    THAW_ASSIGN(const At at, At::of(writer_.folder_, path));
    THAW_ASSIGN(fd_, open_at(at.fd(), at.text(), O_PATH | O_DIRECTORY | O_NOFOLLOW));
    parent_ = parent;
  }
  return Place{fd_.get(), std::string(tree.name(node))};
}

// Parents first; another thread may be at the same ones.
Result<> TreeWriter::make_folder(uint32_t node) {
  const Tree& tree = manifest_.tree;
  std::vector<uint32_t> missing;
  for (uint32_t at = node; made_[at] == 0; at = tree.nodes[at].parent) missing.push_back(at);
  for (; !missing.empty(); missing.pop_back()) {
    const std::string path = tree.path(missing.back());
    THAW_ASSIGN(const At at, At::of(folder_, path));
    // Its own mode comes last: it may forbid what is yet to be written into it.
    if (::mkdirat(at.fd(), at.name(), 0700) != 0 && errno != EEXIST) {
      return errno_error(errno, "create " + path);
    }
    made_[missing.back()] = 1;
  }
  return {};
}

// For messages, and with Naming::tree for paths.
std::string TreeWriter::name_of(uint32_t number) const { return manifest_.tree.path(number); }

// A message names the file that is wanted, whatever it is called in a stage.
Result<UniqueFd> TreeWriter::open_for(uint32_t number, const Place& place, int flags,
                                      mode_t mode) const {
  while (true) {
    const int fd = ::openat(place.folder, place.name.c_str(), flags | O_NOFOLLOW | O_CLOEXEC, mode);
    if (fd >= 0) return UniqueFd(fd);
    if (errno != EINTR) return errno_error(errno, "create " + name_of(number));
  }
}

void TreeWriter::count_written(uint64_t bytes) {
  ++written_;
  if (options_.progress == nullptr) return;
  ++options_.progress->files_done;
  options_.progress->bytes_done += bytes;
}

void TreeWriter::record(uint32_t node, const struct stat& status) {
  const std::lock_guard lock(mutex_);
  stats_.push_back({node, file_stat_of(status)});
}

Result<WriteTotals> TreeWriter::write(const Context& context, ObjectStore& store,
                                      const std::vector<uint8_t>& nodes) {
  const Tree& tree = manifest_.tree;
  std::vector<uint8_t> wanted(tree.contents.size(), 0);
  node_begin_.assign(tree.contents.size() + 1, 0);
  auto has_content = [&](uint32_t i) {
    return nodes[i] != 0 && tree.nodes[i].is_file() && !tree.nodes[i].is_link();
  };
  for (uint32_t i = 0; i < tree.nodes.size(); ++i) {
    if (!has_content(i)) continue;
    wanted[tree.nodes[i].payload] = 1;
    ++node_begin_[tree.nodes[i].payload + 1];
  }
  std::partial_sum(node_begin_.begin(), node_begin_.end(), node_begin_.begin());
  nodes_of_content_.resize(node_begin_.back());
  std::vector<uint32_t> next(node_begin_.begin(), node_begin_.end() - 1);
  for (uint32_t i = 0; i < tree.nodes.size(); ++i) {
    if (has_content(i)) nodes_of_content_[next[tree.nodes[i].payload]++] = i;
  }
  pending_.resize(tree.contents.size());
  for (uint32_t i = 0; i < tree.contents.size(); ++i) {
    const auto extents = manifest_.layout.extents_of(i);
    const bool simple = extents.empty() ||
                        (extents.size() == 1 && extents[0].length == tree.contents[i].size_bytes);
    if (wanted[i] == 0 || simple) continue;
    pending_[i] = std::make_unique<PendingFile>();
    pending_[i]->extents_left = static_cast<uint32_t>(extents.size());
  }
  if (options_.record_stats) stats_.reserve(nodes_of_content_.size());

  const FetchPlan plan(manifest_, wanted, joining_for(options_.distance));
  plan_ = &plan;
  const KnownDamage damage(options_.damage_dir);
  THAW_CHECK(fetch_chunks(context, store, manifest_, plan, transfer_limits(options_.distance),
                          options_.threads, damage,
                          [this](const Context& inner, uint32_t chunk, Bytes content) {
                            return write_chunk(inner, chunk, content);
                          }));
  THAW_CHECK(make_missing_folders(context, nodes));
  THAW_CHECK(make_empty_and_special(context, nodes));
  THAW_CHECK(make_links(context, nodes));
  if (naming_ == Naming::tree) THAW_CHECK(finish_folders(context, nodes));
  plan_ = nullptr;
  return WriteTotals{plan.fetched_bytes(), plan.ranges().size(), written_, attributes_skipped_};
}

// Those that no file of a chunk lies in.
Result<> TreeWriter::make_missing_folders(const Context& context,
                                          const std::vector<uint8_t>& nodes) {
  if (naming_ == Naming::flat) return {};
  for (uint32_t i = 1; i < nodes.size(); ++i) {
    if (nodes[i] == 0 || !manifest_.tree.nodes[i].is_dir() || made_[i] != 0) continue;
    THAW_CHECK(context.alive());
    THAW_CHECK(make_folder(i));
  }
  return {};
}

Result<> TreeWriter::write_chunk(const Context& context, uint32_t chunk, Bytes content) {
  Cursor cursor(*this);
  for (const ChunkUse& use : plan_->uses(chunk)) {
    const Bytes bytes = content.subspan(use.extent.chunk_offset, use.extent.length);
    for (uint32_t k = node_begin_[use.content]; k < node_begin_[use.content + 1]; ++k) {
      THAW_CHECK(context.alive());  // one chunk may make up a hundred thousand small files
      const uint32_t node = nodes_of_content_[k];
      if (pending_[use.content] == nullptr) {
        THAW_CHECK(write_small(cursor, node, bytes));
      } else {
        THAW_CHECK(write_part(cursor, node, use.extent, bytes));
      }
    }
    if (pending_[use.content] != nullptr && pending_[use.content]->extents_left.fetch_sub(1) == 1) {
      THAW_CHECK(finish_parts(cursor, use.content));
    }
  }
  return {};
}

// All of a content's extents are written, to each file that has it.
Result<> TreeWriter::finish_parts(Cursor& cursor, uint32_t content) {
  for (uint32_t k = node_begin_[content]; k < node_begin_[content + 1]; ++k) {
    const uint32_t node = nodes_of_content_[k];
    THAW_ASSIGN(const Place place, cursor.place_of(node));
    THAW_ASSIGN(const UniqueFd fd, open_for(node, place, O_WRONLY));
    const auto size = static_cast<off_t>(manifest_.tree.contents[content].size_bytes);
    if (::ftruncate(fd.get(), size) != 0) return errno_error(errno, "extend " + name_of(node));
    THAW_CHECK(finish_file(node, fd.get(), false));
  }
  return {};
}

// A file whose bytes are all at hand.
Result<> TreeWriter::write_small(Cursor& cursor, uint32_t number, Bytes bytes) {
  const Node& node = manifest_.tree.nodes[number];
  THAW_ASSIGN(const Place place, cursor.place_of(number));
  const uint32_t permissions = node.mode & 07777U;
  THAW_ASSIGN(const UniqueFd fd,
              open_for(number, place, O_WRONLY | O_CREAT | O_EXCL, permissions & 0777));
  // The whole path is only made where it is to be said.
  const auto written = write_all(fd.get(), bytes, std::string(manifest_.tree.name(node)));
  if (!written) return Error(written.error()).within(name_of(number));
  const bool mode_is_set = (permissions & (umask_ | 07000U)) == 0;
  return finish_file(number, fd.get(), mode_is_set);
}

// One run of a file that several chunks make up; whichever comes first creates it.
Result<> TreeWriter::write_part(Cursor& cursor, uint32_t number, const Extent& extent,
                                Bytes bytes) {
  THAW_ASSIGN(const Place place, cursor.place_of(number));
  THAW_ASSIGN(const UniqueFd fd, open_for(number, place, O_WRONLY | O_CREAT, 0600));
  THAW_CHECK(pwrite_all(fd.get(), bytes, extent.file_offset, name_of(number)));
  if (options_.progress != nullptr) options_.progress->bytes_done += bytes.size();
  return {};
}

Result<> TreeWriter::finish_file(uint32_t number, int fd, bool mode_is_set) {
  const Tree& tree = manifest_.tree;
  const Node& node = tree.nodes[number];
  AttributeOptions options{options_.owners, options_.xattrs, true, mode_is_set};
  // The whole path is only made where it is to be said.
  const auto skipped = set_attributes(fd, tree, node, options, std::string(tree.name(node)));
  if (!skipped) return Error(skipped.error()).within(name_of(number));
  attributes_skipped_ += *skipped;
  const uint64_t size = tree.contents[node.payload].size_bytes;
  count_written(pending_[node.payload] == nullptr ? size : 0);
  if (!options_.record_stats) return {};
  struct stat status {};
  if (::fstat(fd, &status) != 0) return errno_error(errno, "stat " + name_of(number));
  record(number, status);
  return {};
}

Result<> TreeWriter::make_empty_and_special(const Context& context,
                                            const std::vector<uint8_t>& nodes) {
  const Tree& tree = manifest_.tree;
  Cursor cursor(*this);
  for (uint32_t i = 1; i < tree.nodes.size(); ++i) {
    if (nodes[i] == 0) continue;
    const Node& node = tree.nodes[i];
    if (node.is_link() || node.is_dir()) continue;
    THAW_CHECK(context.alive());
    if (!node.is_file()) {
      THAW_CHECK(make_special(cursor, i));
    } else if (tree.contents[node.payload].size_bytes == 0) {
      THAW_CHECK(write_small(cursor, i, {}));
    } else if (manifest_.layout.extents_of(node.payload).empty()) {
      THAW_CHECK(make_hole(cursor, i));
    }
  }
  return {};
}

// A file that is nothing but a hole.
Result<> TreeWriter::make_hole(Cursor& cursor, uint32_t number) {
  THAW_ASSIGN(const Place place, cursor.place_of(number));
  THAW_ASSIGN(const UniqueFd fd, open_for(number, place, O_WRONLY | O_CREAT | O_EXCL, 0600));
  const Tree& tree = manifest_.tree;
  const auto size = static_cast<off_t>(tree.contents[tree.nodes[number].payload].size_bytes);
  if (::ftruncate(fd.get(), size) != 0) return errno_error(errno, "extend " + name_of(number));
  return finish_file(number, fd.get(), false);
}

Result<> TreeWriter::make_special(Cursor& cursor, uint32_t number) {
  const Tree& tree = manifest_.tree;
  const Node& node = tree.nodes[number];
  const std::string name = name_of(number);
  THAW_ASSIGN(const Place place, cursor.place_of(number));
  int made = 0;
  if (node.is_symlink()) {
    made = ::symlinkat(tree.targets[node.payload].c_str(), place.folder, place.name.c_str());
  } else {
    dev_t device = 0;
    if (node.is_device()) {
      device = gnu_dev_makedev(tree.devices[node.payload].major, tree.devices[node.payload].minor);
    }
    made = ::mknodat(place.folder, place.name.c_str(), (node.mode & S_IFMT) | 0600U, device);
    if (made != 0 && errno == EPERM && node.is_device()) {
      // Devices are root's to make; without them the tree is of use all the same.
      ++attributes_skipped_;
      return {};
    }
  }
  if (made != 0) return errno_error(errno, "create " + name);
  THAW_ASSIGN(const uint64_t skipped,
              set_attributes_of_link(place.folder, place.name, tree, node,
                                     {options_.owners, options_.xattrs, true, false}));
  attributes_skipped_ += skipped;
  count_written(0);
  return {};
}

Result<> TreeWriter::make_links(const Context& context, const std::vector<uint8_t>& nodes) {
  const Tree& tree = manifest_.tree;
  std::vector<uint8_t> linked(tree.nodes.size(), 0);
  for (uint32_t i = 1; i < tree.nodes.size(); ++i) {
    const Node& node = tree.nodes[i];
    // In flat naming the first name may be in place elsewhere: whoever moves the nodes links them
    // then.
    if (nodes[i] == 0 || !node.is_link() || naming_ == Naming::flat) continue;
    THAW_CHECK(context.alive());
    const std::string name = name_of(i);
    THAW_ASSIGN(const At from, At::of(folder_, name_of(node.link_to)));
    THAW_ASSIGN(const At to, At::of(folder_, name));
    if (::linkat(from.fd(), from.name(), to.fd(), to.name(), 0) != 0) {
      if (errno == ENOENT && node.is_device()) continue;  // the device itself could not be made
      return errno_error(errno, "link " + name);
    }
    linked[node.link_to] = 1;
    count_written(0);
  }
  return record_linked_anew(linked);
}

// A further link changes the inode's ctime.
Result<> TreeWriter::record_linked_anew(const std::vector<uint8_t>& linked) {
  for (Written& written : stats_) {
    if (linked[written.node] == 0) continue;
    const std::string name = name_of(written.node);
    THAW_ASSIGN(const At at, At::of(folder_, name));
    struct stat status {};
    if (::fstatat(at.fd(), at.name(), &status, AT_SYMLINK_NOFOLLOW) != 0)
      return errno_error(errno, "stat " + name);
    written.stat = file_stat_of(status);
  }
  return {};
}

Result<> TreeWriter::finish_folders(const Context& context, const std::vector<uint8_t>& nodes) {
  const Tree& tree = manifest_.tree;
  std::vector<uint32_t> folders;
  for (uint32_t i = 0; i < tree.nodes.size(); ++i) {
    if (nodes[i] != 0 && tree.nodes[i].is_dir()) folders.push_back(i);
  }
  // Deepest first, for a folder whose mode forbids looking into it.
  std::reverse(folders.begin(), folders.end());
  auto finish = [&](uint32_t number) -> Result<> {
    const Node& node = tree.nodes[number];
    const std::string name = name_of(number);
    THAW_ASSIGN(const UniqueFd fd, open_beneath(folder_, name, O_RDONLY | O_DIRECTORY));
    AttributeOptions options{options_.owners, options_.xattrs, true, (node.mode & 07777U) == 0700U};
    THAW_ASSIGN(const uint64_t skipped, set_attributes(fd.get(), tree, node, options, "/" + name));
    attributes_skipped_ += skipped;
    ++written_;
    return {};
  };
  // Parents of unusual modes wait until all others are done.
  std::vector<uint32_t> last;
  const size_t runs = (folders.size() + kRunNodes - 1) / kRunNodes;
  std::mutex mutex;
  THAW_CHECK(parallel_for(
      context, options_.threads, runs, [&](const Context& inner, unsigned, size_t run) -> Result<> {
        for (size_t i = run * kRunNodes; i < std::min((run + 1) * kRunNodes, folders.size()); ++i) {
          if ((tree.nodes[folders[i]].mode & 0500U) != 0500U) {
            const std::lock_guard lock(mutex);
            last.push_back(folders[i]);
            continue;
          }
          THAW_CHECK(finish(folders[i]));
        }
        return inner.alive();
      }));
  std::sort(last.rbegin(), last.rend());
  for (const uint32_t number : last) THAW_CHECK(finish(number));
  return {};
}

}  // namespace thaw
