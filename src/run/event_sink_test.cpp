#include "run/event_sink.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>

#include "support/result_check.h"
#include "support/temp_dir.h"

namespace thaw::run {
namespace {

using test::fails_with;
using test::is_ok;

std::string read_all(int fd) {
  std::string text;
  std::array<char, 4096> piece{};
  ::fcntl(fd, F_SETFL, O_NONBLOCK);
  for (ssize_t n = 0; (n = ::read(fd, piece.data(), piece.size())) > 0;)
    text.append(piece.data(), static_cast<size_t>(n));
  return text;
}

struct Pipe {
  Pipe() {
    std::array<int, 2> both{};
    EXPECT_EQ(::pipe2(both.data(), O_CLOEXEC), 0);
    reading = UniqueFd(both[0]);
    writing = UniqueFd(both[1]);
  }
  std::string target() const { return fmt::format("fd:{}", writing.get()); }
  UniqueFd reading, writing;
};

TEST(EventSink, WritesALineForEachEvent) {
  const Pipe pipe;
  auto sink = EventSink::open(pipe.target());
  ASSERT_TRUE(is_ok(sink));
  sink->write({{"event", "one"}, {"n", 1}});
  sink->write({{"event", "t\xffw\no"}});
  EXPECT_EQ(read_all(pipe.reading.get()),
            "{\"event\":\"one\",\"n\":1}\n{\"event\":\"t\xef\xbf\xbdw\\no\"}\n");
}

TEST(EventSink, AFullPipeIsNotWaitedForAndLosesWholeEventsAlone) {
  const Pipe pipe;
  auto sink = EventSink::open(pipe.target());
  ASSERT_TRUE(is_ok(sink));
  constexpr int kMany = 2000;
  for (int number = 0; number < kMany; ++number)
    sink->write({{"event", "step"}, {"n", number}, {"text", std::string(100, 'x')}});
  EXPECT_TRUE(sink->waiting());
  std::string text = read_all(pipe.reading.get());
  while (sink->waiting()) {
    sink->flush();
    text += read_all(pipe.reading.get());
  }
  sink->write({{"event", "last"}});
  text += read_all(pipe.reading.get());

  int heard = 0;
  uint64_t dropped = 0;
  size_t begin = 0;
  for (size_t end = 0; (end = text.find('\n', begin)) != std::string::npos; begin = end + 1) {
    const Event event = Event::parse(text.substr(begin, end - begin));
    dropped += event.value("dropped", uint64_t{0});
    ++heard;
  }
  EXPECT_EQ(begin, text.size()) << "half a line";
  EXPECT_GT(dropped, 0U);
  EXPECT_EQ(static_cast<uint64_t>(heard) + dropped, kMany + 1U);
  EXPECT_EQ(::fcntl(pipe.writing.get(), F_GETFL) & O_NONBLOCK, 0) << "the flag is everybody's";
}

TEST(EventSink, ASocketAndAClosedPipeAreNoTrouble) {
  std::array<int, 2> both{};
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, both.data()), 0);
  UniqueFd ours(both[0]);
  const UniqueFd theirs(both[1]);
  auto sink = EventSink::open(fmt::format("fd:{}", theirs.get()));
  ASSERT_TRUE(is_ok(sink));
  sink->write({{"event", "one"}});
  EXPECT_EQ(read_all(ours.get()), "{\"event\":\"one\"}\n");
  ours.reset();
  sink->write({{"event", "two"}});
  sink->write({{"event", "three"}});
  EXPECT_FALSE(sink->waiting());
}

TEST(EventSink, AppendsToAFileAndRefusesWhatIsNone) {
  const test::TempDir folder;
  for (int turn = 0; turn < 2; ++turn) {
    auto sink = EventSink::open(folder.path_of("events"));
    ASSERT_TRUE(is_ok(sink));
    sink->write({{"n", turn}});
  }
  EXPECT_EQ(test::read_text(folder.path_of("events")), "{\"n\":0}\n{\"n\":1}\n");
  EXPECT_FALSE(EventSink::open(folder.path_of("none/events")).ok());
  for (const char* word : {"fd:", "fd:-1", "fd:x", "fd:3x", "fd:99999999999"})
    EXPECT_TRUE(fails_with(Code::invalid, EventSink::open(word))) << word;
  EXPECT_FALSE(EventSink::open("fd:9999").ok());
}

}  // namespace
}  // namespace thaw::run
