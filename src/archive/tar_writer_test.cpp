#include "archive/tar_writer.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <string>
#include <utility>
#include <vector>

#include "archive/tar_reader.h"
#include "support/result_check.h"

namespace thaw::archive {
namespace {

using test::is_ok;

TarNode file(std::string name, uint64_t size, std::vector<DataRun> runs = {}) {
  TarNode node;
  node.name = std::move(name);
  node.mode = S_IFREG | 0644;
  node.size_bytes = size;
  node.runs = std::move(runs);
  return node;
}

std::string written(const std::vector<std::pair<TarNode, std::string>>& files) {
  std::string out;
  auto writer = TarWriter::open([&](Bytes bytes) {
    out += as_text(bytes);
    return Result<>();
  });
  EXPECT_TRUE(is_ok(writer));
  for (const auto& [node, data] : files) {
    EXPECT_TRUE(is_ok((*writer)->begin(node)));
    EXPECT_TRUE(is_ok((*writer)->data(as_bytes(data))));
  }
  EXPECT_TRUE(is_ok((*writer)->finish()));
  return out;
}

struct Found {
  std::string name;
  std::string data;
  size_t runs = 0;
};

// As a stream of blocks of `step` bytes.
Result<std::vector<Found>> read(const std::string& archive, size_t step) {
  const Context context;
  size_t at = 0;
  THAW_ASSIGN(const auto reader, TarReader::open(context, [&](const Context&) -> Result<Buffer> {
                const std::string piece = archive.substr(at, step);
                at += piece.size();
                return piece.empty() ? Buffer() : Buffer(piece);
              }));
  std::vector<Found> all;
  TarEntry entry;
  while (true) {
    THAW_ASSIGN(const bool more, reader->next(entry));
    if (!more) return all;
    Found one{.name = entry.name, .data = std::string(entry.size_bytes, '\0')};
    uint64_t end = UINT64_MAX;
    THAW_CHECK(reader->read([&](uint64_t offset, Bytes data) -> Result<> {
      if (offset != end) ++one.runs;
      end = offset + data.size();
      one.data.replace(offset, data.size(), as_text(data));
      return {};
    }));
    all.push_back(std::move(one));
  }
}

TEST(TarWriter, AFileOfManyRunsIsWrittenInFew) {
  // Every other hole is larger: those stay, as far as they are few enough.
  std::string data;
  std::vector<DataRun> runs;
  for (int i = 0; i < 100'000; ++i) {
    runs.push_back({data.size(), 1});
    data += 'x';
    data += std::string(i % 2 == 0 ? 1 : 3, '\0');
  }
  runs.push_back({data.size(), 0});
  const std::string archive = written({{file("scattered", data.size(), runs), data}});
  const auto found = read(archive, 4096);
  ASSERT_TRUE(is_ok(found));
  ASSERT_EQ(found->size(), 1U);
  EXPECT_TRUE(found->front().data == data);
  EXPECT_LE(found->front().runs, 65'536U);
  EXPECT_GT(found->front().runs, 50'000U);
}

TEST(TarWriter, AFileOfEqualHolesKeepsManyOfThem) {
  std::string data;
  std::vector<DataRun> runs;
  for (int i = 0; i < 70'000; ++i) {
    runs.push_back({data.size(), 1});
    data += std::string("x\0", 2);
  }
  const auto found = read(written({{file("even", data.size(), runs), data}}), 1 << 20);
  ASSERT_TRUE(is_ok(found));
  EXPECT_TRUE(found->front().data == data);
  EXPECT_EQ(found->front().runs, 65'536U);
}

TEST(TarWriter, NamesOfSparseFilesThatAreNotUtf8AreWhole) {
  const std::string data = std::string(3000, '\0') + "data";
  std::vector<std::pair<TarNode, std::string>> files;
  for (const char* end : {"a", "b"}) {
    const std::string folder = std::string(200, 'd') + "\xff" + end;
    files.emplace_back(file(folder + "/" + std::string(120, 'n'), data.size(), {{3000, 4}}), data);
  }
  const auto found = read(written(files), 1 << 20);
  ASSERT_TRUE(is_ok(found));
  ASSERT_EQ(found->size(), 2U);
  for (size_t i = 0; i < 2; ++i) {
    EXPECT_EQ((*found)[i].name, files[i].first.name);
    EXPECT_EQ((*found)[i].data, data);
  }
}

std::string with_zeros_between(std::string first, size_t zeros, const std::string& second) {
  first.append(zeros, '\0');
  return first.append(second);
}

TEST(TarReader, ZerosBehindTheEndMarkAreNoHeader) {
  const std::string one = written({{file("one", 3), "abc"}});
  const std::string two = written({{file("two", 3), "def"}});
  for (const size_t step : {size_t{1000}, size_t{4} << 20}) {
    for (const size_t zeros : {size_t{700}, size_t{20} << 20, (size_t{9} << 20) + 700}) {
      const auto found = read(with_zeros_between(one, zeros, ""), step);
      ASSERT_TRUE(is_ok(found)) << step << " " << zeros;
      EXPECT_EQ(found->size(), 1U);
    }
    const auto both = read(with_zeros_between(one, size_t{20} << 20, two), step);
    ASSERT_TRUE(is_ok(both)) << step;
    ASSERT_EQ(both->size(), 2U);
    EXPECT_EQ((*both)[1].data, "def");
    // What comes between blocks of tar is no archive.
    EXPECT_FALSE(read(with_zeros_between(one, (size_t{9} << 20) + 700, two), step));
    EXPECT_FALSE(read(with_zeros_between(one, size_t{9} << 20, "x"), step));
  }
}

}  // namespace
}  // namespace thaw::archive
