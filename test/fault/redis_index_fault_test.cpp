// What happens to an index in Redis: servers that die, stall, are full, lie, or are not who they
// say.
#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <thread>

#include "base/fd.h"
#include "index/redis_index.h"
#include "object/block_notes.h"
#include "support/index_cases.h"
#include "support/redis_server.h"
#include "support/result_check.h"

namespace thaw {
namespace {

using std::chrono::milliseconds;
using test::block_of;
using test::expect_true_sums;
using test::fails_with;
using test::is_ok;
using test::RedisServer;
using Kind = BlockNote::Kind;

constexpr milliseconds kPatient = std::chrono::minutes(1);

std::unique_ptr<RecencyIndex> index_at(const std::string& url, milliseconds patience = kPatient) {
  return make_redis_index({parse_redis_url(url).value(), patience});
}

std::vector<BlockNote> notes_of(Kind kind, uint64_t from, uint64_t count) {
  std::vector<BlockNote> notes;
  for (uint64_t i = from; i < from + count; ++i) {
    notes.push_back({kind, block_of("o" + std::to_string(i % 7), i), Timestamp{1'000'000}, i + 1});
  }
  return notes;
}

class RedisIndexFault : public ::testing::Test {
 protected:
  Result<> apply(Kind kind, uint64_t from, uint64_t count) {
    return index_->apply(context_, notes_of(kind, from, count));
  }
  IndexUsage usage() { return index_->usage(context_, UsageOf::all()).value(); }

  RedisServer server_;
  const std::unique_ptr<RecencyIndex> index_ = index_at(server_.url("p"));
  const Context context_;
};

TEST_F(RedisIndexFault, KilledItAnswersErrorsAndRestartedItIsEmpty) {
  ASSERT_TRUE(is_ok(apply(Kind::admit, 0, 100)));
  server_.kill();
  EXPECT_TRUE(fails_with(Code::unavailable, apply(Kind::touch, 0, 1)));
  EXPECT_TRUE(fails_with(Code::unavailable, index_->usage(context_, UsageOf::all())));
  server_.start();
  EXPECT_EQ(usage(), IndexUsage());
  ASSERT_TRUE(is_ok(apply(Kind::evict, 0, 50)));
  ASSERT_TRUE(is_ok(apply(Kind::touch, 50, 50)));
  ASSERT_TRUE(is_ok(apply(Kind::admit, 90, 20)));
  EXPECT_EQ(usage().blocks, 20U);
  expect_true_sums(*index_);
}

// The connection broke between two calls: nobody has to know.
TEST_F(RedisIndexFault, ARestartBetweenCallsIsNotSeen) {
  for (int i = 0; i < 3; ++i) {
    ASSERT_TRUE(is_ok(apply(Kind::admit, 0, 300)));
    server_.kill();
    server_.start();
  }
  ASSERT_TRUE(is_ok(index_->coldest(context_, Timestamp{INT64_MAX}, 10, "")));
}

TEST_F(RedisIndexFault, ScriptsThatWereFlushedAreSentAgain) {
  for (int i = 0; i < 3; ++i) {
    ASSERT_TRUE(is_ok(apply(Kind::admit, 0, 1'000)));
    ASSERT_TRUE(is_ok(apply(Kind::evict, 500, 100)));
    server_.ask({"SCRIPT", "FLUSH"});
    ASSERT_TRUE(is_ok(index_->apply(context_, [] {
      auto notes = notes_of(Kind::evict, 0, 300);
      const auto more = notes_of(Kind::admit, 0, 400);
      notes.insert(notes.end(), more.begin(), more.end());
      return notes;
    }())));
    expect_true_sums(*index_);
    EXPECT_EQ(usage().blocks, 900U);
    server_.ask({"SCRIPT", "FLUSH"});
    ASSERT_TRUE(is_ok(index_->reconcile(context_)));
  }
}

TEST_F(RedisIndexFault, AServerThatStallsIsLeft) {
  ASSERT_TRUE(is_ok(apply(Kind::admit, 0, 10)));
  const Context limited = context_.within(milliseconds(50));
  server_.ask({"CLIENT", "PAUSE", "600000", "WRITE"});
  EXPECT_TRUE(fails_with(Code::timeout, index_->apply(limited, notes_of(Kind::touch, 0, 1))));
  const auto impatient = index_at(server_.url("p"), milliseconds(50));
  EXPECT_TRUE(
      fails_with(Code::unavailable, impatient->apply(context_, notes_of(Kind::touch, 0, 1))));
  server_.ask({"CLIENT", "UNPAUSE"});
  ASSERT_TRUE(is_ok(impatient->apply(context_, notes_of(Kind::admit, 10, 5))));

  server_.freeze();
  EXPECT_TRUE(fails_with(Code::unavailable, impatient->usage(context_, UsageOf::all())));
  StopFlag stop;
  const Context stopped = context_.with(stop);
  std::thread stopper([&] { stop.stop(); });
  EXPECT_TRUE(fails_with(Code::cancelled, index_->usage(stopped, UsageOf::all())));
  stopper.join();
  server_.thaw();
  // An answer that came late is not taken for another's.
  EXPECT_EQ(usage(), (IndexUsage{120, 15}));
  expect_true_sums(*index_);
}

TEST_F(RedisIndexFault, AFullServerStillForgets) {
  ASSERT_TRUE(is_ok(apply(Kind::admit, 0, 1'000)));
  server_.ask({"CONFIG", "SET", "maxmemory-policy", "noeviction"});
  server_.ask({"CONFIG", "SET", "maxmemory", "1"});
  const IndexUsage before = usage();
  EXPECT_TRUE(fails_with(Code::exhausted, apply(Kind::admit, 1'000, 10)));
  EXPECT_TRUE(fails_with(Code::exhausted, apply(Kind::touch, 1'000, 10)));
  EXPECT_EQ(usage(), before);
  expect_true_sums(*index_);
  ASSERT_TRUE(is_ok(apply(Kind::evict, 0, 600)));
  EXPECT_EQ(usage().blocks, 400U);
  EXPECT_EQ(index_->evict_prefix(context_, test::in_tier("o1")).value(), 57U);
  expect_true_sums(*index_);
  EXPECT_TRUE(fails_with(Code::exhausted, index_->reconcile(context_)));
  expect_true_sums(*index_);
  server_.ask({"CONFIG", "SET", "maxmemory", "0"});
  ASSERT_TRUE(is_ok(apply(Kind::admit, 1'000, 10)));
  expect_true_sums(*index_);
  ASSERT_TRUE(is_ok(index_->reconcile(context_)));
  expect_true_sums(*index_);
}

// --- what others do to its keys

TEST_F(RedisIndexFault, SumsThatWereLostAreMadeAnew) {
  ASSERT_TRUE(is_ok(apply(Kind::admit, 0, 3'000)));
  const IndexUsage before = usage();
  server_.ask({"DEL", "{p}:sums0"});
  server_.ask({"DEL", "{p}:sums1"});
  ASSERT_TRUE(is_ok(apply(Kind::evict, 0, 10)));
  const auto found = index_->reconcile(context_);
  ASSERT_TRUE(is_ok(found));
  EXPECT_EQ(found->before, IndexUsage()) << "less than nothing is nothing";
  EXPECT_EQ(found->after.blocks, before.blocks - 10);
  expect_true_sums(*index_);
}

TEST_F(RedisIndexFault, HalvesOfBlocksAreForgotten) {
  ASSERT_TRUE(is_ok(apply(Kind::admit, 0, 1'000)));
  server_.ask({"ZREMRANGEBYRANK", "{p}:use", "0", "99"});
  ASSERT_TRUE(is_ok(index_->reconcile(context_)));
  EXPECT_EQ(usage().blocks, 900U);
  expect_true_sums(*index_);
  server_.ask({"DEL", "{p}:size"});
  ASSERT_TRUE(is_ok(index_->reconcile(context_)));
  EXPECT_EQ(usage(), IndexUsage());
  EXPECT_EQ(test::walk(*index_).size(), 900U);
  server_.ask({"DEL", "{p}:state"});
  ASSERT_TRUE(is_ok(apply(Kind::admit, 0, 1'000)));
  ASSERT_TRUE(is_ok(index_->reconcile(context_)));
  expect_true_sums(*index_);
}

TEST_F(RedisIndexFault, AKeyOfAnotherKindIsAnError) {
  server_.ask({"SET", "{p}:use", "x"});
  EXPECT_TRUE(fails_with(Code::invalid, apply(Kind::touch, 0, 1)));
  EXPECT_FALSE(apply(Kind::admit, 0, 1).ok());
  EXPECT_FALSE(index_->coldest(context_, Timestamp{1}, 1, "").ok());
}

// One that did not end leaves marks, which the next one does not take for its own.
TEST_F(RedisIndexFault, AReconcileThatWasBrokenOffIsDoneAgain) {
  ASSERT_TRUE(is_ok(apply(Kind::admit, 0, 5'000)));
  server_.ask({"HSET", "{p}:state", "mark", "abcd"});
  server_.ask({"HINCRBY", "{p}:sums1", "ba", "77"});
  server_.ask({"HINCRBY", "{p}:sums1", "na", "3"});
  ASSERT_TRUE(is_ok(apply(Kind::admit, 0, 100)));
  ASSERT_TRUE(is_ok(apply(Kind::evict, 50, 100)));
  for (int i = 0; i < 3; ++i) {
    ASSERT_TRUE(is_ok(index_->reconcile(context_)));
    expect_true_sums(*index_);
  }
  EXPECT_EQ(usage().blocks, 4'900U);
}

TEST_F(RedisIndexFault, OfSeveralReconcilesTheLastOneCounts) {
  ASSERT_TRUE(is_ok(apply(Kind::admit, 0, 2'000)));
  std::atomic<int> done{0};
  std::vector<std::thread> threads;
  for (int thread = 0; thread < 3; ++thread) {
    threads.emplace_back([&] {
      const auto mine = index_at(server_.url("p"));
      for (int i = 0; i < 5; ++i) {
        const auto found = mine->reconcile(context_);
        if (found) ++done;
        EXPECT_TRUE(found || found.error().code() == Code::busy);
      }
    });
  }
  for (uint64_t i = 0; i < 20; ++i) {
    EXPECT_TRUE(is_ok(apply(Kind::evict, i * 10, 10)));
    EXPECT_TRUE(is_ok(apply(Kind::admit, i * 7, 10)));
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_GT(done, 0);
  expect_true_sums(*index_);
}

TEST_F(RedisIndexFault, ItKeepsToItsPrefix) {
  const auto other = index_at(server_.url("pp"));
  ASSERT_TRUE(is_ok(other->apply(context_, notes_of(Kind::admit, 0, 5))));
  ASSERT_TRUE(is_ok(apply(Kind::admit, 0, 50)));
  ASSERT_TRUE(is_ok(index_->reconcile(context_)));
  ASSERT_TRUE(is_ok(index_->evict_prefix(context_, "blocks/0123456789abcdef")));
  EXPECT_EQ(other->usage(context_, UsageOf::all()).value().blocks, 5U);
  const RedisReply keys = server_.ask({"KEYS", "*"});
  for (const RedisReply& key : keys.list) {
    EXPECT_TRUE(key.text.starts_with("{p}:") || key.text.starts_with("{pp}:")) << key.text;
  }
  const RedisReply stats = server_.ask({"INFO", "commandstats"});
  EXPECT_THAT(stats.text, ::testing::HasSubstr("cmdstat_zscan"));
}

TEST_F(RedisIndexFault, AQueueBeforeADeadServerDropsAndCounts) {
  TierMeter meter;
  server_.kill();
  BlockNotesOptions options;
  options.linger = milliseconds(0);
  {
    BlockNotes notes(index_at(server_.url("p")), options, system_clock(), meter, context_);
    for (uint64_t i = 0; i < 50; ++i) notes.touched(block_of("o", i));
  }
  EXPECT_EQ(meter.notes_dropped, 50U);
  EXPECT_GT(meter.index_failures, 0U);
}

// --- who is there

TEST(RedisLogin, WhatIsSecretStaysSo) {
  const RedisServer server({false, "open-sesame"});
  const Context context;
  const auto right = index_at(server.url("p"));
  EXPECT_TRUE(is_ok(right->usage(context, UsageOf::all())));
  EXPECT_EQ(right->describe(),
            "redis(127.0.0.1:" + std::to_string(server.port()) + "/0) under {p}");
  for (const char* password : {"", "wrong-sesame"}) {
    const auto index = index_at(server.url_with_password("p", password));
    const auto refused = index->usage(context, UsageOf::all());
    EXPECT_TRUE(fails_with(Code::denied, refused));
    EXPECT_EQ(refused.error().text().find("sesame"), std::string::npos) << refused.error().text();
  }
}

TEST(RedisLogin, ByUserAndIntoADatabase) {
  const RedisServer server({false, "open-sesame"});
  server.ask({"ACL", "SETUSER", "thaw", "on", ">p%t:@/", "~{u}:*", "+@all", "-@dangerous"});
  const Context context;
  const std::string place = "127.0.0.1:" + std::to_string(server.port());
  const auto index = index_at("redis://thaw:p%25t%3A%40%2F@" + place + "/3?prefix=u");
  ASSERT_TRUE(is_ok(index->apply(context, notes_of(Kind::admit, 0, 5))));
  ASSERT_TRUE(is_ok(index->apply(context, notes_of(Kind::evict, 0, 1))));
  ASSERT_TRUE(is_ok(index->reconcile(context)));
  expect_true_sums(*index);
  const auto other = index_at("redis://thaw:p%25t%3A%40%2F@" + place + "/3?prefix=v");
  EXPECT_TRUE(fails_with(Code::denied, other->apply(context, notes_of(Kind::touch, 0, 5))));
}

TEST(RedisTls, OnlyACertificateThatIsTrusted) {
  const RedisServer server({true, ""});
  const RedisServer other({true, ""});
  const Context context;
  EXPECT_TRUE(is_ok(index_at(server.url("p"))->usage(context, UsageOf::all())));
  const std::string url = server.url("p");
  const std::string plain = url.substr(0, url.find("&ca_file"));
  EXPECT_TRUE(fails_with(Code::denied, index_at(plain)->usage(context, UsageOf::all())))
      << "the system does not know it";
  const std::string foreign = plain + other.url("p").substr(other.url("p").find("&ca_file"));
  EXPECT_TRUE(fails_with(Code::denied, index_at(foreign)->usage(context, UsageOf::all())));
  EXPECT_TRUE(fails_with(Code::invalid,
                         index_at(plain + "&ca_file=/nowhere")->usage(context, UsageOf::all())));
  // Each side spoken to in the other's way.
  const std::string place = "127.0.0.1:" + std::to_string(server.port());
  const auto untold = index_at("redis://" + place + "?prefix=p", milliseconds(500));
  EXPECT_TRUE(fails_with(Code::unavailable, untold->usage(context, UsageOf::all())));
  const RedisServer bare;
  const std::string bare_place = "127.0.0.1:" + std::to_string(bare.port());
  const auto overtold = index_at("rediss://" + bare_place + "?prefix=p", milliseconds(500));
  EXPECT_TRUE(fails_with(Code::unavailable, overtold->usage(context, UsageOf::all())));
}

TEST(RedisTls, LargeBatchesAndABrokenConnection) {
  RedisServer server({true, "open-sesame"});
  const Context context;
  const auto index = index_at(server.url("p"));
  ASSERT_TRUE(is_ok(index->apply(context, notes_of(Kind::touch, 0, 20'000))));
  EXPECT_EQ(test::walk(*index, 7'000).size(), 20'000U);
  server.kill();
  EXPECT_TRUE(fails_with(Code::unavailable, index->usage(context, UsageOf::all())));
  server.start();
  EXPECT_TRUE(is_ok(index->apply(context, notes_of(Kind::admit, 0, 10))));
}

// --- servers that are none

// Answers each connection with the same bytes, whatever it is told, and then hangs up.
class LyingServer {
 public:
  explicit LyingServer(std::string answer) : answer_(std::move(answer)) {
    listening_ = UniqueFd(::socket(AF_INET, SOCK_STREAM, 0));
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    auto* general = reinterpret_cast<sockaddr*>(&address);
    ::bind(listening_.get(), general, size);
    ::listen(listening_.get(), 8);
    ::getsockname(listening_.get(), general, &size);
    port_ = ntohs(address.sin_port);
    thread_ = std::thread([this] {
      while (true) {
        const UniqueFd peer(::accept(listening_.get(), nullptr, nullptr));
        if (!peer.valid()) return;
        char part[4096];
        if (::recv(peer.get(), part, sizeof part, 0) <= 0) continue;
        ::send(peer.get(), answer_.data(), answer_.size(), MSG_NOSIGNAL);
      }
    });
  }
  ~LyingServer() {
    ::shutdown(listening_.get(), SHUT_RDWR);
    thread_.join();
  }
  std::string url() const { return "redis://127.0.0.1:" + std::to_string(port_) + "?prefix=p"; }

 private:
  const std::string answer_;
  UniqueFd listening_;
  int port_ = 0;
  std::thread thread_;
};

TEST(RedisLies, NothingThatAServerSaysIsBelievedBlindly) {
  const Context context;
  const ObjectKey block = block_of("o", 1);
  const std::string deep =
      "*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n:1\r\n";
  for (const std::string& answer :
       {std::string("HTTP/1.1 400 Bad Request\r\n\r\n"), std::string("*2147483647\r\n"),
        std::string("*1000000\r\n:1\r\n"), std::string("$-7\r\n"), std::string("$9999999999\r\nx"),
        std::string(":notanumber\r\n"), std::string("*-3\r\n"), deep, std::string("+OK\r\n"),
        std::string("$-1\r\n"), std::string("*0\r\n"), std::string("*1\r\n$1\r\nx\r\n"),
        std::string("*2\r\n$1\r\nx\r\n$1\r\ny\r\n"), std::string("*2\r\n$1\r\n0\r\n$1\r\ny\r\n"),
        std::string("*3\r\n$1\r\nx\r\n$1\r\ny\r\n$1\r\nz\r\n"), std::string("\0\0\0", 3),
        std::string("-ERR unknown \x1b[31m command\r\n"), std::string()}) {
    const LyingServer server(answer);
    const auto index = index_at(server.url(), milliseconds(2'000));
    static_cast<void>(index->apply(context, notes_of(Kind::admit, 0, 1)));
    const auto page = index->coldest(context, Timestamp{1}, 10, "");
    EXPECT_TRUE(!page || page->blocks.empty()) << answer;
    const auto uses = index->last_use(context, std::span(&block, 1));
    EXPECT_TRUE(!uses || !uses->front()) << answer;
    const auto sums = index->usage(context, UsageOf::all());
    EXPECT_FALSE(sums.ok()) << answer;
    if (sums) continue;
    EXPECT_EQ(sums.error().text().find('\x1b'), std::string::npos);
    EXPECT_FALSE(index->evict_prefix(context, test::in_tier("o")).ok()) << answer;
    EXPECT_FALSE(index->reconcile(context).ok()) << answer;
  }
}

}  // namespace
}  // namespace thaw
