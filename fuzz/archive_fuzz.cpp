// Archives from anywhere. The first byte of the input chooses the lane:
//   0  the rest is an archive, compressed or not
//   1  the rest is a tar stream, whose headers get the checksums that they should have
//   2  the rest is a recipe for entries
#include <set>

#include "archive/decompress.h"
#include "archive/metadata_budget.h"
#include "archive/name_table.h"
#include "archive/tar_reader.h"
#include "archive/tree_sink.h"
#include "archive/walk.h"
#include "check.h"
#include "taker.h"

namespace thaw::archive {
namespace {

constexpr size_t kTarBlock = 512;
// What a bomb of a few KB may come to here: enough to fill every queue and cap on the way.
constexpr uint64_t kMostBytes = 16 * 1024 * 1024;

// Demands of every name what a tree that is written to a disk relies on.
class CheckingSink final : public TreeSink {
 public:
  explicit CheckingSink(const NameTable& names) : names_(names) {}

  Result<> folder(const Context& /*context*/, uint32_t id, const TarEntry* /*entry*/) override {
    FUZZ_CHECK(others_.count(id) == 0);
    check_name(id);
    folders_.insert(id);
    return {};
  }
  Result<> file(const Context& /*context*/, uint32_t id, const TarEntry& entry,
                TarReader& reader) override {
    check_new(id);
    uint64_t end = 0;
    uint64_t runs = 0;
    THAW_CHECK(reader.read([&](uint64_t at, Bytes data) -> Result<> {
      if (at < end || at > entry.size_bytes || data.size() > entry.size_bytes - at) {
        return Error(Code::corrupt, "its data does not lie in it");
      }
      end = at + data.size();
      FUZZ_CHECK(++runs <= kMostBytes);
      return {};
    }));
    others_.insert(id);
    return {};
  }
  Result<> special(const Context& /*context*/, uint32_t id, const TarEntry& entry) override {
    check_new(id);
    FUZZ_CHECK(entry.kind != EntryKind::symlink || !entry.target.empty());
    others_.insert(id);
    return {};
  }
  Result<> link(const Context& /*context*/, uint32_t id, uint32_t target) override {
    check_new(id);
    FUZZ_CHECK(others_.count(target) != 0);
    others_.insert(id);
    return {};
  }
  Result<> forget(const Context& /*context*/, uint32_t id) override {
    FUZZ_CHECK(others_.erase(id) == 1);
    return {};
  }
  Result<> implied(const Context& /*context*/, uint32_t id, int64_t /*mtime_ns*/) override {
    FUZZ_CHECK(id == 0 || folders_.count(id) == 1);
    return {};
  }
  Result<> finish(const Context& /*context*/) override { return {}; }
  std::optional<Error> failure() override { return std::nullopt; }

 private:
  void check_new(uint32_t id) {
    FUZZ_CHECK(id != 0 && folders_.count(id) == 0 && others_.count(id) == 0);
    check_name(id);
  }
  void check_name(uint32_t id) {
    if (id == 0) return;
    const std::string_view name = names_.name(id);
    FUZZ_CHECK(!name.empty() && name != "." && name != ".." && name.size() <= 255);
    FUZZ_CHECK(name.find('/') == std::string_view::npos);
    FUZZ_CHECK(name.find('\0') == std::string_view::npos);
    const uint32_t parent = names_.parent(id);
    FUZZ_CHECK(parent < id && (parent == 0 || folders_.count(parent) != 0));
  }

  const NameTable& names_;
  std::set<uint32_t> folders_;
  std::set<uint32_t> others_;
};

void read_archive(Bytes stream, uint32_t strip_components) {
  const Context context;
  size_t at = 0;
  auto opened = TarReader::open(context, [&](const Context&) -> Result<Buffer> {
    // An odd length, so that every border between blocks is met.
    const size_t taken = std::min<size_t>(stream.size() - at, 1003);
    at += taken;
    return Buffer::copy_of(stream.subspan(at - taken, taken));
  });
  if (!opened) return;
  NameTable names;
  MetadataBudget budget;
  CheckingSink sink(names);
  const auto totals = walk(context, **opened, names, budget, sink,
                           {.strip_components = strip_components, .devices = true});
  if (totals) return;
  const Code code = totals.error().code();
  FUZZ_CHECK(code == Code::corrupt || code == Code::exhausted);
}

void read_compressed(Bytes stored) {
  const Context context;
  bool given = false;
  ByteVector plain;
  const auto done = decompress(
      context,
      [&](const Context&) -> Result<Buffer> {
        return std::exchange(given, true) ? Buffer() : Buffer::copy_of(stored);
      },
      [&](const Buffer& block) -> Result<> {
        if (plain.size() + block.size() > kMostBytes) return Error(Code::cancelled, "enough");
        plain.append(block.view());
        return {};
      },
      nullptr);
  if (!done) {
    const Code code = done.error().code();
    FUZZ_CHECK(code == Code::corrupt || code == Code::exhausted || code == Code::cancelled);
  }
  read_archive(plain.view(), 0);
}

void put_number(uint8_t* to, size_t width, uint64_t value) {
  for (size_t i = width - 1; i-- > 0; value >>= 3) to[i] = static_cast<uint8_t>('0' + (value & 7U));
  to[width - 1] = 0;
}

void seal(uint8_t* block) {
  std::fill_n(block + 148, 8, uint8_t{' '});
  uint64_t sum = 0;
  for (size_t i = 0; i < kTarBlock; ++i) sum += block[i];
  put_number(block + 148, 7, sum);
}

// Which blocks are headers depends on the sizes in them: each that says "ustar" is taken for one.
void read_sealed(Bytes input) {
  ByteVector stream;
  stream.append(input);
  const size_t length = stream.size();
  stream.resize(length + 3 * kTarBlock - length % kTarBlock);
  std::fill(stream.data() + length, stream.data() + stream.size(), uint8_t{0});
  for (size_t at = 0; at + kTarBlock <= length; at += kTarBlock) {
    if (std::equal(stream.data() + at + 257, stream.data() + at + 262, "ustar")) {
      seal(stream.data() + at);
    }
  }
  read_archive(stream.view(), 0);
}

void read_recipe(Taker from) {
  const uint32_t strip_components = from.below(3);
  ByteVector stream;
  while (!from.empty() && stream.size() < 256 * kTarBlock) {
    static constexpr char kKinds[] = "0125634xLKgS7";
    uint8_t block[kTarBlock] = {};
    const Bytes name = from.bytes(from.byte() % 100);
    std::copy(name.begin(), name.end(), block);
    const Bytes link = from.bytes(from.byte() % 100);
    std::copy(link.begin(), link.end(), block + 157);
    const char kind = kKinds[from.below(sizeof kKinds - 1)];
    block[156] = static_cast<uint8_t>(kind);
    put_number(block + 100, 8, from.u16());
    const bool has_data = kind == '0' || kind == '7' || kind == 'x' || kind == 'L' || kind == 'K' ||
                          kind == 'g' || kind == 'S';
    const Bytes data = from.bytes(has_data ? from.u16() % 2048 : 0);
    put_number(block + 124, 12, data.size());
    put_number(block + 136, 12, from.u32());
    std::copy_n(
        "ustar\0"
        "00",
        8, block + 257);
    seal(block);
    stream.append(block);
    stream.append(data);
    const size_t padded = (stream.size() + kTarBlock - 1) / kTarBlock * kTarBlock;
    const size_t before = stream.size();
    stream.resize(padded);
    std::fill(stream.data() + before, stream.data() + padded, uint8_t{0});
  }
  const size_t before = stream.size();
  stream.resize(before + 2 * kTarBlock);
  std::fill(stream.data() + before, stream.data() + stream.size(), uint8_t{0});
  read_archive(stream.view(), strip_components);
}

}  // namespace
}  // namespace thaw::archive

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const thaw::Bytes input(data, size);
  if (input.empty()) return 0;
  const thaw::Bytes rest = input.subspan(1);
  switch (input[0] % 3) {
    case 0:
      thaw::archive::read_compressed(rest);
      break;
    case 1:
      thaw::archive::read_sealed(rest);
      break;
    default:
      thaw::archive::read_recipe(thaw::Taker(rest));
  }
  return 0;
}
