// How the disk store writes: temporary files that get their name when they are whole, and folders
// that last. Internal to the disk store.
#pragma once

#include <cstdint>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <tuple>

#include "base/fd.h"
#include "object/disk.h"

namespace thaw::disk {

// What became of an attempt to give a file its name.
enum class Placed {
  done,
  taken,  // PutMode::create only: an object of that name is there
  again,  // something moved meanwhile (the folder was pruned, say); a new attempt may succeed
};

// A file in `.tmp` of a store; removed again unless it got a name. Move-only; one thread at a time.
class TempFile {
 public:
  static Result<TempFile> make(int root);
  TempFile(TempFile&&) = default;
  TempFile& operator=(TempFile&&) = delete;
  ~TempFile();

  // Removes what crashed writers left in `.tmp` over a day ago, by the clock of the filesystem. The
  // best that can be done is done; what fails is logged.
  void sweep_leftovers() const;
  Result<> write(const Context& context, Bytes bytes, Durability durability);
  // Atomic; exactly one creator of a name gets `done`.
  Result<Placed> place(int folder, const std::string& leaf, PutMode mode);

 private:
  TempFile(UniqueFd folder, UniqueFd file, std::string name, uint32_t jitter_ns)
      : folder_(std::move(folder)),
        file_(std::move(file)),
        name_(std::move(name)),
        jitter_ns_(jitter_ns) {}
  Result<> stamp() const;
  Result<Placed> overwrite(int folder, const std::string& leaf);
  Result<Placed> create(int folder, const std::string& leaf);
  Result<Placed> create_by_rename(int folder, const std::string& leaf);
  Result<Placed> missing(int errno_value) const;

  UniqueFd folder_;  // `.tmp`
  UniqueFd file_;
  std::string name_;  // within `.tmp`
  uint32_t jitter_ns_;
  bool renamed_ = false;
};

// The folders below a store's root. Thread-safe.
class Folders {
 public:
  explicit Folders(Durability durability) : durability_(durability) {}

  // Opens a folder, made with its parents as needed; all of them last when this answers (under
  // Durability::full). Empty when a concurrent removal pruned one meanwhile: try again.
  Result<std::optional<UniqueFd>> open(int root, const std::string& path);

  // Whether an open folder is known to last, and what makes it known.
  bool lasts(int folder);
  void remember(int folder);

 private:
  using Identity = std::tuple<uint64_t, uint64_t, int64_t>;  // device, inode, time of birth

  Result<std::optional<UniqueFd>> open_each(int root, const std::string& path);
  // The next folder of the path below `at`.
  static Result<std::optional<UniqueFd>> step(int at, const std::string& name);

  const Durability durability_;
  std::mutex mutex_;
  // A folder cannot lose its parents while it exists, so those that were synced once are told by
  // their identity, whoever removes and makes folders of the same name.
  std::set<Identity> lasting_;
};

}  // namespace thaw::disk
