// The stat cache: which file, by inode and times, had which digest; so that an unchanged file is
// never read again. A local file per directory that was saved or restored; safe to delete at any
// time.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "format/tree.h"
#include "snapshot/scan.h"

namespace thaw {

// Why a record can be trusted (docs/semantics.md, "The stat cache"): it was made while nobody held
// the file open for writing, and its ctime was already in the past; so whoever changes the file
// later leaves another ctime.
struct StatRecord {
  FileStat stat;
  Digest digest;
  uint32_t xattrs = kNone;  // into StatCache::xattr_sets
};

// One directory's records. Reading is thread-safe; adding is for one thread.
class StatCache {
 public:
  // Nothing in it.
  StatCache() = default;

  // What was kept for the directory `root` (by its real path) in the cache folder `folder`. A
  // missing, damaged or foreign file is an empty cache: logged, never an error.
  static StatCache load(const std::string& folder, const std::string& root);
  // Keeps the records for `root`, atomically; replaces what was there.
  Result<> store(const std::string& folder, const std::string& root) const;

  // The record of exactly this version of the file.
  const StatRecord* find(const FileStat& stat) const;
  const XattrSet* xattrs_of(const StatRecord& record) const {
    return record.xattrs == kNone ? nullptr : &xattr_sets_[record.xattrs];
  }
  void add(const FileStat& stat, const Digest& digest, const XattrSet* xattrs);
  void reserve(size_t records) { records_.reserve(records); }
  size_t size() const { return records_.size(); }

 private:
  void index();

  std::vector<StatRecord> records_;
  std::vector<XattrSet> xattr_sets_;
  std::vector<uint32_t> slots_;  // open addressing by inode; kNone is free
};

// Whether files on the filesystem of `fd` are stamped by this machine's clock and fine enough to
// trust: known local filesystems only.
bool stat_cache_works_on(int fd);

// Tells, for a file that is open read-only, whether what is read from now on may be recorded.
class ReadLease {
 public:
  // Takes a read lease (fcntl(2), F_SETLEASE), which the kernel refuses while anyone has the file
  // open for writing or mapped writable. SIGIO must be ignored by the process.
  explicit ReadLease(int fd);
  // Nobody has asked to write since. The lease itself ends when the descriptor is closed.
  bool unbroken() const;
  // Ends it at once, so that a waiting writer goes on.
  void release();

 private:
  int fd_;
  bool held_;
};

// Whether a change made from now on is sure to leave another ctime than this one.
bool ctime_is_past(int64_t ctime_ns);

}  // namespace thaw
