#include "snapshot/extract.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>

#include "base/fd.h"
#include "object/memory.h"
#include "support/faulty_store.h"
#include "support/laid_snapshot.h"
#include "support/random_bytes.h"
#include "support/result_check.h"
#include "support/temp_dir.h"

namespace thaw {
namespace {

using test::fails_with;
using test::is_ok;
using test::read_text;
using test::write_text;

constexpr uint64_t kMiB = 1024 * 1024;

class ExtractTest : public ::testing::Test {
 protected:
  void SetUp() override {
    test::LaidSnapshot laid(*store_);
    laid.add_file("empty", {}, {});
    const auto data = test::random_bytes(2 * kMiB, 1);
    image_ = std::string(64 * kMiB, '\0');
    image_.replace(8 * kMiB, kMiB, as_text(Bytes(data).first(kMiB)));
    image_.replace(40 * kMiB, kMiB, as_text(Bytes(data).last(kMiB)));
    const uint32_t first = laid.add_chunk(Bytes(data).first(kMiB));
    const uint32_t second = laid.add_chunk(Bytes(data).last(kMiB));
    laid.add_file("image", as_bytes(image_),
                  {{8 * kMiB, first, 0, kMiB}, {40 * kMiB, second, 0, kMiB}});
    manifest_ = laid.finish();
    manifest_.tree.nodes[2].mode = S_IFREG | 0640;
    manifest_.tree.nodes[2].mtime_ns = 1'600'000'000'123'456'789;
    manifest_.tree.nodes[2].owner = {::geteuid(), ::getegid()};
  }
  FileRef file(uint32_t node) const {
    const uint32_t content = manifest_.tree.nodes[node].payload;
    return {content, manifest_.tree.contents[content].size_bytes, node};
  }
  Result<ExtractReport> extract_to(const std::string& path, uint32_t node = 2) {
    ExtractOptions options;
    options.threads = 2;
    return extract(context_, *store_, manifest_, file(node), path, options, damage_, nullptr);
  }
  size_t names() const {
    size_t count = 0;
    for ([[maybe_unused]] const auto& each : std::filesystem::directory_iterator(dir_.path())) {
      ++count;
    }
    return count;
  }

  const Context context_;
  const KnownDamage damage_{std::nullopt};
  test::TempDir dir_;
  test::Faults faults_;
  std::unique_ptr<ObjectStore> store_ = test::faulty(make_memory_store(), faults_);
  Manifest manifest_;
  std::string image_;
};

TEST_F(ExtractTest, RemovesWhatKilledOnesLeftAndNothingElse) {
  const auto path = [&](const std::string& name) { return dir_.path() + "/" + name; };
  const std::string left = ".thaw-extract-" + std::string(32, 'a');
  const std::string held = ".thaw-extract-" + std::string(32, 'b');
  const std::vector<std::string> others{".thaw-extract-" + std::string(31, 'a'),
                                        ".thaw-extract-" + std::string(32, 'A'),
                                        ".thaw-extract-" + std::string(32, 'a') + ".txt"};
  for (const std::string& name : others) write_text(path(name), "mine");
  write_text(path(left), "half");
  write_text(path(held), "half");
  const std::string folder = ".thaw-extract-" + std::string(32, 'c');
  const std::string link = ".thaw-extract-" + std::string(32, 'd');
  std::filesystem::create_directory(path(folder));
  std::filesystem::create_symlink(others[0], path(link));
  const UniqueFd holder = open_path(path(held), O_RDONLY).value();
  ASSERT_EQ(::flock(holder.get(), LOCK_EX), 0);
  ASSERT_TRUE(is_ok(extract_to(path("out"))));
  EXPECT_FALSE(std::filesystem::exists(path(left)));
  EXPECT_TRUE(std::filesystem::exists(path(held))) << "somebody is writing it";
  EXPECT_TRUE(std::filesystem::exists(path(folder)));
  EXPECT_TRUE(std::filesystem::exists(path(link)));
  for (const std::string& name : others) EXPECT_EQ(read_text(path(name)), "mine");
  EXPECT_EQ(names(), others.size() + 4);
}

TEST_F(ExtractTest, WritesASparseFileWithItsAttributes) {
  const std::string out = dir_.path_of("out");
  const auto done = extract_to(out);
  ASSERT_TRUE(is_ok(done));
  EXPECT_EQ(done->size_bytes, 64 * kMiB);
  EXPECT_EQ(done->written_bytes, 2 * kMiB);
  EXPECT_EQ(done->fetches, 1U);
  EXPECT_EQ(read_text(out), image_);
  struct stat status {};
  ASSERT_EQ(::stat(out.c_str(), &status), 0);
  EXPECT_LE(status.st_blocks * 512, static_cast<int64_t>(4 * kMiB));
  EXPECT_EQ(status.st_mode, S_IFREG | 0640U);
  EXPECT_EQ(status.st_mtim.tv_sec, 1'600'000'000);
  EXPECT_EQ(status.st_mtim.tv_nsec, 123'456'789);
  EXPECT_EQ(names(), 1U) << "nothing else is left";
}

TEST_F(ExtractTest, AnEmptyFileIsEmpty) {
  const std::string out = dir_.path_of("out");
  ASSERT_TRUE(is_ok(extract_to(out, 1)));
  EXPECT_EQ(read_text(out), "");
}

TEST_F(ExtractTest, ReplacesAFileAsAWhole) {
  const std::string out = dir_.path_of("out");
  write_text(out, "old");
  const std::string link = dir_.path_of("link");
  std::filesystem::create_symlink("out", link);
  for (uint64_t n = 1; n <= 2; ++n) faults_.change_get(n, test::with_flipped_byte(100));
  EXPECT_TRUE(fails_with(Code::corrupt, extract_to(out)));
  EXPECT_EQ(read_text(out), "old");
  EXPECT_EQ(names(), 2U);
  ASSERT_TRUE(is_ok(extract_to(link)));
  EXPECT_TRUE(std::filesystem::is_symlink(link)) << "the file behind a link is replaced";
  EXPECT_EQ(read_text(out), image_);
  EXPECT_EQ(names(), 2U);
}

TEST_F(ExtractTest, AContextThatEndsLeavesTheOldFile) {
  const std::string out = dir_.path_of("out");
  write_text(out, "old");
  StopFlag stop;
  faults_.on_call([&](const test::Call&) -> Result<> {
    stop.stop();
    return {};
  });
  const Context stopped = context_.with(stop);
  EXPECT_TRUE(fails_with(Code::cancelled,
                         extract(stopped, *store_, manifest_, file(2), out, {}, damage_, nullptr)));
  EXPECT_EQ(read_text(out), "old");
  EXPECT_EQ(names(), 1U);
}

TEST_F(ExtractTest, RefusesWhatAFileMayNotReplace) {
  const std::string fifo = dir_.path_of("fifo");
  ASSERT_EQ(::mkfifo(fifo.c_str(), 0600), 0);
  std::filesystem::create_symlink("nothing", dir_.path_of("dangling"));
  write_text(dir_.path_of("plain"), "old");
  for (const std::string& path :
       {dir_.path(), fifo, dir_.path_of("dangling"), dir_.path_of("no/where"),
        dir_.path_of("plain/below"), std::string(), std::string("/dev/null")}) {
    EXPECT_TRUE(fails_with(Code::invalid, extract_to(path))) << path;
  }
  EXPECT_EQ(faults_.calls(test::Verb::get), 0U);
  EXPECT_TRUE(fails_with(Code::invalid, extract(context_, *store_, manifest_, FileRef{0, 0, 2},
                                                dir_.path_of("out"), {}, damage_, nullptr)))
      << "a name that is not the content's";
}

}  // namespace
}  // namespace thaw
