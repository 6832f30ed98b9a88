#include "archive/tar_reader.h"

#include <archive.h>
#include <archive_entry.h>
#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <limits>
#include <set>
#include <string>
#include <string_view>
#include <utility>

#include "archive/pax_headers.h"
#include "archive/shown_name.h"
#include "base/log.h"
#include "format/limits.h"
#include "snapshot/xattrs.h"

namespace thaw::archive {
namespace {

constexpr size_t kTarBlock = 512;
// What one header may take of the stream: names, attributes and sparse maps together. libarchive
// holds a sparse map as a list.
constexpr uint64_t kHeaderBytes = 8 * 1024 * 1024;
constexpr uint64_t kEndMarkBytes = 2 * kTarBlock;

// Whether libarchive has what was asked for. ARCHIVE_WARN is said of names that are not of this
// locale (none but ASCII is), which come as they are; ARCHIVE_RETRY of a damaged header.
bool is_usable(int answer) { return answer == ARCHIVE_OK || answer == ARCHIVE_WARN; }

bool are_zeros(Bytes bytes) {
  return std::all_of(bytes.begin(), bytes.end(), [](uint8_t byte) { return byte == 0; });
}

struct FreeReader {
  void operator()(struct archive* reader) const { ::archive_read_free(reader); }
};

// Seconds that do not fit are the nearest that do.
int64_t nanoseconds(int64_t seconds, long fraction) {
  constexpr int64_t kMost = std::numeric_limits<int64_t>::max() / 1'000'000'000 - 1;
  return std::clamp(seconds, -kMost, kMost) * 1'000'000'000 + fraction;
}

// What does not fit is the largest number, which no device has.
uint32_t device_number(dev_t number) {
  return static_cast<uint32_t>(std::min<dev_t>(number, std::numeric_limits<uint32_t>::max()));
}

uint32_t id_of(int64_t id) {
  return id < 0 || id > std::numeric_limits<uint32_t>::max() - 1 ? 0 : static_cast<uint32_t>(id);
}

EntryKind kind_of(mode_t type) {
  switch (type) {
    case AE_IFREG:
      return EntryKind::file;
    case AE_IFDIR:
      return EntryKind::folder;
    case AE_IFLNK:
      return EntryKind::symlink;
    case AE_IFIFO:
      return EntryKind::fifo;
    case AE_IFCHR:
    case AE_IFBLK:
      return EntryKind::device;
    default:
      return EntryKind::other;
  }
}

class Reader final : public TarReader {
 public:
  Reader(const Context& context, BlockSupply supply)
      : context_(context), supply_(std::move(supply)) {}

  Result<> open();
  Result<bool> next(TarEntry& entry) override;
  Result<> read(const DataSink& sink) override;
  uint64_t stream_bytes() const override { return stream_bytes_; }

 private:
  static la_ssize_t on_read(struct archive* reader, void* self, const void** block);
  la_ssize_t give_block(struct archive* reader, const void** block);
  Result<Buffer> next_block();
  Result<Buffer> behind_end_mark();
  void keep_header();
  void keep_tail(Bytes block);
  Bytes header_blocks();
  Result<> check_end() const;
  Result<> take(struct archive_entry* raw, TarEntry& entry);
  static Result<> take_xattrs(struct archive_entry* raw, const PaxRecords& pax, TarEntry& entry);
  Error error_now() const;
  Error header_error();

  const Context& context_;
  const BlockSupply supply_;
  std::unique_ptr<struct archive, FreeReader> reader_;
  Buffer block_;  // libarchive reads it until it asks for the next one
  std::optional<Error> supply_error_;
  bool in_header_ = false;
  uint64_t header_bytes_ = 0;  // of the blocks that libarchive asked for meanwhile
  uint64_t header_begin_ = 0;  // in what was given
  bool only_zeros_ = true;     // since then, in what was given before the block at hand
  ByteVector header_;          // what of it lies in blocks before the one at hand
  PaxHeaders pax_;
  uint64_t stream_bytes_ = 0;
  uint64_t given_bytes_ = 0;  // of them to libarchive
  bool ended_ = false;
  std::array<uint8_t, kTarBlock> tail_{};  // the end of the stream so far
  int64_t data_end_ = 0;                   // of the last entry, padding included
  std::string last_name_;
  uint64_t entries_ = 0;
};

Result<> Reader::open() {
  reader_.reset(::archive_read_new());
  if (!reader_) return Error(Code::exhausted, "no memory for libarchive");
  struct archive* reader = reader_.get();
  ::archive_read_support_format_tar(reader);
  // Archives that follow one another: else what follows the first would be lost silently.
  if (::archive_read_set_format_option(reader, "tar", "read_concatenated_archives", "1") !=
      ARCHIVE_OK) {
    return Error(Code::internal, "libarchive does not read archives that follow one another");
  }
  in_header_ = true;
  if (::archive_read_open(reader, this, nullptr, on_read, nullptr) != ARCHIVE_OK) {
    return error_now();
  }
  return {};
}

la_ssize_t Reader::on_read(struct archive* reader, void* self, const void** block) {
  return static_cast<Reader*>(self)->give_block(reader, block);
}

la_ssize_t Reader::give_block(struct archive* reader, const void** block) {
  auto next = next_block();
  if (!next) {
    supply_error_ = std::move(next).error();
    ::archive_set_error(reader, EIO, "%s", "the stream ends with an error");
    return ARCHIVE_FATAL;
  }
  if (in_header_) keep_header();
  block_ = *std::move(next);
  given_bytes_ += block_.size();
  if (in_header_) header_bytes_ += block_.size();
  if (in_header_ && header_bytes_ > kHeaderBytes) {
    supply_error_ = Error(Code::corrupt, "a header of more than 8 MiB");
    ::archive_set_error(reader, EIO, "%s", "a header of more than 8 MiB");
    return ARCHIVE_FATAL;
  }
  *block = block_.data();
  return static_cast<la_ssize_t>(block_.size());
}

Result<Buffer> Reader::next_block() {
  if (ended_) return Buffer();
  if (in_header_) {
    const uint64_t begin = given_bytes_ - block_.size();
    const uint64_t from = std::max(begin, header_begin_) - begin;
    only_zeros_ = only_zeros_ && are_zeros(block_.view().subspan(from));
    if (only_zeros_ && given_bytes_ - header_begin_ >= kEndMarkBytes) return behind_end_mark();
  }
  THAW_ASSIGN(Buffer next, supply_(context_));
  stream_bytes_ += next.size();
  keep_tail(next.view());
  return next;
}

// Programs fill up what they write with zeros, as many as they like, to blocks of a size that is
// not tar's. libarchive sees as many as keep its blocks where they are.
Result<Buffer> Reader::behind_end_mark() {
  size_t left_out = 0;  // of a block of tar
  while (true) {
    THAW_CHECK(context_.alive());
    THAW_ASSIGN(Buffer next, supply_(context_));
    stream_bytes_ += next.size();
    if (next.empty()) {
      ended_ = true;
      const size_t begun = (given_bytes_ - header_begin_) % kTarBlock;
      return begun == 0 ? Buffer() : Buffer(std::string(kTarBlock - begun, '\0'));
    }
    keep_tail(next.view());
    if (are_zeros(next.view())) {
      left_out = (left_out + next.size()) % kTarBlock;
      continue;
    }
    if (left_out == 0) return next;
    std::string whole(left_out, '\0');
    whole += as_text(next.view());
    return Buffer(std::move(whole));
  }
}

// The block at hand is about to go.
void Reader::keep_header() {
  const uint64_t begin = given_bytes_ - block_.size();
  const uint64_t from = std::max(begin, header_begin_);
  header_.append(block_.view().subspan(std::min(from - begin, block_.size())));
}

// All that libarchive took for the header of the entry at hand. It reads data and what pads it
// byte by byte, so that a header never begins before the block at hand.
Bytes Reader::header_blocks() {
  const uint64_t begin = given_bytes_ - block_.size();
  const auto end = static_cast<uint64_t>(::archive_filter_bytes(reader_.get(), 0));
  if (header_.empty()) {
    if (header_begin_ < begin || end < header_begin_) return {};
    return block_.view().subspan(header_begin_ - begin, end - header_begin_);
  }
  if (end > begin) header_.append(block_.view().first(end - begin));
  return header_.view().first(std::min<uint64_t>(header_.size(), end - header_begin_));
}

void Reader::keep_tail(Bytes block) {
  const size_t fresh = std::min(block.size(), tail_.size());
  std::copy(tail_.begin() + static_cast<ptrdiff_t>(fresh), tail_.end(), tail_.begin());
  std::copy(block.end() - static_cast<ptrdiff_t>(fresh), block.end(),
            tail_.end() - static_cast<ptrdiff_t>(fresh));
}

// Whoever writes tar ends it with blocks of zeros; libarchive takes the bare end for one, too.
Result<> Reader::check_end() const {
  if (stream_bytes_ == 0) return Error(Code::corrupt, "there is nothing in it");
  // The zeros of a file's own data are no mark.
  const int64_t behind_data = ::archive_filter_bytes(reader_.get(), 0) - data_end_;
  const bool marked =
      stream_bytes_ >= kTarBlock && behind_data >= int64_t{kTarBlock} && are_zeros(tail_);
  if (marked) return {};
  return Error(Code::corrupt, entries_ == 0
                                  ? std::string("it is no tar archive")
                                  : fmt::format("it is cut off after {}: there is no end mark",
                                                shown(last_name_)));
}

Error Reader::error_now() const {
  if (supply_error_) return *supply_error_;
  if (stream_bytes_ == 0) return {Code::corrupt, "there is nothing in it"};
  const char* why = ::archive_error_string(reader_.get());
  std::string text = why == nullptr ? "it cannot be read" : why;
  if (entries_ == 0) return {Code::corrupt, "it is no tar archive that can be read: " + text};
  return {Code::corrupt, fmt::format("after {} (entry {}): {}", shown(last_name_), entries_, text)};
}

// Of pax headers libarchive says little.
Error Reader::header_error() {
  Error error = error_now();
  if (supply_error_) return error;
  auto pax = pax_.read(header_blocks());
  if (pax) return error;
  return std::move(pax)
      .within(fmt::format("after {} (entry {})", shown(last_name_), entries_))
      .error();
}

Result<bool> Reader::next(TarEntry& entry) {
  THAW_CHECK(context_.alive());
  if (entries_ != 0) {
    // By itself libarchive would skip what is left of the last entry as part of the header.
    in_header_ = false;
    const int skipped = ::archive_read_data_skip(reader_.get());
    if (!is_usable(skipped) && skipped != ARCHIVE_EOF) return error_now();
    data_end_ = ::archive_filter_bytes(reader_.get(), 0);
    in_header_ = true;
    header_bytes_ = 0;
    header_begin_ = static_cast<uint64_t>(data_end_);
    only_zeros_ = true;
    header_.clear();
  }
  struct archive_entry* raw = nullptr;
  const int answer = ::archive_read_next_header(reader_.get(), &raw);
  if (answer == ARCHIVE_EOF) {
    THAW_CHECK(check_end());
    if (entries_ == 0) return Error(Code::corrupt, "the archive has no entries");
    return false;
  }
  if (!is_usable(answer)) return header_error();
  in_header_ = false;
  ++entries_;
  THAW_CHECK(take(raw, entry));
  last_name_ = entry.name;
  return true;
}

Result<> Reader::take(struct archive_entry* raw, TarEntry& entry) {
  const char* name = ::archive_entry_pathname(raw);
  if (name == nullptr) {
    return Error(Code::corrupt, fmt::format("entry {} has no name that can be read", entries_));
  }
  entry.name = name;
  entry.mode = ::archive_entry_mode(raw);
  entry.kind = kind_of(::archive_entry_filetype(raw));
  THAW_ASSIGN(const PaxRecords pax,
              pax_.read(header_blocks()).within("entry " + shown(entry.name)));
  entry.owner = {id_of(pax.uid.value_or(::archive_entry_uid(raw))),
                 id_of(pax.gid.value_or(::archive_entry_gid(raw)))};
  entry.mtime_ns = pax.mtime_ns.value_or(
      nanoseconds(::archive_entry_mtime(raw), ::archive_entry_mtime_nsec(raw)));
  entry.target.clear();
  entry.size_bytes = 0;
  entry.sparse = false;
  entry.device = {};
  if (const char* target = ::archive_entry_hardlink(raw)) {
    entry.kind = EntryKind::hard_link;
    entry.target = target;
  } else if (entry.kind == EntryKind::symlink) {
    const char* leads_to = ::archive_entry_symlink(raw);
    entry.target = leads_to == nullptr ? "" : leads_to;
  } else if (entry.kind == EntryKind::file) {
    const int64_t size = ::archive_entry_size(raw);
    if (size < 0) return Error(Code::corrupt, shown(entry.name) + " has a size below zero");
    entry.size_bytes = static_cast<uint64_t>(size);
    entry.sparse = size > 0 && ::archive_entry_sparse_count(raw) > 0;
  } else if (entry.kind == EntryKind::device) {
    entry.device = {device_number(::archive_entry_rdevmajor(raw)),
                    device_number(::archive_entry_rdevminor(raw))};
  }
  return take_xattrs(raw, pax, entry);
}

// The attributes of SCHILY.xattr as the pax header has them, and of what libarchive found those
// that it did not find there (LIBARCHIVE.xattr, whose names it decodes).
Result<> Reader::take_xattrs(struct archive_entry* raw, const PaxRecords& pax, TarEntry& entry) {
  entry.xattrs.clear();
  entry.attributes_dropped = 0;
  size_t bytes = 0;
  const auto take_one = [&](std::string name, std::string_view value) -> Result<> {
    // Only what a save would have kept: an archive sets no "security.*" of its choice.
    if (!is_kept_attribute(name) || name.find('\0') != std::string::npos) {
      ++entry.attributes_dropped;
      return {};
    }
    bytes += name.size() + value.size();
    if (bytes > limits::kXattrBytes) {
      return Error(Code::exhausted,
                   shown(entry.name) + " has more than 128 KiB of extended attributes");
    }
    entry.xattrs.push_back({std::move(name), std::string(value)});
    return {};
  };
  // Of those that come twice the last one counts.
  std::set<std::string_view> encoded;
  std::set<std::string> names;
  for (auto each = pax.attributes.rbegin(); each != pax.attributes.rend(); ++each) {
    encoded.insert(each->name.substr(0, each->name.find('\0')));
    std::string name = attribute_name(each->name);
    if (names.insert(name).second) THAW_CHECK(take_one(std::move(name), each->value));
  }
  const char* name = nullptr;
  const void* value = nullptr;
  size_t size = 0;
  ::archive_entry_xattr_reset(raw);
  while (::archive_entry_xattr_next(raw, &name, &value, &size) == ARCHIVE_OK) {
    const std::string own = name == nullptr ? "" : name;
    if (encoded.count(own) != 0 || !names.insert(own).second) continue;
    THAW_CHECK(take_one(own, {static_cast<const char*>(value), size}));
  }
  std::sort(entry.xattrs.begin(), entry.xattrs.end(),
            [](const Xattr& a, const Xattr& b) { return a.name < b.name; });
  return {};
}

Result<> Reader::read(const DataSink& sink) {
  while (true) {
    const void* data = nullptr;
    size_t size = 0;
    int64_t offset = 0;
    const int answer = ::archive_read_data_block(reader_.get(), &data, &size, &offset);
    if (answer == ARCHIVE_EOF) return {};
    if (!is_usable(answer)) return error_now();
    THAW_CHECK(context_.alive());
    if (size == 0) continue;
    THAW_CHECK(sink(static_cast<uint64_t>(offset), Bytes(static_cast<const uint8_t*>(data), size)));
  }
}

}  // namespace

Result<std::unique_ptr<TarReader>> TarReader::open(const Context& context, BlockSupply supply) {
  auto reader = std::make_unique<Reader>(context, std::move(supply));
  THAW_CHECK(reader->open());
  return std::unique_ptr<TarReader>(std::move(reader));
}

Result<> read_whole(TarReader& reader, MutableBytes into) {
  uint64_t end = 0;
  THAW_CHECK(reader.read([&](uint64_t at, Bytes data) -> Result<> {
    if (at < end || at > into.size() || data.size() > into.size() - at) {
      return Error(Code::corrupt, "its data does not lie in it");
    }
    std::memset(into.data() + end, 0, at - end);
    std::memcpy(into.data() + at, data.data(), data.size());
    end = at + data.size();
    return {};
  }));
  if (end < into.size()) std::memset(into.data() + end, 0, into.size() - end);
  return {};
}

}  // namespace thaw::archive
