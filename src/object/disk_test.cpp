// What only the disk store does; the rest is told in test/conformance.
#include "object/disk.h"

#include <gmock/gmock.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>

#include "base/fd.h"
#include "support/temp_dir.h"

namespace thaw {
namespace {

namespace fs = std::filesystem;
using test::read_text;
using test::TempDir;
using test::write_text;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::UnorderedElementsAre;

ObjectKey key(const std::string& text) { return *ObjectKey::parse(text); }

// The names of a folder's entries.
std::vector<std::string> entries_of(const std::string& folder) {
  std::vector<std::string> names;
  std::error_code error;
  for (const auto& each : fs::directory_iterator(folder, error)) {
    names.push_back(each.path().filename());
  }
  return names;
}

class Disk : public ::testing::Test {
 protected:
  std::unique_ptr<ObjectStore> open(Durability durability = Durability::none) {
    return *open_disk_store(root_, durability);
  }
  Result<PutOutcome> put(const std::string& name, std::string text,
                         PutMode mode = PutMode::overwrite) {
    return store_->put(context_, key(name), Buffer(std::move(text)), mode);
  }
  Code code_of_get(const std::string& name) {
    const auto got = store_->get(context_, key(name), ByteRange::whole(), Freshness::any);
    return got ? Code::internal : got.error().code();  // internal: there it is
  }
  std::string text_of(const std::string& name) {
    const auto got = store_->get(context_, key(name), ByteRange::whole(), Freshness::any);
    return got ? std::string(as_text(got->bytes.view())) : got.error().text();
  }
  bool has(const std::string& name) { return store_->find(context_, key(name))->has_value(); }
  std::vector<std::string> names(std::string_view prefix = "") {
    std::vector<std::string> all;
    const auto page = store_->list(context_, prefix, {});
    for (const Listed& each : page->objects) all.push_back(each.key.text());
    return all;
  }
  Result<> remove(const std::string& name) {
    const ObjectKey one = key(name);
    return store_->remove(context_, std::span(&one, 1));
  }

  const TempDir dir_;
  const std::string root_ = dir_.path_of("store");
  std::unique_ptr<ObjectStore> store_ = open();
  const Context context_;
};

// --- the root

TEST_F(Disk, TheRootIsMadeAtTheFirstPut) {
  EXPECT_FALSE(has("a"));
  EXPECT_FALSE(fs::exists(root_)) << "who only looks leaves nothing";
  ASSERT_TRUE(put("a/b", "x"));
  EXPECT_EQ(read_text(root_ + "/a/b"), "x");
  EXPECT_EQ(store_->describe(), "disk(" + root_ + ")");
}

TEST_F(Disk, TheRootIsMadeAgainWhenItWasRemoved) {
  ASSERT_TRUE(put("a", "x"));
  fs::remove_all(root_);
  EXPECT_EQ(code_of_get("a"), Code::not_found);
  ASSERT_TRUE(put("b", "y"));
  EXPECT_THAT(names(), ElementsAre("b"));
}

TEST_F(Disk, AFileIsNoRoot) {
  write_text(dir_.path_of("file"), "");
  const auto opened = open_disk_store(dir_.path_of("file"));
  ASSERT_FALSE(opened);
  EXPECT_EQ(opened.error().code(), Code::invalid);
  EXPECT_EQ(open_disk_store("").error().code(), Code::invalid);
  EXPECT_EQ(open_disk_store(std::string("a\0b", 3)).error().code(), Code::invalid);
}

TEST_F(Disk, TheRootMayBeReachedThroughALink) {
  fs::create_directory(dir_.path_of("elsewhere"));
  fs::create_directory_symlink(dir_.path_of("elsewhere"), root_);
  ASSERT_TRUE(put("a", "x"));
  EXPECT_EQ(read_text(dir_.path_of("elsewhere/a")), "x");
  EXPECT_THAT(names(), ElementsAre("a"));
}

TEST_F(Disk, ARelativeRootStaysWhereItWas) {
  const fs::path before = fs::current_path();
  fs::current_path(dir_.path());
  store_ = *open_disk_store("relative//");
  fs::current_path("/");
  const auto outcome = put("a", "x");
  fs::current_path(before);
  ASSERT_TRUE(outcome) << outcome.error().text();
  EXPECT_EQ(read_text(dir_.path_of("relative/a")), "x");
}

// --- what is no object

TEST_F(Disk, LinksAreNotFollowed) {
  write_text(dir_.path_of("secret"), "secret");
  fs::create_directory(dir_.path_of("outside"));
  write_text(dir_.path_of("outside/x"), "secret");
  ASSERT_TRUE(put("real/x", "real"));
  fs::create_symlink("../secret", root_ + "/file");
  fs::create_symlink("real/x", root_ + "/inside");
  fs::create_symlink("nowhere", root_ + "/dangling");
  fs::create_directory_symlink("../outside", root_ + "/folder");
  fs::create_directory_symlink("real", root_ + "/folder2");

  for (const char* name : {"file", "inside", "dangling", "folder/x", "folder2/x", "folder"}) {
    EXPECT_EQ(code_of_get(name), Code::not_found) << name;
    EXPECT_FALSE(has(name)) << name;
    EXPECT_TRUE(remove(name)) << name;
  }
  EXPECT_THAT(names(), ElementsAre("real/x"));
  EXPECT_THAT(names("folder/"), ElementsAre());
  EXPECT_TRUE(fs::is_symlink(root_ + "/file")) << "what is no object is not removed";
  EXPECT_EQ(read_text(dir_.path_of("outside/x")), "secret");

  for (const PutMode mode : {PutMode::create, PutMode::overwrite}) {
    const auto outcome = put("folder/y", "z", mode);
    ASSERT_FALSE(outcome);
    EXPECT_EQ(outcome.error().code(), Code::invalid) << outcome.error().text();
  }
  EXPECT_THAT(entries_of(dir_.path_of("outside")), ElementsAre("x"));
  EXPECT_EQ(put("file", "z", PutMode::create).error().code(), Code::invalid);
  ASSERT_TRUE(put("file", "z")) << "an overwrite replaces the link, not what it points to";
  EXPECT_EQ(read_text(dir_.path_of("secret")), "secret");
  EXPECT_EQ(text_of("file"), "z");
}

TEST_F(Disk, SpecialFilesAreNoObjects) {
  ASSERT_TRUE(put("x", "y"));
  ASSERT_EQ(::mkfifo((root_ + "/pipe").c_str(), 0600), 0);
  const UniqueFd socket(::socket(AF_UNIX, SOCK_STREAM, 0));
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  const std::string path = root_ + "/socket";
  ASSERT_LT(path.size(), sizeof address.sun_path);
  path.copy(address.sun_path, path.size());
  ASSERT_EQ(::bind(socket.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
  for (const char* name : {"pipe", "socket"}) {
    EXPECT_EQ(code_of_get(name), Code::not_found) << name;
    EXPECT_FALSE(has(name)) << name;
    EXPECT_TRUE(remove(name));
    EXPECT_TRUE(fs::exists(root_ + "/" + name));
  }
  EXPECT_THAT(names(), ElementsAre("x"));
}

TEST_F(Disk, TemporaryFilesAreNoObjects) {
  ASSERT_TRUE(put("x", "y"));
  write_text(root_ + "/.tmp/half", "half");
  EXPECT_EQ(code_of_get(".tmp/half"), Code::not_found);
  EXPECT_FALSE(has(".tmp/half"));
  EXPECT_TRUE(remove(".tmp/half"));
  EXPECT_TRUE(fs::exists(root_ + "/.tmp/half"));
  EXPECT_EQ(put(".tmp/half", "z").error().code(), Code::invalid);
  EXPECT_EQ(put(".tmp", "z").error().code(), Code::invalid);
  EXPECT_THAT(names(), ElementsAre("x"));
  EXPECT_THAT(names(".tmp/"), ElementsAre());
  EXPECT_THAT(names(".t"), ElementsAre());
}

TEST_F(Disk, FilesTooDeepForAnObjectsNameAreNotListed) {
  ASSERT_TRUE(put("x", "y"));
  std::string path = root_ + "/deep";
  fs::create_directory(path);
  for (int depth = 0; depth < 6; ++depth) {
    path += "/" + std::string(200, 'd');
    fs::create_directory(path);
    write_text(path + "/file", "");
  }
  const std::vector<std::string> all = names();
  EXPECT_EQ(all.size(), 6U) << "x and those down to 1,024 bytes";
  for (const std::string& name : all) EXPECT_TRUE(has(name));
}

// --- writing

TEST_F(Disk, NothingIsLeftInTheTemporaryFolder) {
  ASSERT_TRUE(put("a/b", "1"));
  ASSERT_TRUE(put("a/b", "2"));
  EXPECT_EQ(*put("a/b", "3", PutMode::create), PutOutcome::exists);
  EXPECT_FALSE(put("a/b/c", "4"));
  EXPECT_FALSE(put("a", "5", PutMode::create));
  EXPECT_THAT(entries_of(root_ + "/.tmp"), ElementsAre());
  EXPECT_EQ(text_of("a/b"), "2");
}

TEST_F(Disk, LeftoversADayOldAreRemovedByTheFirstPut) {
  fs::create_directories(root_ + "/.tmp");
  const auto age = [&](const std::string& name, int hours) {
    write_text(root_ + "/.tmp/" + name, "left by a crash");
    const std::string path = root_ + "/.tmp/" + name;
    fs::last_write_time(path, fs::last_write_time(path) - std::chrono::hours(hours));
  };
  age("old", 25);
  age("older", 24 * 365);
  age("recent", 23);
  age("new", 0);
  ASSERT_TRUE(put("x", "y"));
  EXPECT_THAT(entries_of(root_ + "/.tmp"), UnorderedElementsAre("recent", "new"));
  age("later", 48);
  ASSERT_TRUE(put("x", "z"));
  EXPECT_THAT(entries_of(root_ + "/.tmp"), UnorderedElementsAre("recent", "new", "later"));
  store_ = open();
  ASSERT_TRUE(put("x", "z"));
  EXPECT_THAT(entries_of(root_ + "/.tmp"), UnorderedElementsAre("recent", "new"));
}

TEST_F(Disk, AFileWhereAFolderShouldBe) {
  ASSERT_TRUE(put("a", "object"));
  for (const char* name : {"a/b", "a/b/c"}) {
    const auto outcome = put(name, "x");
    ASSERT_FALSE(outcome);
    EXPECT_EQ(outcome.error().code(), Code::invalid);
    EXPECT_THAT(outcome.error().text(), HasSubstr(name));
  }
  EXPECT_EQ(text_of("a"), "object");
}

TEST_F(Disk, AnEmptyFolderLeftByACrashIsInNobodysWay) {
  for (const PutMode mode : {PutMode::create, PutMode::overwrite}) {
    const std::string name = mode == PutMode::create ? "a/created" : "a/overwritten";
    fs::create_directories(root_ + "/" + name);
    const auto outcome = put(name, "x", mode);
    ASSERT_TRUE(outcome) << outcome.error().text();
    EXPECT_EQ(text_of(name), "x");
  }
}

TEST_F(Disk, FoldersAreSharedWithOtherUsersAsTheUmaskSays) {
  const mode_t before = ::umask(027);
  const auto outcome = put("a/b", "x");
  ::umask(before);
  ASSERT_TRUE(outcome);
  EXPECT_EQ(static_cast<int>(fs::status(root_ + "/a").permissions()), 0750);
  EXPECT_EQ(static_cast<int>(fs::status(root_ + "/a/b").permissions()), 0640);
}

// --- removing

TEST_F(Disk, EmptyFoldersArePruned) {
  ASSERT_TRUE(put("a/b/c/d", "1"));
  ASSERT_TRUE(put("a/e", "2"));
  ASSERT_TRUE(remove("a/b/c/d"));
  EXPECT_FALSE(fs::exists(root_ + "/a/b"));
  EXPECT_TRUE(fs::exists(root_ + "/a/e"));
  ASSERT_TRUE(remove("a/e"));
  EXPECT_THAT(entries_of(root_), ElementsAre(".tmp")) << "the root stays";
}

TEST_F(Disk, WhatOthersPutIntoAFolderKeepsIt) {
  ASSERT_TRUE(put("a/b", "1"));
  fs::create_symlink("nowhere", root_ + "/a/link");
  ASSERT_TRUE(remove("a/b"));
  EXPECT_TRUE(fs::is_symlink(root_ + "/a/link"));
}

TEST_F(Disk, RemovingFromManyFoldersTakesFewDescriptors) {
  std::vector<ObjectKey> keys;
  for (int i = 0; i < 300; ++i) keys.push_back(key("folder" + std::to_string(i) + "/x"));
  for (const ObjectKey& each : keys) ASSERT_TRUE(put(each.text(), ""));
  rlimit before{};
  ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &before), 0);
  rlimit few = before;
  few.rlim_cur = 150;
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &few), 0);
  const auto removed = store_->remove(context_, keys);
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &before), 0);
  ASSERT_TRUE(removed) << removed.error().text();
  EXPECT_THAT(entries_of(root_), ElementsAre(".tmp"));
}

// --- a filesystem that refuses

// A filesystem of the test's own, unmounted at the end. Only root can have one.
class Mounted {
 public:
  Mounted(std::string path, const char* options) : path_(std::move(path)) {
    fs::create_directories(path_);
    mounted_ = ::mount("thaw-test", path_.c_str(), "tmpfs", 0, options) == 0;
  }
  Mounted(const Mounted&) = delete;
  Mounted& operator=(const Mounted&) = delete;
  ~Mounted() {
    if (mounted_) ::umount2(path_.c_str(), MNT_DETACH);
  }
  bool mounted() const { return mounted_; }
  void make_read_only() const {
    ASSERT_EQ(::mount(nullptr, path_.c_str(), nullptr, MS_REMOUNT | MS_RDONLY, nullptr), 0);
  }

 private:
  std::string path_;
  bool mounted_ = false;
};

TEST_F(Disk, AFullDiskIsExhausted) {
  const Mounted disk(root_, "size=1m");
  if (!disk.mounted()) GTEST_SKIP() << "cannot mount a filesystem here";
  store_ = open(Durability::full);
  ASSERT_TRUE(put("small", "1"));
  for (const PutMode mode : {PutMode::create, PutMode::overwrite}) {
    const auto outcome = put("large", std::string(2 << 20, 'x'), mode);
    ASSERT_FALSE(outcome);
    EXPECT_EQ(outcome.error().code(), Code::exhausted) << outcome.error().text();
    EXPECT_THAT(outcome.error().text(), HasSubstr("put large"));
  }
  EXPECT_FALSE(put("small", std::string(2 << 20, 'x')));
  EXPECT_EQ(text_of("small"), "1");
  EXPECT_THAT(entries_of(root_ + "/.tmp"), ElementsAre());
  EXPECT_THAT(names(), ElementsAre("small"));
  ASSERT_TRUE(put("small", std::string(500'000, 'x'))) << "the room was given back";
}

TEST_F(Disk, AReadOnlyStoreIsDeniedToWritersAndOpenToReaders) {
  const Mounted disk(root_, "size=1m");
  if (!disk.mounted()) GTEST_SKIP() << "cannot mount a filesystem here";
  ASSERT_TRUE(put("a/b", "1"));
  disk.make_read_only();
  EXPECT_EQ(put("c", "2").error().code(), Code::denied);
  EXPECT_EQ(put("a/b", "2").error().code(), Code::denied);
  EXPECT_EQ(*put("a/b", "2", PutMode::create), PutOutcome::exists);
  EXPECT_EQ(remove("a/b").error().code(), Code::denied);
  EXPECT_EQ(text_of("a/b"), "1");
  EXPECT_THAT(names(), ElementsAre("a/b"));
}

TEST_F(Disk, AClosedFolderIsDenied) {
  if (::geteuid() == 0) GTEST_SKIP() << "nothing is closed to root";
  ASSERT_TRUE(put("a/b", "1"));
  fs::permissions(root_ + "/a", fs::perms::none);
  EXPECT_EQ(code_of_get("a/b"), Code::denied);
  EXPECT_EQ(store_->find(context_, key("a/b")).error().code(), Code::denied);
  EXPECT_EQ(store_->list(context_, "", {}).error().code(), Code::denied);
  EXPECT_EQ(put("a/c", "2").error().code(), Code::denied);
  fs::permissions(root_ + "/a", fs::perms::owner_all);
}

// --- crashes

// A process that is killed while it writes leaves whole objects and nothing else in sight.
TEST_F(Disk, AKilledWriterLeavesWholeObjects) {
  constexpr size_t kBytes = 300'000;
  for (int round = 0; round < 15; ++round) {
    int ends[2];
    ASSERT_EQ(::pipe(ends), 0);
    const pid_t writer = ::fork();
    ASSERT_GE(writer, 0);
    if (writer == 0) {
      ::close(ends[0]);
      for (int i = 0;; ++i) {
        const std::string text(kBytes, static_cast<char>('a' + i % 26));
        const bool done =
            put("over/written", text).ok() &&
            put("created/" + std::to_string(round) + "/" + std::to_string(i), text, PutMode::create)
                .ok();
        if (!done || ::write(ends[1], "x", 1) != 1) ::_exit(1);
      }
    }
    ::close(ends[1]);
    char ticks[16];
    // So many puts later, wherever the writer is by then.
    for (ssize_t seen = 0; seen < 1 + round % 4;) {
      const ssize_t n = ::read(ends[0], ticks, sizeof ticks);
      ASSERT_GT(n, 0);
      seen += n;
    }
    ::kill(writer, SIGKILL);
    ::waitpid(writer, nullptr, 0);
    ::close(ends[0]);
    for (const std::string& name : names()) {
      const std::string text = text_of(name);
      ASSERT_EQ(text, std::string(kBytes, text.front())) << name;
    }
    ASSERT_TRUE(has("over/written"));
  }
}

}  // namespace
}  // namespace thaw
