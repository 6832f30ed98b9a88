#include "archive/disk_tree.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <utility>

#include "base/beneath.h"
#include "snapshot/tree_writer.h"

namespace thaw::archive {
namespace {

// Files up to here are gathered into batches, larger ones are written in pieces of it. Creating a
// file costs as much as writing 20 KiB, so a batch of a MiB or 256 files keeps a thread busy for a
// few milliseconds, long against handing it over.
constexpr size_t kPieceBytes = 1024 * 1024;
constexpr size_t kBatchFiles = 256;
// What attributes of folders, which wait for the end, take beside their bytes.
constexpr size_t kSetBytes = 64;
constexpr size_t kAttributeBytes = 96;

Error collision(const std::string& path) {
  return {Code::corrupt, path +
                             " cannot be made: to this filesystem another name of the archive "
                             "is the same"};
}

size_t bytes_of(const XattrSet& xattrs) {
  size_t bytes = 0;
  for (const Xattr& xattr : xattrs) bytes += xattr.name.size() + xattr.value.size();
  return bytes;
}

// What the node says besides its content; xattrs go into the tree's sets.
Node node_of(const TarEntry& entry, Tree& tree) {
  Node node;
  node.mode = static_cast<uint16_t>(entry.mode);
  node.owner = entry.owner;
  node.mtime_ns = entry.mtime_ns;
  if (!entry.xattrs.empty()) {
    node.xattrs = static_cast<uint32_t>(tree.xattr_sets.size());
    tree.xattr_sets.push_back(entry.xattrs);
  }
  return node;
}

}  // namespace

// Small files on their way to a thread, which reads nothing of the table of names.
struct DiskTree::Batch {
  struct File {
    uint32_t folder_id;
    uint32_t path;  // of the folder, into paths
    std::string name;
    size_t offset;
    size_t size;
  };
  std::vector<File> files;  // beside tree.nodes
  std::vector<std::string> paths;
  uint32_t last_folder = kNone;
  Tree tree;
  ByteVector bytes;
  size_t xattr_bytes = 0;
};

// A file whose pieces several threads write; who ends the last one completes it.
struct DiskTree::LargeFile {
  UniqueFd fd;
  Tree tree;  // of the one node
  std::string path;
  uint64_t size_bytes = 0;
  std::atomic<uint32_t> holders{1};
};

DiskTree::DiskTree(const Context& context, const NameTable& names, MetadataBudget& budget,
                   int folder, DiskTreeOptions options)
    : names_(names),
      budget_(budget),
      folder_(folder),
      options_(options),
      umask_(process_umask()),
      batch_(std::make_unique<Batch>()),
      group_(context, std::max(options.threads, 1U), std::max(options.threads, 1U)) {}

DiskTree::~DiskTree() { group_.stop_and_join(); }

Result<int> DiskTree::open_folder(Place& place, uint32_t folder_id, const std::string& path) const {
  if (folder_id == 0) return folder_;
  if (place.folder_id != folder_id) {
    place.folder_id = kNone;
    THAW_ASSIGN(place.fd, open_beneath(folder_, path, O_PATH | O_DIRECTORY));
    place.folder_id = folder_id;
  }
  return place.fd.get();
}

Result<int> DiskTree::open_parent(uint32_t id) {
  const uint32_t parent = names_.parent(id);
  if (parent == place_.folder_id && place_.fd.valid()) return place_.fd.get();
  return open_folder(place_, parent, parent == 0 ? "" : names_.path(parent));
}

Result<> DiskTree::folder(const Context& /*context*/, uint32_t id, const TarEntry* entry) {
  const bool known = id == 0 || folder_nodes_.count(id) != 0;
  if (!known) {
    THAW_ASSIGN(const int parent, open_parent(id));
    // Its own mode comes last: it may forbid what is yet to be written into it.
    if (::mkdirat(parent, std::string(names_.name(id)).c_str(), 0700) != 0) {
      if (errno == EEXIST) return collision(names_.path(id));
      return errno_error(errno, "create " + names_.path(id));
    }
    ++written_;
  }
  if (entry == nullptr) {
    folder_nodes_[id] = kNone;
    return {};
  }
  if (!entry->xattrs.empty()) {
    const size_t beside = kSetBytes + entry->xattrs.size() * kAttributeBytes;
    THAW_CHECK(budget_.take_text(bytes_of(entry->xattrs) + beside));
  }
  folder_nodes_[id] = static_cast<uint32_t>(folders_.nodes.size());
  folders_.nodes.push_back(node_of(*entry, folders_));
  return {};
}

Result<> DiskTree::file(const Context& context, uint32_t id, const TarEntry& entry,
                        TarReader& reader) {
  const bool small = entry.size_bytes <= kPieceBytes && !entry.sparse;
  if (small) return add_small(context, id, entry, reader);
  return write_large(context, id, entry, reader);
}

Result<> DiskTree::add_small(const Context& /*context*/, uint32_t id, const TarEntry& entry,
                             TarReader& reader) {
  Batch& batch = *batch_;
  const uint32_t parent = names_.parent(id);
  if (batch.last_folder != parent || batch.paths.empty()) {
    batch.paths.push_back(parent == 0 ? "" : names_.path(parent));
    batch.last_folder = parent;
  }
  const size_t offset = batch.bytes.size();
  batch.bytes.resize(offset + entry.size_bytes);
  THAW_CHECK(read_whole(reader, batch.bytes.span().subspan(offset)));
  batch.tree.nodes.push_back(node_of(entry, batch.tree));
  batch.xattr_bytes += bytes_of(entry.xattrs);
  batch.files.push_back({parent, static_cast<uint32_t>(batch.paths.size() - 1),
                         std::string(names_.name(id)), offset, entry.size_bytes});
  const bool full = batch.bytes.size() + batch.xattr_bytes >= kPieceBytes;
  if (!full && batch.files.size() < kBatchFiles) return {};
  return submit_batch();
}

Result<> DiskTree::submit_batch() {
  if (batch_->files.empty()) return {};
  std::shared_ptr<Batch> batch = std::exchange(batch_, std::make_unique<Batch>());
  submit([this, batch](const Context& inner) { return write_batch(inner, *batch); });
  // Whoever reads on after a failure reads for nothing.
  if (auto failure = group_.failure()) return *std::move(failure);
  return {};
}

void DiskTree::submit(TaskGroup::Task task) {
  {
    const std::lock_guard lock(mutex_);
    ++pending_;
  }
  group_.submit([this, task = std::move(task)](const Context& inner) {
    auto done = task(inner);
    {
      const std::lock_guard lock(mutex_);
      --pending_;
    }
    done_.notify_all();
    return done;
  });
}

Result<> DiskTree::drain(const Context& context) {
  THAW_CHECK(submit_batch());
  std::unique_lock lock(mutex_);
  while (pending_ != 0) {
    if (auto failure = group_.failure()) return *std::move(failure);
    THAW_CHECK(context.alive());
    // Neither a failure nor a stop flag signals the condition.
    done_.wait_for(lock, std::chrono::milliseconds(20));
  }
  lock.unlock();
  if (auto failure = group_.failure()) return *std::move(failure);
  return {};
}

Result<> DiskTree::set_attributes_of(int fd, const Tree& tree, const Node& node, bool mode_is_set,
                                     const std::string& name) {
  const AttributeOptions how{options_.owners, options_.xattrs, true, mode_is_set};
  THAW_ASSIGN(const uint64_t skipped, set_attributes(fd, tree, node, how, name));
  attributes_skipped_ += skipped;
  return {};
}

Result<> DiskTree::write_batch(const Context& context, const Batch& batch) {
  Place place;
  for (size_t i = 0; i < batch.files.size(); ++i) {
    THAW_CHECK(context.alive());
    const Batch::File& file = batch.files[i];
    const Node& node = batch.tree.nodes[i];
    const std::string& path = batch.paths[file.path];
    // The whole path is only made where it is to be said.
    const auto named = [&] { return path.empty() ? file.name : path + "/" + file.name; };
    THAW_ASSIGN(const int folder, open_folder(place, file.folder_id, path));
    const uint32_t permissions = node.mode & 07777U;
    const int flags = O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC;
    const UniqueFd fd(::openat(folder, file.name.c_str(), flags, permissions & 0777U));
    if (!fd.valid()) {
      if (errno == EEXIST) return collision(named());
      return errno_error(errno, "create").within("entry " + named());
    }
    auto done = write_all(fd.get(), batch.bytes.view().subspan(file.offset, file.size), file.name);
    const bool mode_is_set = (permissions & (umask_ | 07000U)) == 0;
    if (done) done = set_attributes_of(fd.get(), batch.tree, node, mode_is_set, file.name);
    if (!done) return std::move(done).within("entry " + named());
    ++written_;
    if (options_.progress == nullptr) continue;
    ++options_.progress->files_done;
    options_.progress->bytes_done += file.size;
  }
  return {};
}

Result<> DiskTree::write_large(const Context& context, uint32_t id, const TarEntry& entry,
                               TarReader& reader) {
  auto file = std::make_shared<LargeFile>();
  file->path = names_.path(id);
  file->size_bytes = entry.size_bytes;
  file->tree.nodes.push_back(node_of(entry, file->tree));
  THAW_ASSIGN(const int parent, open_parent(id));
  const int flags = O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC;
  file->fd = UniqueFd(::openat(parent, std::string(names_.name(id)).c_str(), flags, 0600));
  if (!file->fd.valid()) {
    if (errno == EEXIST) return collision(file->path);
    return errno_error(errno, "create " + file->path);
  }
  // Its length at once: holes need no writes, and a size that no filesystem takes is told early.
  if (::ftruncate(file->fd.get(), static_cast<off_t>(entry.size_bytes)) != 0) {
    return errno_error(errno, "extend " + file->path);
  }
  uint64_t begin = 0;
  uint64_t end = 0;
  ByteVector piece;
  const auto send = [&] {
    if (piece.empty()) return;
    ++file->holders;
    submit([this, file, begin, bytes = Buffer(std::exchange(piece, ByteVector()))](
               const Context& /*inner*/) -> Result<> {
      THAW_CHECK(pwrite_all(file->fd.get(), bytes.view(), begin, file->path)
                     .within("entry " + file->path));
      if (options_.progress != nullptr) options_.progress->bytes_done += bytes.size();
      return file->holders.fetch_sub(1) == 1 ? complete(*file) : Result<>();
    });
  };
  THAW_CHECK(reader.read([&](uint64_t at, Bytes data) -> Result<> {
    if (at < end || at > entry.size_bytes || data.size() > entry.size_bytes - at) {
      return Error(Code::corrupt, "its data does not lie in it");
    }
    if (at != end) send();
    while (!data.empty()) {
      if (piece.empty()) {
        begin = at;
        piece.reserve(kPieceBytes);
      }
      const size_t taken = std::min(data.size(), kPieceBytes - piece.size());
      piece.append(data.first(taken));
      data = data.subspan(taken);
      at += taken;
      if (piece.size() == kPieceBytes) send();
    }
    end = at;
    if (auto failure = group_.failure()) return *std::move(failure);
    return context.alive();
  }));
  send();
  return file->holders.fetch_sub(1) == 1 ? complete(*file) : Result<>();
}

Result<> DiskTree::complete(LargeFile& file) {
  THAW_CHECK(set_attributes_of(file.fd.get(), file.tree, file.tree.nodes.front(), false, file.path)
                 .within("entry " + file.path));
  file.fd.reset();
  ++written_;
  if (options_.progress != nullptr) ++options_.progress->files_done;
  return {};
}

Result<> DiskTree::special(const Context& /*context*/, uint32_t id, const TarEntry& entry) {
  const std::string path = names_.path(id);
  const std::string name(names_.name(id));
  THAW_ASSIGN(const int parent, open_parent(id));
  int made = 0;
  if (entry.kind == EntryKind::symlink) {
    made = ::symlinkat(entry.target.c_str(), parent, name.c_str());
  } else {
    const dev_t device = gnu_dev_makedev(entry.device.major, entry.device.minor);
    made = ::mknodat(parent, name.c_str(), (entry.mode & S_IFMT) | 0600U, device);
    if (made != 0 && errno == EPERM && entry.kind == EntryKind::device) {
      // Devices are root's to make; without them the tree is of use all the same.
      ++attributes_skipped_;
      return {};
    }
  }
  if (made != 0 && errno == EEXIST) return collision(path);
  if (made != 0) return errno_error(errno, "create " + path);
  Tree tree;
  const Node node = node_of(entry, tree);
  THAW_ASSIGN(const uint64_t skipped,
              set_attributes_of_link(parent, name, tree, node,
                                     {options_.owners, options_.xattrs, true, false}));
  attributes_skipped_ += skipped;
  ++written_;
  return {};
}

Result<> DiskTree::link(const Context& /*context*/, uint32_t id, uint32_t target) {
  links_.push_back({id, target});
  return {};
}

Result<> DiskTree::make_links(const Context& context) {
  for (const Link& link : links_) {
    THAW_CHECK(context.alive());
    const std::string path = names_.path(link.id);
    const uint32_t from_id = names_.parent(link.target);
    Place from_place;
    THAW_ASSIGN(const int from, open_folder(from_place, from_id, names_.path(from_id)));
    THAW_ASSIGN(const int to, open_parent(link.id));
    if (::linkat(from, std::string(names_.name(link.target)).c_str(), to,
                 std::string(names_.name(link.id)).c_str(), 0) == 0) {
      ++written_;
      continue;
    }
    if (errno == EEXIST) return collision(path);
    if (errno == EMLINK) {
      return Error(Code::exhausted, path + " cannot be made: " + names_.path(link.target) +
                                        " has as many names as a file can have on this filesystem");
    }
    // What it leads to is a device that could not be made.
    if (errno == ENOENT && names_.kind(link.target) == NameKind::other) continue;
    return errno_error(errno, "link " + path);
  }
  links_.clear();
  return {};
}

Result<> DiskTree::forget(const Context& context, uint32_t id) {
  THAW_CHECK(drain(context));
  // Further names of what goes are made while it is there.
  THAW_CHECK(make_links(context));
  THAW_ASSIGN(const int parent, open_parent(id));
  if (::unlinkat(parent, std::string(names_.name(id)).c_str(), 0) == 0 || errno == ENOENT) {
    return {};
  }
  return errno_error(errno, "remove " + names_.path(id));
}

Result<> DiskTree::implied(const Context& /*context*/, uint32_t id, int64_t mtime_ns) {
  TarEntry entry;
  entry.kind = EntryKind::folder;
  entry.mode = S_IFDIR | kImpliedMode;
  entry.mtime_ns = mtime_ns;
  implied_.insert(id);
  folder_nodes_[id] = static_cast<uint32_t>(folders_.nodes.size());
  folders_.nodes.push_back(node_of(entry, folders_));
  return {};
}

Result<> DiskTree::finish(const Context& context) {
  THAW_CHECK(submit_batch());
  THAW_CHECK(group_.wait());
  THAW_CHECK(make_links(context));
  place_ = Place();
  // A folder's number is above its parent's: the deepest come first, for a mode may forbid looking
  // into a folder, and what happens in one changes its time.
  for (uint32_t id = names_.size(); id-- > 1;) {
    if (names_.kind(id) != NameKind::folder) continue;
    THAW_CHECK(context.alive());
    const std::string path = names_.path(id);
    THAW_ASSIGN(const UniqueFd fd, open_beneath(folder_, path, O_RDONLY | O_DIRECTORY));
    const Node& node = folders_.nodes[folder_nodes_.at(id)];
    THAW_CHECK(set_attributes_of(fd.get(), folders_, node, (node.mode & 07777U) == 0700U, path));
  }
  return {};
}

uint32_t DiskTree::root_mode() const { return folders_.nodes[folder_nodes_.at(0)].mode & 07777U; }

Result<> DiskTree::set_root_attributes(int fd) {
  return set_attributes_of(fd, folders_, folders_.nodes[folder_nodes_.at(0)], false, "the root");
}

}  // namespace thaw::archive
