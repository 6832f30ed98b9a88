#include "archive/tar_writer.h"

#include <archive.h>
#include <archive_entry.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <clocale>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <optional>
#include <string_view>
#include <utility>

#include "format/utf8.h"

namespace thaw::archive {
namespace {

constexpr int kBlockBytes = 1024 * 1024;
// Of zeros for holes, which nobody looks at: libarchive counts them, and never touched they take no
// memory. A petabyte is a few million calls.
constexpr size_t kZeroBytes = 256 * 1024 * 1024;

// As libarchive writes it: its seconds, a point, its fraction. So before 1970 the seconds are cut
// off towards zero. What lies in the last second before 1970 cannot be said to it, and begins with
// it.
struct timespec time_of(int64_t mtime_ns) {
  constexpr int64_t kSecond = 1'000'000'000;
  const int64_t seconds = mtime_ns / kSecond;
  const int64_t fraction = mtime_ns % kSecond;
  if (seconds == 0 && fraction < 0) return {-1, 0};
  return {seconds, fraction < 0 ? -fraction : fraction};
}

// Runs of one file that an archive tells apart. Readers hold the map in memory and bound it (ours
// to 8 MiB, and this many take less than 3), however many pieces a file is scattered into.
constexpr size_t kMostRuns = 65'536;

// At most kMostRuns of them: the smallest holes between runs become zeros.
std::vector<DataRun> few_runs(std::vector<DataRun> runs) {
  if (runs.size() <= kMostRuns) return runs;
  const size_t surplus = runs.size() - kMostRuns;
  const auto hole_before = [&runs](size_t i) {
    return runs[i].offset - (runs[i - 1].offset + runs[i - 1].length);
  };
  std::vector<uint64_t> holes;
  holes.reserve(runs.size() - 1);
  for (size_t i = 1; i < runs.size(); ++i) holes.push_back(hole_before(i));
  const auto bound_at = holes.begin() + static_cast<ptrdiff_t>(surplus - 1);
  std::nth_element(holes.begin(), bound_at, holes.end());
  const uint64_t bound = *bound_at;
  // Of the holes that are as large as the bound the first ones go.
  size_t equal = surplus - static_cast<size_t>(std::count_if(
                               holes.begin(), bound_at, [&](uint64_t h) { return h < bound; }));
  std::vector<DataRun> kept;
  kept.reserve(kMostRuns);
  for (size_t i = 0; i < runs.size(); ++i) {
    bool joins = false;
    if (i > 0) {
      const uint64_t hole = hole_before(i);
      joins = hole < bound || (hole == bound && equal > 0);
      if (hole == bound && equal > 0) --equal;
    }
    if (joins) {
      kept.back().length = runs[i].offset + runs[i].length - kept.back().offset;
    } else {
      kept.push_back(runs[i]);
    }
  }
  return kept;
}

// What the archive says of a file's holes; empty: nothing, and they are written as zeros.
// libarchive takes the name of a sparse file that is not UTF-8 from the ustar header, which has
// cut it: files would be lost under names that are not theirs.
std::vector<DataRun> told_runs(const TarNode& node, bool in_utf8) {
  const bool is_ascii = std::all_of(node.name.begin(), node.name.end(),
                                    [](char c) { return static_cast<unsigned char>(c) < 0x80; });
  const bool is_text = in_utf8 ? is_utf8(node.name) : is_ascii;
  return is_text ? few_runs(node.runs) : std::vector<DataRun>();
}

// Whether libarchive, which takes CESU-8 for another way to write UTF-8, would write another name:
// two surrogates in three bytes each become one character.
bool would_change(std::string_view name) {
  const auto is_surrogate = [name](size_t at, unsigned kind) {
    return name[at] == '\xed' && (static_cast<unsigned char>(name[at + 1]) & 0xf0U) == kind;
  };
  for (size_t i = 0; name.size() - i >= 6; ++i) {
    if (is_surrogate(i, 0xa0) && is_surrogate(i + 3, 0xb0)) return true;
  }
  return false;
}

struct FreeWriter {
  void operator()(struct archive* writer) const { ::archive_write_free(writer); }
};
struct FreeEntry {
  void operator()(struct archive_entry* entry) const { ::archive_entry_free(entry); }
};
struct FreeZeros {
  void operator()(uint8_t* zeros) const { std::free(zeros); }
};
struct FreeLocale {
  void operator()(locale_t locale) const { ::freelocale(locale); }
};

// libarchive takes names for text in the thread's locale and writes them as UTF-8; what is not
// UTF-8 it then writes as it is, and says so in the header (hdrcharset=BINARY).
class InUtf8 {
 public:
  explicit InUtf8(locale_t locale) : before_(::uselocale(locale)) {}
  InUtf8(const InUtf8&) = delete;
  InUtf8& operator=(const InUtf8&) = delete;
  ~InUtf8() { ::uselocale(before_); }

 private:
  const locale_t before_;
};

class Writer final : public TarWriter {
 public:
  explicit Writer(ByteSink sink)
      : sink_(std::move(sink)), locale_(::newlocale(LC_CTYPE_MASK, "C.UTF-8", nullptr)) {}
  Writer(const Writer&) = delete;
  Writer& operator=(const Writer&) = delete;
  ~Writer() override;

  Result<> open();
  Result<> begin(const TarNode& node) override;
  Result<> data(Bytes bytes) override;
  Result<> hole(uint64_t length) override;
  Result<> finish() override;

 private:
  static la_ssize_t on_write(struct archive* writer, void* self, const void* bytes, size_t size);
  void describe(const TarNode& node);
  Error error_now(const std::string& what) const;

  const ByteSink sink_;
  // Null where the system has none: names that are not ASCII are then written as binary.
  const std::unique_ptr<std::remove_pointer_t<locale_t>, FreeLocale> locale_;
  std::unique_ptr<struct archive, FreeWriter> writer_;
  std::unique_ptr<struct archive_entry, FreeEntry> entry_;
  std::optional<Error> sink_error_;
  bool is_over_ = false;  // the sink gets nothing more
  uint64_t left_ = 0;     // bytes of the entry's data, at most
  std::unique_ptr<uint8_t, FreeZeros> zeros_;
  std::string name_;
};

Result<> Writer::open() {
  writer_.reset(::archive_write_new());
  entry_.reset(::archive_entry_new());
  if (!writer_ || !entry_) return Error(Code::exhausted, "no memory for libarchive");
  struct archive* writer = writer_.get();
  const bool set =
      ::archive_write_set_format_pax(writer) == ARCHIVE_OK &&
      ::archive_write_set_format_option(writer, "pax", "xattrheader", "SCHILY") == ARCHIVE_OK &&
      ::archive_write_set_bytes_per_block(writer, kBlockBytes) == ARCHIVE_OK &&
      ::archive_write_set_bytes_in_last_block(writer, 1) == ARCHIVE_OK &&
      ::archive_write_open(writer, this, nullptr, on_write, nullptr) == ARCHIVE_OK;
  return set ? Result<>() : Result<>(error_now("begin the archive"));
}

la_ssize_t Writer::on_write(struct archive* /*writer*/, void* self, const void* bytes,
                            size_t size) {
  auto* own = static_cast<Writer*>(self);
  // Its failure is not libarchive's, which would then not free all that it has.
  if (own->is_over_) return static_cast<la_ssize_t>(size);
  auto done = own->sink_(Bytes(static_cast<const uint8_t*>(bytes), size));
  if (done) return static_cast<la_ssize_t>(size);
  own->sink_error_ = std::move(done).error();
  own->is_over_ = true;
  return static_cast<la_ssize_t>(size);
}

// An archive that is not finished is written to its end, into nothing, when it is freed. One whose
// entry lacks much is given up instead: libarchive keeps a MiB of it for ever then.
Writer::~Writer() {
  constexpr uint64_t kMostPadding = 64 << 20;
  is_over_ = true;
  if (left_ > kMostPadding) ::archive_write_fail(writer_.get());
  writer_.reset();  // while all is there that on_write() asks for
}

Error Writer::error_now(const std::string& what) const {
  if (sink_error_) return *sink_error_;
  const char* why = ::archive_error_string(writer_.get());
  return {Code::exhausted, fmt::format("{}: {}", what, why == nullptr ? "libarchive fails" : why)};
}

void Writer::describe(const TarNode& node) {
  struct archive_entry* entry = entry_.get();
  ::archive_entry_clear(entry);
  const bool folder = S_ISDIR(node.mode);
  ::archive_entry_copy_pathname(entry, (folder ? node.name + "/" : node.name).c_str());
  ::archive_entry_set_mode(entry, node.mode);
  ::archive_entry_set_uid(entry, node.owner.uid);
  ::archive_entry_set_gid(entry, node.owner.gid);
  // An owner's name that is not UTF-8 makes libarchive write all names of the entry as they are.
  // Nobody has it, so that readers take the number.
  if (would_change(node.name) || would_change(node.link_to)) {
    ::archive_entry_copy_uname(entry, "\xff");
  }
  const struct timespec time = time_of(node.mtime_ns);
  ::archive_entry_set_mtime(entry, time.tv_sec, time.tv_nsec);
  ::archive_entry_set_size(entry, 0);
  if (node.hard_link) {
    ::archive_entry_copy_hardlink(entry, node.link_to.c_str());
    return;
  }
  if (S_ISLNK(node.mode)) ::archive_entry_copy_symlink(entry, node.link_to.c_str());
  if (S_ISREG(node.mode)) {
    ::archive_entry_set_size(entry, static_cast<int64_t>(node.size_bytes));
    for (const DataRun& run : told_runs(node, locale_ != nullptr)) {
      ::archive_entry_sparse_add_entry(entry, static_cast<int64_t>(run.offset),
                                       static_cast<int64_t>(run.length));
    }
  }
  if (S_ISCHR(node.mode) || S_ISBLK(node.mode)) {
    ::archive_entry_set_rdevmajor(entry, node.device.major);
    ::archive_entry_set_rdevminor(entry, node.device.minor);
  }
  if (node.xattrs == nullptr) return;
  // libarchive keeps them in reverse.
  for (auto xattr = node.xattrs->rbegin(); xattr != node.xattrs->rend(); ++xattr) {
    ::archive_entry_xattr_add_entry(entry, xattr->name.c_str(), xattr->value.data(),
                                    xattr->value.size());
  }
}

Result<> Writer::begin(const TarNode& node) {
  name_ = node.name;
  const InUtf8 text(locale_.get());
  describe(node);
  left_ = S_ISREG(node.mode) && !node.hard_link ? node.size_bytes : 0;
  // ARCHIVE_WARN: a name that is not UTF-8.
  const bool written = ::archive_write_header(writer_.get(), entry_.get()) >= ARCHIVE_WARN;
  return written && !sink_error_ ? Result<>() : Result<>(error_now("write " + name_));
}

Result<> Writer::data(Bytes bytes) {
  while (!bytes.empty()) {
    const la_ssize_t n = ::archive_write_data(writer_.get(), bytes.data(), bytes.size());
    if (n < 0 || sink_error_) return error_now("write " + name_);
    if (n == 0) return Error(Code::internal, name_ + " has more bytes than were announced");
    bytes = bytes.subspan(static_cast<size_t>(n));
    left_ -= std::min(left_, static_cast<uint64_t>(n));
  }
  return {};
}

Result<> Writer::hole(uint64_t length) {
  if (length == 0) return {};
  if (!zeros_) zeros_.reset(static_cast<uint8_t*>(std::calloc(kZeroBytes, 1)));
  if (!zeros_) return Error(Code::exhausted, "no memory for a hole");
  while (length > 0) {
    const size_t taken = std::min<uint64_t>(length, kZeroBytes);
    THAW_CHECK(data({zeros_.get(), taken}));
    length -= taken;
  }
  return {};
}

Result<> Writer::finish() {
  const InUtf8 text(locale_.get());
  const bool closed = ::archive_write_close(writer_.get()) >= ARCHIVE_WARN;
  return closed && !sink_error_ ? Result<>() : Result<>(error_now("end the archive"));
}

}  // namespace

Result<std::unique_ptr<TarWriter>> TarWriter::open(ByteSink sink) {
  auto writer = std::make_unique<Writer>(std::move(sink));
  THAW_CHECK(writer->open());
  return std::unique_ptr<TarWriter>(std::move(writer));
}

}  // namespace thaw::archive
