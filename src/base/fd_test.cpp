#include "base/fd.h"

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <thread>

#include "support/temp_dir.h"

namespace thaw {
namespace {

using test::read_text;
using test::TempDir;
using test::write_text;

bool is_open(int fd) { return ::fcntl(fd, F_GETFD) >= 0; }

TEST(UniqueFd, ClosesWhatItOwnsOnce) {
  UniqueFd first(::dup(0));
  const int number = first.get();
  ASSERT_TRUE(first.valid());
  UniqueFd second = std::move(first);
  EXPECT_FALSE(first.valid());  // NOLINT(bugprone-use-after-move): what is tested
  EXPECT_TRUE(is_open(number));
  UniqueFd third(::dup(0));
  const int other = third.get();
  third = std::move(second);
  EXPECT_FALSE(is_open(other));
  EXPECT_EQ(third.get(), number);
  third.reset();
  EXPECT_FALSE(is_open(number));
}

TEST(UniqueFd, ReleaseLeavesItOpen) {
  int number = -1;
  {
    UniqueFd fd(::dup(0));
    number = fd.release();
    EXPECT_FALSE(fd.valid());
  }
  EXPECT_TRUE(is_open(number));
  ::close(number);
}

TEST(OpenAt, ClosesOnExecAndNamesThePath) {
  const TempDir dir;
  const auto missing = open_path(dir.path_of("missing"), O_RDONLY);
  ASSERT_FALSE(missing);
  EXPECT_EQ(missing.error().code(), Code::not_found);
  EXPECT_NE(missing.error().text().find("missing"), std::string::npos);

  const auto made = open_path(dir.path_of("made"), O_WRONLY | O_CREAT, 0600);
  ASSERT_TRUE(made);
  EXPECT_NE(::fcntl(made->get(), F_GETFD) & FD_CLOEXEC, 0);
  const auto folder = open_path(dir.path(), O_RDONLY | O_DIRECTORY);
  ASSERT_TRUE(folder);
  EXPECT_TRUE(open_at(folder->get(), "made", O_RDONLY));
}

TEST(PreadUpTo, EndsAtTheEnd) {
  const TempDir dir;
  write_text(dir.path_of("x"), "0123456789");
  const auto fd = open_path(dir.path_of("x"), O_RDONLY);
  ASSERT_TRUE(fd);
  ByteVector bytes(8);
  EXPECT_EQ(*pread_up_to(fd->get(), bytes.span(), 0, "x"), 8U);
  EXPECT_EQ(as_text(bytes.view()), "01234567");
  EXPECT_EQ(*pread_up_to(fd->get(), bytes.span(), 7, "x"), 3U);
  EXPECT_EQ(as_text(bytes.view()).substr(0, 3), "789");
  EXPECT_EQ(*pread_up_to(fd->get(), bytes.span(), 100, "x"), 0U);
  const auto failed = pread_up_to(-1, bytes.span(), 0, "file x");
  ASSERT_FALSE(failed);
  EXPECT_NE(failed.error().text().find("file x"), std::string::npos);
}

TEST(WriteAll, WritesAllThroughANarrowPipe) {
  int ends[2];
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
  const UniqueFd in(ends[0]);
  UniqueFd out(ends[1]);
  const int narrow = 4096;
  ::setsockopt(out.get(), SOL_SOCKET, SO_SNDBUF, &narrow, sizeof narrow);
  const std::string text(1 << 20, 'x');
  std::string received;
  std::thread reader([&] {
    char part[10'000];
    for (ssize_t n = 1; n > 0;) {
      n = ::read(in.get(), part, sizeof part);
      if (n > 0) received.append(part, static_cast<size_t>(n));
    }
  });
  EXPECT_TRUE(write_all(out.get(), as_bytes(text), "socket"));
  out.reset();
  reader.join();
  EXPECT_EQ(received.size(), text.size());
}

TEST(PwriteAll, WritesWhereItIsTold) {
  const TempDir dir;
  write_text(dir.path_of("x"), "0123456789");
  const auto fd = open_path(dir.path_of("x"), O_WRONLY);
  ASSERT_TRUE(fd);
  EXPECT_TRUE(pwrite_all(fd->get(), as_bytes("abc"), 4, "x"));
  EXPECT_TRUE(pwrite_all(fd->get(), as_bytes("z"), 12, "x"));
  EXPECT_EQ(read_text(dir.path_of("x")), std::string("0123abc789\0\0z", 13));
  EXPECT_FALSE(pwrite_all(-1, as_bytes("x"), 0, "x"));
}

TEST(ReadFile, ReadsUpToItsLimit) {
  const TempDir dir;
  write_text(dir.path_of("ten"), "0123456789");
  write_text(dir.path_of("empty"), "");
  const auto ten = read_file(dir.path_of("ten"), 10);
  ASSERT_TRUE(ten);
  EXPECT_EQ(as_text(ten->view()), "0123456789");
  EXPECT_LT(ten->capacity(), 20U) << "no room for twice the file";
  EXPECT_TRUE(read_file(dir.path_of("empty"), 0)->empty());
  EXPECT_EQ(read_file(dir.path_of("ten"), 9).error().code(), Code::exhausted);
  EXPECT_EQ(read_file(dir.path_of("none"), 9).error().code(), Code::not_found);
  EXPECT_EQ(read_file(dir.path(), 1 << 20).error().code(), Code::invalid) << "a folder";
}

TEST(ReadFile, ReadsWhatHasNoSizeOfItsOwn) {
  const auto status = read_file("/proc/self/status", 1 << 20);
  ASSERT_TRUE(status);
  EXPECT_NE(as_text(status->view()).find("Pid:"), std::string_view::npos);
  EXPECT_EQ(read_file("/proc/self/status", 16).error().code(), Code::exhausted);
}

TEST(ReadRegularFile, WaitsForNobody) {
  const TempDir dir;
  write_text(dir.path_of("ten"), "0123456789");
  ASSERT_EQ(::symlink("ten", dir.path_of("link").c_str()), 0);
  EXPECT_EQ(as_text(read_regular_file(dir.path_of("link"), 10)->view()), "0123456789");
  EXPECT_EQ(read_regular_file(dir.path_of("ten"), 9).error().code(), Code::exhausted);
  EXPECT_EQ(read_regular_file(dir.path_of("none"), 9).error().code(), Code::not_found);
  ASSERT_EQ(::mkfifo(dir.path_of("fifo").c_str(), 0600), 0);
  for (const std::string& path : {dir.path_of("fifo"), dir.path(), std::string("/dev/null")})
    EXPECT_EQ(read_regular_file(path, 10).error().code(), Code::invalid) << path;
}

TEST(MakeDirectories, MakesWhatIsMissing) {
  const TempDir dir;
  EXPECT_TRUE(make_directories(dir.path_of("a/b/c")));
  EXPECT_TRUE(make_directories(dir.path_of("a/b/c")));
  EXPECT_TRUE(make_directories(dir.path_of("d/e/")));
  EXPECT_TRUE(make_directories("/"));
  struct stat status {};
  ASSERT_EQ(::stat(dir.path_of("a/b/c").c_str(), &status), 0);
  EXPECT_TRUE(S_ISDIR(status.st_mode));
  ASSERT_EQ(::symlink("a/b", dir.path_of("link").c_str()), 0);
  EXPECT_TRUE(make_directories(dir.path_of("link/x")));
  EXPECT_EQ(::access(dir.path_of("a/b/x").c_str(), F_OK), 0);
}

TEST(MakeDirectories, AFileInTheWayIsAnError) {
  const TempDir dir;
  write_text(dir.path_of("file"), "");
  EXPECT_FALSE(make_directories(dir.path_of("file")));
  EXPECT_FALSE(make_directories(dir.path_of("file/below")));
  ASSERT_EQ(::symlink("nowhere/at/all", dir.path_of("dangling").c_str()), 0);
  EXPECT_FALSE(make_directories(dir.path_of("dangling")));
}

}  // namespace
}  // namespace thaw
