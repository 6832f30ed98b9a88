#include "cli/cache_report.h"

#include <gtest/gtest.h>

namespace thaw::cli {
namespace {

using cache::Record;
using cache::State;

constexpr int64_t kHourNs = 3600LL * 1'000'000'000;
constexpr Timestamp kNow{100 * kHourNs};

Record record_of(const char* name, State state) {
  Record record;
  record.name = name;
  record.state = state;
  return record;
}

Record found(const char* name, State state, Hit hit) {
  Record record = record_of(name, state);
  record.hit = hit;
  record.generation = 7;
  record.created_ns = kNow.ns - 5 * kHourNs;
  record.bytes = 3 << 20;
  record.moved_bytes = 1 << 20;
  record.took = std::chrono::milliseconds(420);
  return record;
}

Record failed(const char* name, const char* message) {
  Record record = record_of(name, State::failed);
  record.error = Error(Code::unavailable, message);
  record.message = message;
  return record;
}

TEST(CacheReportTest, ATable) {
  EXPECT_EQ(cache_table({found("node", State::restored, Hit::exact),
                         found("pip", State::equal, Hit::fallback), record_of("rust", State::miss)},
                        kNow),
            "cache  result                      age     size    moved    time\n"
            "node   exact                       5 h  3.0 MiB  1.0 MiB  0.42 s\n"
            "pip    fallback, in place already  5 h  3.0 MiB  1.0 MiB  0.42 s\n"
            "rust   miss                          -        -        -  0.00 s\n");
}

TEST(CacheReportTest, MarkdownThatNobodyWritesInto) {
  const std::string text =
      cache_markdown(CacheVerb::restore, {failed("a_b", "<b>|`x`\n# [y](z)")}, kNow);
  EXPECT_NE(text.find("### Caches: restored 0 of 1 cache\n"), std::string::npos) << text;
  EXPECT_NE(text.find("| a\\_b | failed |"), std::string::npos) << text;
  EXPECT_NE(text.find("&lt;b>\\|\\`x\\`\\\\x0a# \\[y\\](z)"), std::string::npos) << text;
}

TEST(CacheReportTest, ALineSaysWhy) {
  EXPECT_EQ(cache_line(failed("a", "no\nstore")), "cache a: failed, 0.00 s: no\\x0astore");
  EXPECT_EQ(cache_line(failed("a", "no \xc3\xbc\xff")),
            "cache a: failed, 0.00 s: no \xc3\xbc\\xff");
  EXPECT_EQ(cache_line(found("a", State::restored, Hit::exact)), "cache a: exact, 3.0 MiB, 0.42 s");
}

TEST(CacheReportTest, TheWorstCounts) {
  const Record hit = found("a", State::restored, Hit::exact);
  const Record missed = record_of("b", State::miss);
  const Record broken = failed("c", "no store");
  const auto of = [](const std::vector<Record>& records, CacheVerb verb = CacheVerb::restore) {
    return cache_outcome(verb, records, kNow);
  };
  EXPECT_EQ(of({hit}).status, Status::done);
  EXPECT_EQ(of({hit}).reason, "");
  EXPECT_EQ(of({hit, missed}).status, Status::miss);
  EXPECT_EQ(of({missed, broken, hit}).status, Status::failed);
  EXPECT_EQ(of({missed, broken, hit}).reason, "unavailable");
  EXPECT_EQ(of({hit, missed}).fields["caches"].size(), 2U);
  const auto saved = [&](State one, State other) {
    return of({record_of("a", one), record_of("b", other)}, CacheVerb::save);
  };
  EXPECT_EQ(saved(State::exists, State::exists).reason, "exists");
  EXPECT_EQ(saved(State::exists, State::saved).reason, "");
  EXPECT_EQ(saved(State::read_only, State::read_only).status, Status::done);
  EXPECT_EQ(saved(State::empty, State::saved).status, Status::refused);
}

TEST(CacheReportTest, ARecord) {
  const Fields fields = cache_json(CacheVerb::restore, found("a", State::restored, Hit::fallback));
  EXPECT_EQ(fields["hit"], "fallback");
  EXPECT_EQ(fields["generation"], 7);
  EXPECT_EQ(fields["fetched_bytes"], 1 << 20);
  EXPECT_EQ(cache_json(CacheVerb::restore, record_of("a", State::miss))["hit"], "miss");
  const Fields save = cache_json(CacheVerb::save, failed("a", "no store"));
  EXPECT_EQ(save["reason"], "unavailable");
  EXPECT_FALSE(save.contains("hit"));
}

}  // namespace
}  // namespace thaw::cli
