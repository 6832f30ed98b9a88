#include "object/disk.h"

#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <map>
#include <new>

#include "base/log.h"
#include "object/contract.h"
#include "object/disk_list.h"
#include "object/disk_tree.h"
#include "object/disk_write.h"

namespace thaw {
namespace {

using disk::Placed;

constexpr size_t kPieceBytes = 8 * 1024 * 1024;  // between two looks at the context

Error no_object() { return {Code::not_found, "no such object"}; }

bool absent(const Error& error) { return error.code() == Code::not_found; }

std::string parent_of(const std::string& path) {
  const size_t slash = path.rfind('/');
  return slash == 0 || slash == std::string::npos ? "/" : path.substr(0, slash);
}

Result<ByteVector> room_for(uint64_t size_bytes) {
  try {
    return ByteVector(size_bytes);
  } catch (const std::bad_alloc&) {
    return Error(Code::exhausted, "no memory for " + human_size(size_bytes));
  }
}

Result<Buffer> read_piece(const Context& context, int file, const Piece& piece) {
  THAW_ASSIGN(ByteVector bytes, room_for(piece.length));
  for (size_t done = 0; done < bytes.size();) {
    THAW_CHECK(context.alive());
    const MutableBytes part =
        bytes.span().subspan(done, std::min(kPieceBytes, bytes.size() - done));
    THAW_ASSIGN(const size_t n, pread_up_to(file, part, piece.offset + done, "object"));
    if (n < part.size()) {
      return Error(Code::unavailable, "the file shrank while it was read; not thaw's doing");
    }
    done += n;
  }
  return Buffer(std::move(bytes));
}

class DiskStore final : public ObjectStore {
 public:
  DiskStore(std::string root, Durability durability)
      : root_(std::move(root)), durability_(durability), folders_(durability) {}

  Result<Fetched> get(const Context& context, const ObjectKey& key, ByteRange range,
                      const Wanted& wanted) override {
    return read(context, key.text(), range, wanted).within("get " + key.text());
  }

  Result<PutOutcome> put(const Context& context, const ObjectKey& key, Buffer bytes,
                         PutMode mode) override {
    return write(context, key.text(), bytes.view(), mode).within("put " + key.text());
  }

  Result<std::optional<ObjectInfo>> find(const Context& context, const ObjectKey& key) override {
    return look(context, key.text()).within("find " + key.text());
  }

  Result<ListPage> list(const Context& context, std::string_view prefix,
                        ListOptions options) override {
    return scan(context, prefix, options).within("list \"" + std::string(prefix) + '"');
  }

  Result<> remove(const Context& context, std::span<const ObjectKey> keys) override;
  std::string describe() const override { return "disk(" + root_ + ")"; }

 private:
  using Emptied = std::map<std::string, UniqueFd>;  // folders that lost objects

  Result<UniqueFd> open_root() const { return open_path(root_, O_PATH | O_DIRECTORY); }
  Result<UniqueFd> make_root();
  Result<> create_root() const;
  void sync_above(const std::string& path) const;

  Result<Fetched> read(const Context& context, const std::string& name, const ByteRange& range,
                       const Wanted& wanted);
  Result<PutOutcome> write(const Context& context, const std::string& name, Bytes bytes,
                           PutMode mode);
  Result<PutOutcome> publish(const Context& context, int root, const std::string& name,
                             PutMode mode, disk::TempFile& file);
  Result<std::optional<ObjectInfo>> look(const Context& context, const std::string& name);
  static Result<std::optional<ObjectInfo>> look_below(int root, const std::string& name);
  Result<ListPage> scan(const Context& context, std::string_view prefix,
                        const ListOptions& options);
  static Result<> unlink_object(int root, const std::string& name, Emptied& emptied);
  Result<> settle(int root, Emptied& emptied) const;
  static void prune(int root, std::string folder);

  const std::string root_;  // absolute
  const Durability durability_;
  disk::Folders folders_;
  std::atomic<bool> swept_{false};
};

// --- the root

Result<UniqueFd> DiskStore::make_root() {
  auto root = open_root();
  if (!root && absent(root.error())) {
    THAW_CHECK(create_root());
    root = open_root();
  }
  // Whoever made it may not have synced it yet.
  if (root && !folders_.lasts(root->get())) {
    sync_above(root_);
    folders_.remember(root->get());
  }
  return root;
}

Result<> DiskStore::create_root() const {
  std::string there = parent_of(root_);
  while (there != "/" && ::access(there.c_str(), F_OK) != 0) there = parent_of(there);
  THAW_CHECK(make_directories(root_));
  if (durability_ == Durability::none) return {};
  for (std::string made = root_; made != there; made = parent_of(made)) sync_above(made);
  return {};
}

// The folders above a store may be closed to us; that must not keep us from storing in it.
void DiskStore::sync_above(const std::string& path) const {
  auto folder = open_path(parent_of(path), O_RDONLY | O_DIRECTORY);
  auto synced = folder ? disk::sync_folder(folder->get(), parent_of(path))
                       : Result<>(std::move(folder).error());
  if (!synced) log::info("{}: {}", describe(), synced.error().text());
}

// --- get, find, list

Result<Fetched> DiskStore::read(const Context& context, const std::string& name,
                                const ByteRange& range, const Wanted& wanted) {
  THAW_CHECK(context.alive());
  if (disk::is_reserved(name)) return no_object();
  THAW_ASSIGN(const UniqueFd root, open_root());
  // Not to wait for the writer of a pipe that somebody left here.
  THAW_ASSIGN(const UniqueFd file,
              disk::open_below(root.get(), name, O_RDONLY | O_NONBLOCK | O_NOCTTY));
  THAW_ASSIGN(const struct stat status, disk::status_of(file.get(), name));
  if (!S_ISREG(status.st_mode)) return no_object();
  ObjectInfo info = disk::info_of(status);
  THAW_CHECK(check_version(wanted, info));
  THAW_ASSIGN(const Piece piece, piece_of(range, info.size_bytes));
  THAW_ASSIGN(Buffer bytes, read_piece(context, file.get(), piece));
  if (wanted.version) {
    // A file that somebody writes to in place, which thaw never does.
    THAW_ASSIGN(const struct stat after, disk::status_of(file.get(), name));
    THAW_CHECK(check_version(wanted, disk::info_of(after)));
  }
  return Fetched{std::move(bytes), std::move(info)};
}

Result<std::optional<ObjectInfo>> DiskStore::look(const Context& context, const std::string& name) {
  THAW_CHECK(context.alive());
  auto root = open_root();
  if (root) return look_below(root->get(), name);
  if (absent(root.error())) return std::nullopt;
  return std::move(root).error();
}

Result<std::optional<ObjectInfo>> DiskStore::look_below(int root, const std::string& name) {
  if (disk::is_reserved(name)) return std::nullopt;
  auto file = disk::open_below(root, name, O_PATH);
  if (!file && absent(file.error())) return std::nullopt;
  if (!file) return std::move(file).error();
  THAW_ASSIGN(const struct stat status, disk::status_of(file->get(), name));
  if (!S_ISREG(status.st_mode)) return std::nullopt;
  return disk::info_of(status);
}

Result<ListPage> DiskStore::scan(const Context& context, std::string_view prefix,
                                 const ListOptions& options) {
  THAW_CHECK(context.alive());
  THAW_CHECK(check_options(options));
  auto root = open_root();
  if (root) return disk::list_objects(context, root->get(), prefix, options);
  if (absent(root.error())) return ListPage{};
  return std::move(root).error();
}

// --- put

Result<PutOutcome> DiskStore::write(const Context& context, const std::string& name, Bytes bytes,
                                    PutMode mode) {
  THAW_CHECK(context.alive());
  if (disk::is_reserved(name)) return Error(Code::invalid, "the name is kept for temporary files");
  THAW_ASSIGN(const UniqueFd root, make_root());
  if (mode == PutMode::create) {
    THAW_ASSIGN(const auto taken, look_below(root.get(), name));
    if (taken) return PutOutcome::exists;  // spares the writing
  }
  THAW_ASSIGN(disk::TempFile file, disk::TempFile::make(root.get()));
  if (!swept_.exchange(true)) file.sweep_leftovers();
  THAW_CHECK(file.write(context, bytes, durability_));
  return publish(context, root.get(), name, mode, file);
}

Result<PutOutcome> DiskStore::publish(const Context& context, int root, const std::string& name,
                                      PutMode mode, disk::TempFile& file) {
  const disk::Place place = disk::place_of(name);
  // Each attempt fails only where a removal pruned the folder in the same moment.
  constexpr int kAttempts = 100;
  for (int attempt = 0; attempt < kAttempts; ++attempt) {
    THAW_CHECK(context.alive());
    THAW_ASSIGN(const auto folder, folders_.open(root, place.folder));
    if (!folder) continue;
    THAW_ASSIGN(const Placed placed, file.place(folder->get(), place.leaf, mode));
    if (placed == Placed::again) continue;
    if (placed == Placed::taken) return PutOutcome::exists;
    if (durability_ == Durability::full) {
      THAW_CHECK(disk::sync_folder(folder->get(), "folder " + place.folder));
    }
    return PutOutcome::stored;
  }
  return Error(Code::busy, "its folder was removed as often as it was made");
}

// --- remove

Result<> DiskStore::remove(const Context& context, std::span<const ObjectKey> keys) {
  THAW_CHECK(context.alive().within("remove"));
  auto root = open_root();
  if (!root && absent(root.error())) return {};
  if (!root) return std::move(root).error().within("remove");
  constexpr size_t kMostOpen = 64;
  Emptied emptied;
  Result<> result;
  for (const ObjectKey& key : keys) {
    result = context.alive();
    if (result) result = unlink_object(root->get(), key.text(), emptied);
    if (result && emptied.size() >= kMostOpen) result = settle(root->get(), emptied);
    if (!result) return std::move(result).within("remove " + key.text());
  }
  return settle(root->get(), emptied).within("remove");
}

// Makes removals last, and prunes what they left empty.
Result<> DiskStore::settle(int root, Emptied& emptied) const {
  for (const auto& [folder, fd] : std::exchange(emptied, {})) {
    if (durability_ == Durability::full) {
      THAW_CHECK(disk::sync_folder(fd.get(), "folder " + folder));
    }
    prune(root, folder);
  }
  return {};
}

Result<> DiskStore::unlink_object(int root, const std::string& name, Emptied& emptied) {
  disk::Place place = disk::place_of(name);
  if (disk::is_reserved(name)) return {};
  auto known = emptied.find(place.folder);
  if (known == emptied.end()) {
    auto opened = disk::open_below(root, place.folder, O_RDONLY | O_DIRECTORY);
    if (!opened && absent(opened.error())) return {};
    if (!opened) return std::move(opened).error();
    known = emptied.emplace(std::move(place.folder), *std::move(opened)).first;
  }
  const int folder = known->second.get();
  struct stat status {};
  if (::fstatat(folder, place.leaf.c_str(), &status, AT_SYMLINK_NOFOLLOW) != 0) {
    return errno == ENOENT ? Result<>() : errno_error(errno, "stat " + place.leaf);
  }
  if (!S_ISREG(status.st_mode)) return {};  // no object
  if (::unlinkat(folder, place.leaf.c_str(), 0) == 0 || errno == ENOENT) return {};
  return errno_error(errno, "unlink " + place.leaf);
}

// Removes empty folders upwards; what is not empty, or just got a new entry, stays.
void DiskStore::prune(int root, std::string folder) {
  while (!folder.empty()) {
    disk::Place place = disk::place_of(folder);
    auto above = disk::open_below(root, place.folder, O_PATH | O_DIRECTORY);
    if (!above || ::unlinkat(above->get(), place.leaf.c_str(), AT_REMOVEDIR) != 0) return;
    folder = std::move(place.folder);
  }
}

}  // namespace

Result<std::unique_ptr<ObjectStore>> open_disk_store(std::string root, Durability durability) {
  if (root.empty()) return Error(Code::invalid, "a disk store needs a directory");
  if (root.find('\0') != std::string::npos) {
    return Error(Code::invalid, "the name of a disk store's directory holds a NUL byte");
  }
  if (root.front() != '/') {
    const std::unique_ptr<char, decltype(&::free)> here(::getcwd(nullptr, 0), &::free);
    if (!here) return errno_error(errno, "find the working directory");
    root = std::string(here.get()) + '/' + root;
  }
  while (root.size() > 1 && root.back() == '/') root.pop_back();
  struct stat status {};
  const bool there = ::stat(root.c_str(), &status) == 0;
  if (there && !S_ISDIR(status.st_mode)) {
    return Error(Code::invalid, "open disk store: " + root + " is no directory");
  }
  if (!there && errno == ENOTDIR) {
    return Error(Code::invalid,
                 "open disk store: " + root + " lies below something that is no directory");
  }
  return std::unique_ptr<ObjectStore>(std::make_unique<DiskStore>(std::move(root), durability));
}

}  // namespace thaw
