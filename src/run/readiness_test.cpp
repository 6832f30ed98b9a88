#include "run/readiness.h"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include "base/fd.h"
#include "support/result_check.h"
#include "support/temp_dir.h"

namespace thaw::run {
namespace {

using std::chrono::milliseconds;
using test::fails_with;
using test::is_ok;
using Kind = Readiness::Kind;

Readiness of(Kind kind, std::string target) {
  Readiness readiness;
  readiness.kind = kind;
  readiness.target = std::move(target);
  return readiness;
}

TEST(Readiness, RefusesWordsThatAreNone) {
  EXPECT_TRUE(is_ok(check_readiness(of(Kind::tcp, "[::1]:80"))));
  for (const char* place : {"80", ":80", "host:", "host:port", "host:123456", ""})
    EXPECT_TRUE(fails_with(Code::invalid, check_readiness(of(Kind::tcp, place)))) << place;
  EXPECT_TRUE(is_ok(check_readiness(of(Kind::http, "http://127.0.0.1/"))));
  EXPECT_TRUE(fails_with(Code::invalid, check_readiness(of(Kind::http, "file:///etc/passwd"))));
  Readiness pattern = of(Kind::http, "http://127.0.0.1/");
  pattern.body_pattern = "(";
  EXPECT_TRUE(fails_with(Code::invalid, check_readiness(pattern)));
  Readiness fd;
  fd.kind = Kind::fd;
  for (const int number : {-1, 0, 2}) {
    fd.number = number;
    EXPECT_TRUE(fails_with(Code::invalid, check_readiness(fd)));
  }
}

TEST(Readiness, AFileCountsWhenItIsNew) {
  const test::TempDir folder;
  const std::string path = folder.path_of("flag");
  const Context all;
  EXPECT_FALSE(mark_of(path).has_value());
  test::write_text(path, "old");
  const FileMark before = mark_of(path);
  const Context bounded = all.within(milliseconds(60));
  EXPECT_TRUE(fails_with(Code::timeout, wait_until_ready(bounded, of(Kind::file, path), before)));
  test::write_text(folder.path_of("new"), "new");
  ASSERT_EQ(::rename(folder.path_of("new").c_str(), path.c_str()), 0);
  EXPECT_TRUE(is_ok(wait_until_ready(all, of(Kind::file, path), before)));
}

TEST(Readiness, APortCountsWhenItTakesConnections) {
  const UniqueFd server(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  struct sockaddr_in address {};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  auto* general = reinterpret_cast<struct sockaddr*>(&address);
  ASSERT_EQ(::bind(server.get(), general, size), 0);
  ASSERT_EQ(::getsockname(server.get(), general, &size), 0);
  const Readiness tcp = of(Kind::tcp, fmt::format("127.0.0.1:{}", ntohs(address.sin_port)));
  const Context all;
  const Context bounded = all.within(milliseconds(60));
  EXPECT_TRUE(fails_with(Code::timeout, wait_until_ready(bounded, tcp, std::nullopt)));
  ASSERT_EQ(::listen(server.get(), 8), 0);
  EXPECT_TRUE(is_ok(wait_until_ready(all, tcp, std::nullopt)));
}

}  // namespace
}  // namespace thaw::run
