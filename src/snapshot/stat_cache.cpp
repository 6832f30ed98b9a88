#include "snapshot/stat_cache.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cstdlib>
#include <ctime>

#include "base/bytes.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/random.h"
#include "format/digest.h"

namespace thaw {
namespace {

// The file: magic, root's digest (32), number of records (u64), number of attribute sets (u64),
// records, sets, SHA-256 of all before. Private to one machine and one version: no promise beyond
// "damaged is empty".
constexpr std::string_view kMagic = "thawsc01";
constexpr size_t kRecordBytes = 6 * 8 + 32 + 8;
constexpr size_t kHeadBytes = 8 + 32 + 16;
constexpr size_t kLimitBytes = size_t{2} * 1024 * 1024 * 1024;

Digest name_digest(const std::string& root) {
  char* real = ::realpath(root.c_str(), nullptr);
  const std::string path = real == nullptr ? root : real;
  std::free(real);
  return sha256(as_bytes(path));
}

std::string file_for(const std::string& folder, const Digest& root) {
  return folder + "/" + root.hex().substr(0, 32) + ".stat";
}

void append_text(ByteVector& to, const std::string& text) {
  append_le(to, static_cast<uint32_t>(text.size()));
  to.append(as_bytes(text));
}

size_t slot_of(const FileStat& stat, size_t mask) {
  return static_cast<size_t>((stat.inode * 0x9e3779b97f4a7c15) >> 20) & mask;
}

// Reads fields off the front; sets `ok` to false when they run out.
class Reader {
 public:
  explicit Reader(Bytes bytes) : bytes_(bytes) {}
  bool ok = true;

  template <class T>
  T number() {
    const Bytes raw = take(sizeof(T));
    return ok ? load_le<T>(raw.data()) : T{};
  }
  Digest digest() {
    Digest value;
    const Bytes raw = take(32);
    if (ok) std::copy(raw.begin(), raw.end(), value.bytes.begin());
    return value;
  }
  std::string text() { return std::string(as_text(take(number<uint32_t>()))); }

 private:
  Bytes take(size_t n) {
    ok = ok && n <= bytes_.size();
    if (!ok) return {};
    const Bytes front = bytes_.first(n);
    bytes_ = bytes_.subspan(n);
    return front;
  }
  Bytes bytes_;
};

}  // namespace

StatCache StatCache::load(const std::string& folder, const std::string& root) {
  const Digest name = name_digest(root);
  const std::string path = file_for(folder, name);
  auto bytes = read_file(path, kLimitBytes);
  if (!bytes) {
    if (bytes.error().code() != Code::not_found) log::info("stat cache: {}", bytes.error().text());
    return {};
  }
  const Bytes all = bytes->view();
  auto damaged = [&] {
    log::warn("stat cache {} is damaged: files will be read again", path);
    return StatCache();
  };
  if (all.size() < kHeadBytes + 32) return damaged();
  const Digest sum = sha256(all.first(all.size() - 32));
  if (!std::equal(sum.bytes.begin(), sum.bytes.end(), all.end() - 32)) return damaged();
  if (as_text(all.first(8)) != kMagic) return {};  // another version's

  Reader reader(all.subspan(8, all.size() - 40));
  if (reader.digest() != name) return damaged();
  const auto records = reader.number<uint64_t>();
  const auto sets = reader.number<uint64_t>();
  if (records > all.size() / kRecordBytes || sets > all.size()) return damaged();
  StatCache cache;
  cache.records_.resize(records);
  for (StatRecord& record : cache.records_) {
    record.stat.device = reader.number<uint64_t>();
    record.stat.inode = reader.number<uint64_t>();
    record.stat.size_bytes = reader.number<uint64_t>();
    record.stat.mtime_ns = reader.number<int64_t>();
    record.stat.ctime_ns = reader.number<int64_t>();
    record.stat.allocated_bytes = reader.number<uint64_t>();
    record.digest = reader.digest();
    record.xattrs = reader.number<uint32_t>();
    reader.number<uint32_t>();
    if (record.xattrs != kNone && record.xattrs >= sets) return damaged();
  }
  for (uint64_t i = 0; i < sets && reader.ok; ++i) {
    XattrSet set;
    const auto count = reader.number<uint32_t>();
    for (uint32_t k = 0; k < count && reader.ok; ++k) {
      std::string attribute = reader.text();
      set.push_back({std::move(attribute), reader.text()});
    }
    cache.xattr_sets_.push_back(std::move(set));
  }
  if (!reader.ok) return damaged();
  cache.index();
  return cache;
}

Result<> StatCache::store(const std::string& folder, const std::string& root) const {
  const Digest name = name_digest(root);
  ByteVector bytes;
  bytes.reserve(kHeadBytes + records_.size() * kRecordBytes + 64);
  bytes.append(as_bytes(kMagic));
  bytes.append(name.bytes);
  append_le(bytes, uint64_t{records_.size()});
  append_le(bytes, uint64_t{xattr_sets_.size()});
  for (const StatRecord& record : records_) {
    append_le(bytes, record.stat.device);
    append_le(bytes, record.stat.inode);
    append_le(bytes, record.stat.size_bytes);
    append_le(bytes, record.stat.mtime_ns);
    append_le(bytes, record.stat.ctime_ns);
    append_le(bytes, record.stat.allocated_bytes);
    bytes.append(record.digest.bytes);
    append_le(bytes, record.xattrs);
    append_le(bytes, uint32_t{0});
  }
  for (const XattrSet& set : xattr_sets_) {
    append_le(bytes, static_cast<uint32_t>(set.size()));
    for (const Xattr& xattr : set) {
      append_text(bytes, xattr.name);
      append_text(bytes, xattr.value);
    }
  }
  bytes.append(sha256(bytes.view()).bytes);

  THAW_CHECK(make_directories(folder));
  const std::string path = file_for(folder, name);
  const std::string temporary = path + "." + RandomId::fresh().hex();
  THAW_ASSIGN(const UniqueFd fd, open_path(temporary, O_WRONLY | O_CREAT | O_EXCL, 0600));
  auto written = write_all(fd.get(), bytes.view(), temporary);
  if (written && ::rename(temporary.c_str(), path.c_str()) != 0) {
    written = errno_error(errno, "rename " + temporary);
  }
  if (!written) ::unlink(temporary.c_str());
  return written;
}

void StatCache::index() {
  const size_t slots = std::bit_ceil(std::max<size_t>(records_.size() * 2, 16));
  slots_.assign(slots, kNone);
  const size_t mask = slots - 1;
  for (uint32_t i = 0; i < records_.size(); ++i) {
    size_t at = slot_of(records_[i].stat, mask);
    while (slots_[at] != kNone) at = (at + 1) & mask;
    slots_[at] = i;
  }
}

const StatRecord* StatCache::find(const FileStat& stat) const {
  if (slots_.empty()) return nullptr;
  const size_t mask = slots_.size() - 1;
  for (size_t at = slot_of(stat, mask); slots_[at] != kNone; at = (at + 1) & mask) {
    const StatRecord& record = records_[slots_[at]];
    if (record.stat.same_version(stat)) return &record;
  }
  return nullptr;
}

void StatCache::add(const FileStat& stat, const Digest& digest, const XattrSet* xattrs) {
  StatRecord record{stat, digest, kNone};
  if (xattrs != nullptr && !xattrs->empty()) {
    record.xattrs = static_cast<uint32_t>(xattr_sets_.size());
    xattr_sets_.push_back(*xattrs);
  }
  records_.push_back(record);
}

bool stat_cache_works_on(int fd) {
  struct statfs status {};
  if (::fstatfs(fd, &status) != 0) return false;
  constexpr long kXfs = 0x58465342;
  constexpr long kZfs = 0x2fc12fc1;
  constexpr long kBcachefs = static_cast<long>(0xca451a4e);
  for (const long known :
       {static_cast<long>(EXT4_SUPER_MAGIC), static_cast<long>(BTRFS_SUPER_MAGIC),
        static_cast<long>(TMPFS_MAGIC), static_cast<long>(OVERLAYFS_SUPER_MAGIC),
        static_cast<long>(F2FS_SUPER_MAGIC), kXfs, kZfs, kBcachefs}) {
    if (static_cast<long>(status.f_type) == known) return true;
  }
  return false;
}

ReadLease::ReadLease(int fd) : fd_(fd), held_(::fcntl(fd, F_SETLEASE, F_RDLCK) == 0) {}

bool ReadLease::unbroken() const { return held_ && ::fcntl(fd_, F_GETLEASE) == F_RDLCK; }

void ReadLease::release() {
  if (held_) ::fcntl(fd_, F_SETLEASE, F_UNLCK);
  held_ = false;
}

bool ctime_is_past(int64_t ctime_ns) {
  // Filesystems stamp by the kernel's coarse clock, which this reads: a later change is stamped
  // with this instant at the earliest. One that stores whole seconds (ext4 with small inodes) shows
  // it by a ctime without a fraction; FAT, at two seconds, is not among the filesystems that are
  // trusted.
  struct timespec now {};
  ::clock_gettime(CLOCK_REALTIME_COARSE, &now);
  const bool whole_seconds = ctime_ns % 1'000'000'000 == 0;
  const int64_t grain_ns = whole_seconds ? 1'000'000'000 : 1;
  return ctime_ns + grain_ns <= timestamp_ns(now);
}

}  // namespace thaw
