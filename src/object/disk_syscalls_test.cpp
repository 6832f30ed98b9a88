// The disk store on filesystems that fail, lie or lack a call, and what it makes durable. The
// system calls below take the place of libc's in this program; without a hook they do what libc's
// do.
#include <dirent.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <gmock/gmock.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <functional>

#include "object/disk.h"
#include "support/temp_dir.h"

namespace {

// Each answers an errno, or 0 to let the call proceed. Set by one test at a time.
struct Hooks {
  std::function<int(int fd)> fsync;
  std::function<int(int from_folder, const char* from, int to_folder, const char* to)> linkat;
  std::function<int()> renameat2;
  std::function<int()> write;
  std::function<int()> pread;
  std::function<int()> readdir;
};
Hooks hooks;

int answer(long result) { return static_cast<int>(result); }

int fail(int errno_value) {
  errno = errno_value;
  return -1;
}

}  // namespace

extern "C" {

int fsync(int fd) {
  if (const int error = hooks.fsync ? hooks.fsync(fd) : 0) return fail(error);
  return answer(::syscall(SYS_fsync, fd));
}

int linkat(int from_folder, const char* from, int to_folder, const char* to, int flags) noexcept {
  const int error = hooks.linkat ? hooks.linkat(from_folder, from, to_folder, to) : 0;
  if (error != 0) return fail(error);
  return answer(::syscall(SYS_linkat, from_folder, from, to_folder, to, flags));
}

int renameat2(int from_folder, const char* from, int to_folder, const char* to,
              unsigned int flags) noexcept {
  if (const int error = hooks.renameat2 ? hooks.renameat2() : 0) return fail(error);
  return answer(::syscall(SYS_renameat2, from_folder, from, to_folder, to, flags));
}

ssize_t write(int fd, const void* from, size_t size) {
  if (const int error = hooks.write ? hooks.write() : 0) return fail(error);
  return ::syscall(SYS_write, fd, from, size);
}

ssize_t pread(int fd, void* to, size_t size, off_t offset) {
  if (const int error = hooks.pread ? hooks.pread() : 0) return fail(error);
  return ::syscall(SYS_pread64, fd, to, size, offset);
}

dirent* readdir(DIR* folder) {
  static const auto real = reinterpret_cast<dirent* (*)(DIR*)>(::dlsym(RTLD_NEXT, "readdir"));
  if (const int error = hooks.readdir ? hooks.readdir() : 0) {
    errno = error;
    return nullptr;
  }
  return real(folder);
}

}  // extern "C"

namespace thaw {
namespace {

namespace fs = std::filesystem;
using ::testing::ElementsAre;
using ::testing::UnorderedElementsAre;

ObjectKey key(const std::string& text) { return *ObjectKey::parse(text); }

class DiskSyscalls : public ::testing::Test {
 protected:
  void TearDown() override { hooks = {}; }

  Result<PutOutcome> put(const std::string& name, PutMode mode = PutMode::create,
                         std::string text = "text") {
    return store_->put(context_, key(name), Buffer(std::move(text)), mode);
  }
  std::string text_of(const std::string& name) {
    const auto got = store_->get(context_, key(name), ByteRange::whole(), Freshness::any);
    return got ? std::string(as_text(got->bytes.view())) : got.error().text();
  }
  bool has(const std::string& name) { return store_->find(context_, key(name))->has_value(); }
  Result<> remove(const std::string& name) {
    const ObjectKey one = key(name);
    return store_->remove(context_, std::span(&one, 1));
  }
  bool no_temporaries() { return fs::is_empty(root_ + "/.tmp"); }

  // What fsync was called for from now on, below the test's directory: "" is that, "store" the
  // root, "file" any temporary file.
  void record_syncs() {
    hooks.fsync = [this](int fd) {
      char path[4096];
      const ssize_t n =
          ::readlink(("/proc/self/fd/" + std::to_string(fd)).c_str(), path, sizeof path);
      std::string name(path, n > 0 ? static_cast<size_t>(n) : 0);
      name.erase(0, std::min(name.size(), dir_.path().size() + 1));
      syncs_.push_back(name.starts_with("store/.tmp/") ? "file" : name);
      return 0;
    };
  }
  std::vector<std::string> take_syncs() { return std::exchange(syncs_, {}); }

  const test::TempDir dir_;
  const std::string root_ = dir_.path_of("store");
  const Context context_;
  std::vector<std::string> syncs_;
  std::unique_ptr<ObjectStore> store_ = *open_disk_store(root_, Durability::full);
};

// --- durability

TEST_F(DiskSyscalls, EachFolderThatChangedIsSyncedOnce) {
  record_syncs();
  ASSERT_TRUE(put("a/b/1"));
  EXPECT_THAT(take_syncs(), UnorderedElementsAre("", "", "file", "store", "store/a", "store/a/b"))
      << "the folder above the root: as made, and as found by any other writer";
  ASSERT_TRUE(put("a/b/2"));
  EXPECT_THAT(take_syncs(), ElementsAre("file", "store/a/b"));
  ASSERT_TRUE(put("a/b/2", PutMode::overwrite));
  EXPECT_THAT(take_syncs(), ElementsAre("file", "store/a/b"));
  ASSERT_TRUE(put("a/c/1"));
  EXPECT_THAT(take_syncs(), ElementsAre("file", "store/a", "store/a/c"));
  ASSERT_TRUE(put("a/1"));
  EXPECT_THAT(take_syncs(), ElementsAre("file", "store/a"));
  EXPECT_EQ(*put("a/1"), PutOutcome::exists);
  EXPECT_THAT(take_syncs(), ElementsAre());
}

TEST_F(DiskSyscalls, TheFileIsSyncedBeforeItGetsItsName) {
  for (const PutMode mode : {PutMode::create, PutMode::overwrite}) {
    const std::string name = mode == PutMode::create ? "created" : "overwritten";
    ASSERT_TRUE(put("warm", PutMode::overwrite));  // makes the folders, so that two syncs are left
    hooks.fsync = [&, this](int fd) {
      struct stat status {};
      const bool is_file = ::fstat(fd, &status) == 0 && S_ISREG(status.st_mode);
      EXPECT_EQ(has(name), !is_file) << "it gets its name between the two";
      syncs_.emplace_back(is_file ? "file" : "folder");
      return 0;
    };
    ASSERT_TRUE(put(name, mode));
    hooks.fsync = nullptr;
    EXPECT_THAT(take_syncs(), ElementsAre("file", "folder"));
  }
}

TEST_F(DiskSyscalls, FoldersMadeByAnotherWriterAreSyncedToo) {
  const auto other = *open_disk_store(root_, Durability::none);
  ASSERT_TRUE(other->put(context_, key("a/b/1"), Buffer(), PutMode::create));
  record_syncs();
  ASSERT_TRUE(put("a/b/2"));
  EXPECT_THAT(take_syncs(), UnorderedElementsAre("", "file", "store", "store/a", "store/a/b"));
}

TEST_F(DiskSyscalls, AFolderThatIsMadeAgainIsSyncedAgain) {
  ASSERT_TRUE(put("a/b/1"));
  const auto other = *open_disk_store(root_, Durability::none);
  const ObjectKey first = key("a/b/1");
  ASSERT_TRUE(other->remove(context_, std::span(&first, 1)));
  ASSERT_TRUE(other->put(context_, first, Buffer(), PutMode::create));
  record_syncs();
  ASSERT_TRUE(put("a/b/2"));
  EXPECT_THAT(take_syncs(), ElementsAre("file", "store", "store/a", "store/a/b"));
}

TEST_F(DiskSyscalls, ARemovalIsSyncedPerFolder) {
  for (const char* name : {"a/1", "a/2", "a/3", "b/1", "b/2"}) ASSERT_TRUE(put(name));
  record_syncs();
  const std::vector<ObjectKey> keys = {key("a/1"), key("b/1"), key("a/2"), key("c/1")};
  ASSERT_TRUE(store_->remove(context_, keys));
  EXPECT_THAT(take_syncs(), ElementsAre("store/a", "store/b"));
}

TEST_F(DiskSyscalls, WithoutDurabilityNothingIsSynced) {
  store_ = *open_disk_store(root_, Durability::none);
  record_syncs();
  ASSERT_TRUE(put("a/b/1"));
  ASSERT_TRUE(put("a/b/1", PutMode::overwrite));
  ASSERT_TRUE(remove("a/b/1"));
  EXPECT_THAT(take_syncs(), ElementsAre());
}

TEST_F(DiskSyscalls, AFileThatCannotBeSyncedIsNotPublished) {
  hooks.fsync = [](int fd) {
    struct stat status {};
    return ::fstat(fd, &status) == 0 && S_ISREG(status.st_mode) ? EIO : 0;
  };
  const auto outcome = put("a/b");
  ASSERT_FALSE(outcome);
  EXPECT_EQ(outcome.error().code(), Code::unavailable);
  EXPECT_FALSE(has("a/b"));
  EXPECT_TRUE(no_temporaries());
}

TEST_F(DiskSyscalls, AFolderThatCannotBeSyncedIsAnErrorUnlessTheFilesystemHasNoSuchCall) {
  int error = EINVAL;
  hooks.fsync = [&](int fd) {
    struct stat status {};
    return ::fstat(fd, &status) == 0 && S_ISDIR(status.st_mode) ? error : 0;
  };
  EXPECT_TRUE(put("a/b"));
  error = EIO;
  EXPECT_EQ(put("a/c").error().code(), Code::unavailable);
}

// --- claiming a name

TEST_F(DiskSyscalls, WithoutHardLinksARenameClaims) {
  for (const int error : {EPERM, EOPNOTSUPP, ENOSYS}) {
    hooks.linkat = [=](auto...) { return error; };
    const std::string name = "a/" + std::to_string(error);
    EXPECT_EQ(*put(name, PutMode::create, "first"), PutOutcome::stored);
    EXPECT_EQ(*put(name, PutMode::create, "second"), PutOutcome::exists);
    EXPECT_EQ(text_of(name), "first");
    EXPECT_TRUE(no_temporaries());
  }
}

TEST_F(DiskSyscalls, WithoutHardLinksTheLaterOfTwoRenamesLoses) {
  // The other one comes in after this one has looked.
  hooks.linkat = [&](int, const char*, int to_folder, const char* to) {
    const int fd = ::openat(to_folder, to, O_WRONLY | O_CREAT | O_EXCL, 0600);
    EXPECT_GE(fd, 0);
    ::close(fd);
    return EPERM;
  };
  EXPECT_EQ(*put("a"), PutOutcome::exists);
  EXPECT_TRUE(no_temporaries());
}

TEST_F(DiskSyscalls, WithNeitherItFailsClearly) {
  hooks.linkat = [](auto...) { return EPERM; };
  hooks.renameat2 = [] { return EINVAL; };
  const auto outcome = put("a");
  ASSERT_FALSE(outcome);
  EXPECT_EQ(outcome.error().code(), Code::invalid);
  EXPECT_THAT(outcome.error().text(), ::testing::HasSubstr("RENAME_NOREPLACE"));
  EXPECT_FALSE(has("a"));
  EXPECT_TRUE(no_temporaries());
  EXPECT_TRUE(put("a", PutMode::overwrite)) << "which needs neither";
}

TEST_F(DiskSyscalls, ALinkWhoseAnswerWasLostIsOurs) {
  for (const int error : {EEXIST, EIO}) {
    hooks.linkat = [=](int from_folder, const char* from, int to_folder, const char* to) {
      EXPECT_EQ(::syscall(SYS_linkat, from_folder, from, to_folder, to, 0), 0);
      return error;
    };
    const std::string name = "a/" + std::to_string(error);
    const auto outcome = put(name);
    ASSERT_TRUE(outcome) << outcome.error().text();
    EXPECT_EQ(*outcome, PutOutcome::stored);
    EXPECT_EQ(text_of(name), "text");
    EXPECT_TRUE(no_temporaries());
  }
}

TEST_F(DiskSyscalls, ALinkThatFailedFails) {
  hooks.linkat = [](auto...) { return EIO; };
  EXPECT_EQ(put("a").error().code(), Code::unavailable);
  hooks.linkat = [](auto...) { return ENOSPC; };
  EXPECT_EQ(put("a").error().code(), Code::exhausted);
  EXPECT_FALSE(has("a"));
  EXPECT_TRUE(no_temporaries());
}

TEST_F(DiskSyscalls, AFolderThatKeepsVanishingIsBusy) {
  int attempts = 0;
  hooks.linkat = [&](auto...) {
    ++attempts;
    EXPECT_EQ(::rmdir((root_ + "/a/b").c_str()), 0) << "it was made again each time";
    return ENOENT;
  };
  const auto outcome = put("a/b/c");
  ASSERT_FALSE(outcome);
  EXPECT_EQ(outcome.error().code(), Code::busy) << outcome.error().text();
  EXPECT_GT(attempts, 10);
  EXPECT_TRUE(no_temporaries());
  hooks.linkat = [&, left = 3](auto...) mutable {
    if (left-- == 0) return 0;
    ::rmdir((root_ + "/a/b").c_str());
    return ENOENT;
  };
  const auto again = put("a/b/c");
  ASSERT_TRUE(again) << again.error().text();
}

TEST_F(DiskSyscalls, ATemporaryFileThatSomebodyRemovesIsAnError) {
  hooks.linkat = [](int from_folder, const char* from, auto...) {
    EXPECT_EQ(::unlinkat(from_folder, from, 0), 0);
    return 0;
  };
  EXPECT_EQ(put("a").error().code(), Code::unavailable);
  EXPECT_FALSE(has("a"));
}

// --- reading and writing

TEST_F(DiskSyscalls, AWriteThatFailsLeavesNothing) {
  for (const auto& [error, code] :
       {std::pair(ENOSPC, Code::exhausted), std::pair(EDQUOT, Code::exhausted),
        std::pair(EIO, Code::unavailable)}) {
    for (const PutMode mode : {PutMode::create, PutMode::overwrite}) {
      hooks.write = [error = error] { return error; };
      const auto outcome = put("a", mode);
      hooks.write = nullptr;
      ASSERT_FALSE(outcome);
      EXPECT_EQ(outcome.error().code(), code);
      EXPECT_FALSE(has("a"));
      EXPECT_TRUE(no_temporaries());
    }
  }
}

TEST_F(DiskSyscalls, AStopEndsALargeWriteBetweenPieces) {
  const std::string large(20 << 20, 'x');
  StopFlag flag;
  int writes = 0;
  hooks.write = [&] {
    ++writes;
    flag.stop();
    return 0;
  };
  const auto outcome =
      store_->put(Context(flag), key("a"), Buffer(std::string(large)), PutMode::create);
  hooks.write = nullptr;
  ASSERT_FALSE(outcome);
  EXPECT_EQ(outcome.error().code(), Code::cancelled);
  EXPECT_EQ(writes, 1);
  EXPECT_FALSE(has("a"));
  EXPECT_TRUE(no_temporaries());
}

TEST_F(DiskSyscalls, AStopEndsALargeReadBetweenPieces) {
  ASSERT_TRUE(put("a", PutMode::create, std::string(20 << 20, 'x')));
  StopFlag flag;
  int reads = 0;
  hooks.pread = [&] {
    ++reads;
    flag.stop();
    return 0;
  };
  const auto got = store_->get(Context(flag), key("a"), ByteRange::whole(), Freshness::any);
  ASSERT_FALSE(got);
  EXPECT_EQ(got.error().code(), Code::cancelled);
  EXPECT_EQ(reads, 1);
}

TEST_F(DiskSyscalls, AReadThatFailsOrFallsShortIsAnError) {
  ASSERT_TRUE(put("a", PutMode::create, "0123456789"));
  hooks.pread = [] { return EIO; };
  const auto failed = store_->get(context_, key("a"), ByteRange::whole(), Freshness::any);
  ASSERT_FALSE(failed);
  EXPECT_EQ(failed.error().code(), Code::unavailable);
  hooks.pread = [this] {
    fs::resize_file(root_ + "/a", 5);
    return 0;
  };
  const auto cut = store_->get(context_, key("a"), ByteRange::whole(), Freshness::any);
  ASSERT_FALSE(cut) << "never fewer bytes than range and size allow";
  EXPECT_EQ(cut.error().code(), Code::unavailable);
}

// --- listing

TEST_F(DiskSyscalls, AListReadsOnlyTheFoldersThatMayHoldItsNames) {
  store_ = *open_disk_store(root_, Durability::none);
  for (int i = 100; i < 140; ++i) {
    const std::string n = std::to_string(i);
    for (const char* leaf : {"/@/1", "/@/2", "/@/3"}) ASSERT_TRUE(put("keys/k" + n + leaf));
  }
  int reads = 0;
  hooks.readdir = [&] {
    ++reads;
    return 0;
  };
  const auto reads_of = [&](std::string_view prefix, ListOptions options, size_t names) {
    reads = 0;
    const auto page = store_->list(context_, prefix, std::move(options));
    EXPECT_EQ(page->objects.size(), names);
    return reads;
  };
  // A folder of n entries takes n + 3 reads: ".", ".." and the end.
  EXPECT_EQ(reads_of("keys/k120/@/", {"", 1}, 1), 6) << "straight to the folder";
  EXPECT_EQ(reads_of("keys/k120", {}, 3), 43 + 4 + 6) << "one of all keys";
  EXPECT_EQ(reads_of("keys/", {"keys/k138/@/3", 1000}, 3), 43 + 2 * (4 + 6)) << "the last two";
  EXPECT_EQ(reads_of("", {"", 2}, 2), 5 + 43 + 4 + 6) << "ends when the page is full";
}

TEST_F(DiskSyscalls, AFolderThatCannotBeReadIsAnError) {
  ASSERT_TRUE(put("a/b"));
  hooks.readdir = [] { return EIO; };
  const auto page = store_->list(context_, "", {});
  ASSERT_FALSE(page) << "not a short list";
  EXPECT_EQ(page.error().code(), Code::unavailable);
}

}  // namespace
}  // namespace thaw
