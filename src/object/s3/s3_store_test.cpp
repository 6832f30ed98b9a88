// What no real server does on demand. That it works with one is the conformance suite's to show.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "object/s3/s3.h"
#include "object/s3/s3_exchange.h"
#include "support/result_check.h"
#include "support/scripted_environment.h"
#include "support/scripted_http.h"

namespace thaw::s3::test {
namespace {

using thaw::test::fails_with;
using thaw::test::http_response;
using thaw::test::is_ok;
using thaw::test::ScriptedHttp;
using thaw::test::StepClock;

constexpr const char* kObject = "https://host.example/bucket/pre/x";
constexpr const char* kDate = "Sun, 01 Mar 2026 12:00:00 GMT";

ObjectKey key(const char* text) { return *ObjectKey::parse(text); }

class FixedCredentials final : public Credentialing {
 public:
  Result<Credentials> current(const Context&) override {
    return Credentials{"KEY" + std::to_string(rejected), Secret("secret"), Secret("token"),
                       std::nullopt};
  }
  void reject(const Credentials&) override { ++rejected; }
  std::string source() const override { return "a test"; }
  int rejected = 0;
};

class S3StoreTest : public testing::Test {
 protected:
  static S3Options options() {
    S3Options options;
    options.bucket = "bucket";
    options.prefix = "pre";
    options.endpoint = "https://host.example";
    return options;
  }
  std::unique_ptr<ObjectStore> store(S3Options chosen = options()) {
    return make_s3_store(std::move(chosen), http_, &credentials_, clock_);
  }
  static HttpResponse answer(int status, std::string_view body, std::vector<HttpHeader> headers) {
    HttpResponse response = http_response(status, body);
    for (HttpHeader& header : headers) response.headers.push_back(std::move(header));
    return response;
  }
  void respond(const char* method, const std::string& url, int status, std::string body,
               std::vector<HttpHeader> headers) {
    http_.on(method, url, [=](const Context&, const HttpRequest&) -> Result<HttpResponse> {
      return answer(status, body, headers);
    });
  }
  Result<Fetched> get(ByteRange range) {
    return store()->get(context_, key("x"), range, Freshness::any);
  }

  const Context context_;
  ScriptedHttp http_;
  FixedCredentials credentials_;
  StepClock clock_{Timestamp{1'772'366'400'000'000'000}};
};

TEST_F(S3StoreTest, AnAnswerOfAnotherRangeIsNotTaken) {
  for (const char* said : {"bytes 1-4/10", "bytes 0-3/10", "bytes 0-4/4", "", "bytes */10"}) {
    respond("GET", kObject, 206, "01234", {{"content-range", said}});
    EXPECT_TRUE(fails_with(Code::unavailable, get(ByteRange::of(0, 5)))) << said;
  }
  respond("GET", kObject, 206, "01234", {{"content-range", "bytes 0-4/10"}, {"etag", "\"e\""}});
  const auto got = get(ByteRange::of(0, 5));
  ASSERT_TRUE(is_ok(got));
  EXPECT_EQ(as_text(got->bytes.view()), "01234");
  EXPECT_EQ(got->info.size_bytes, 10U);
  EXPECT_EQ(got->info.etag, "e");
}

TEST_F(S3StoreTest, AServerWithoutRangesIsCutToMeasure) {
  respond("GET", kObject, 200, "0123456789", {{"content-length", "10"}});
  const auto got = get(ByteRange::of(2, 30));
  ASSERT_TRUE(is_ok(got));
  EXPECT_EQ(as_text(got->bytes.view()), "23456789");
}

TEST_F(S3StoreTest, AWholeAnswerSaysHowLongItIs) {
  respond("GET", kObject, 200, "0123456789", {});
  EXPECT_TRUE(fails_with(Code::unavailable, get(ByteRange::whole())));
}

TEST_F(S3StoreTest, AnExpiredTokenIsRenewedOnce) {
  int asked = 0;
  http_.on("GET", kObject, [&](const Context&, const HttpRequest&) -> Result<HttpResponse> {
    if (++asked == 1) return answer(400, "<Error><Code>ExpiredToken</Code></Error>", {});
    return answer(200, "x", {{"content-length", "1"}});
  });
  EXPECT_TRUE(is_ok(get(ByteRange::whole())));
  EXPECT_EQ(credentials_.rejected, 1);
  EXPECT_THAT(http_.asked().back().header("authorization"), testing::HasSubstr("Credential=KEY1/"));

  respond("GET", kObject, 400, "<Error><Code>ExpiredToken</Code></Error>", {});
  EXPECT_FALSE(get(ByteRange::whole()).ok());
  EXPECT_EQ(credentials_.rejected, 2) << "once for each call";
}

TEST_F(S3StoreTest, AWrongClockIsCorrectedOnce) {
  const auto bucket = store();
  http_.on("GET", kObject, [&](const Context&, const HttpRequest& request) -> Result<HttpResponse> {
    for (const HttpHeader& header : request.headers) {
      if (header.name == "x-amz-date" && header.value == "20260301T120000Z") {
        return answer(200, "x", {{"content-length", "1"}});
      }
    }
    return answer(403, "<Error><Code>RequestTimeTooSkewed</Code></Error>", {{"date", kDate}});
  });
  clock_.step(-std::chrono::hours(2));
  EXPECT_TRUE(is_ok(bucket->get(context_, key("x"), ByteRange::whole(), Freshness::any)));
  EXPECT_EQ(http_.asked().size(), 2U);
  EXPECT_TRUE(is_ok(bucket->get(context_, key("x"), ByteRange::whole(), Freshness::any)));
  EXPECT_EQ(http_.asked().size(), 3U) << "the offset is kept";
}

std::string listing(const std::vector<std::string>& names, bool truncated) {
  std::string text = "<ListBucketResult><IsTruncated>" + std::string(truncated ? "true" : "false") +
                     "</IsTruncated>";
  for (const std::string& name : names) {
    text += "<Contents><Key>" + name +
            "</Key><LastModified>2026-03-01T12:00:00Z</LastModified><Size>1</Size></Contents>";
  }
  return text + "</ListBucketResult>";
}

constexpr const char* kList =
    "https://host.example/bucket?encoding-type=url&list-type=2&max-keys=1&prefix=pre%2Fk";

TEST_F(S3StoreTest, NamesThatAreNoneOfThawsArePassedOver) {
  respond("GET", kList, 200, listing({"pre/k/"}, true), {});
  respond("GET", std::string(kList) + "&start-after=pre%2Fk%2F", 200, listing({"pre/k/a"}, false),
          {});
  const auto page = store()->list(context_, "k", {"", 1});
  ASSERT_TRUE(is_ok(page));
  ASSERT_EQ(page->objects.size(), 1U);
  EXPECT_EQ(page->objects[0].key.text(), "k/a");
  EXPECT_FALSE(page->more);
}

TEST_F(S3StoreTest, ListingsOutOfOrderAreRefused) {
  for (const auto& names : {std::vector<std::string>{"pre/kb", "pre/ka"}, {"pre/ka", "pre/ka"}}) {
    respond("GET", kList, 200, listing(names, false), {});
    EXPECT_TRUE(fails_with(Code::invalid, store()->list(context_, "k", {"", 1})));
  }
  respond("GET", kList, 200, listing({"other/ka"}, false), {});
  EXPECT_TRUE(fails_with(Code::unavailable, store()->list(context_, "k", {"", 1})));
  respond("GET", kList, 200, listing({}, true), {});
  EXPECT_TRUE(fails_with(Code::unavailable, store()->list(context_, "k", {"", 1})));
}

TEST_F(S3StoreTest, ACreateSaysSoInEachDialect) {
  respond("PUT", kObject, 412, "<Error><Code>PreconditionFailed</Code></Error>", {});
  const auto outcome =
      store()->put(context_, key("x"), Buffer(std::string("bytes")), PutMode::create);
  ASSERT_TRUE(is_ok(outcome));
  EXPECT_EQ(*outcome, PutOutcome::exists);
  EXPECT_EQ(http_.asked().back().header("if-none-match"), "*");
  EXPECT_EQ(http_.asked().back().header("x-amz-content-sha256"), sha256(as_bytes("bytes")).hex());
  EXPECT_THAT(http_.asked().back().header("authorization"), testing::HasSubstr("if-none-match"));

  S3Options google = options();
  google.dialect = Dialect::google;
  ASSERT_TRUE(
      is_ok(store(google)->put(context_, key("x"), Buffer(std::string("bytes")), PutMode::create)));
  const auto request = http_.asked().back();
  EXPECT_EQ(request.header("x-goog-if-generation-match"), "0");
  EXPECT_THAT(request.header("authorization"), testing::StartsWith("GOOG4-HMAC-SHA256 "));
  for (const HttpHeader& header : request.request.headers) {
    EXPECT_FALSE(header.name.starts_with("x-amz-")) << header.name;
  }
}

TEST_F(S3StoreTest, APutIntoABucketThatIsNotThereIsNoMiss) {
  respond("PUT", kObject, 404, "<Error><Code>NoSuchBucket</Code></Error>", {});
  EXPECT_TRUE(
      fails_with(Code::invalid, store()->put(context_, key("x"), Buffer(), PutMode::create)));
  respond("HEAD", kObject, 404, "", {});
  respond("GET", kObject, 404, "<Error><Code>NoSuchBucket</Code></Error>", {});
  EXPECT_TRUE(fails_with(Code::invalid, store()->find(context_, key("x"))));
  respond("GET", kObject, 404, "<Error><Code>NoSuchKey</Code></Error>", {});
  const auto found = store()->find(context_, key("x"));
  ASSERT_TRUE(is_ok(found));
  EXPECT_FALSE(found->has_value());
}

TEST_F(S3StoreTest, AddressesAreVirtualAtAmazonAndPathsElsewhere) {
  S3Options amazon;
  amazon.bucket = "my-bucket";
  amazon.region = "eu-west-1";
  EXPECT_EQ(store(amazon)->describe(), "s3(https://my-bucket.s3.eu-west-1.amazonaws.com)");
  amazon.bucket = "my.bucket";
  EXPECT_EQ(store(amazon)->describe(), "s3(https://s3.eu-west-1.amazonaws.com/my.bucket)");
  EXPECT_EQ(store()->describe(), "s3(https://host.example/bucket/pre)");
  S3Options virtual_host = options();
  virtual_host.addressing = Addressing::virtual_host;
  EXPECT_EQ(store(virtual_host)->describe(), "s3(https://bucket.host.example/pre)");
}

TEST(HedgeBudgetTest, TwoAreFreeAndThenTwoPercent) {
  HedgeBudget budget;
  EXPECT_TRUE(budget.take());
  EXPECT_TRUE(budget.take());
  EXPECT_FALSE(budget.take());
  for (int i = 0; i < 500; ++i) budget.count_request();
  int more = 0;
  while (budget.take()) ++more;
  EXPECT_EQ(more, 10);
}

TEST(FirstByteTailTest, StartsFixedAndThenFollowsTheServer) {
  using std::chrono::milliseconds;
  FirstByteTail tail(milliseconds(150));
  for (int i = 0; i < 15; ++i) tail.add(milliseconds(30));
  EXPECT_EQ(tail.hedge_after(), milliseconds(150));
  tail.add(milliseconds(30));
  EXPECT_EQ(tail.hedge_after(), milliseconds(60));
  for (int i = 0; i < 64; ++i) tail.add(milliseconds(1));
  EXPECT_EQ(tail.hedge_after(), milliseconds(20)) << "a floor";
  for (int i = 0; i < 5; ++i) tail.add(milliseconds(500));
  EXPECT_EQ(tail.hedge_after(), milliseconds(1000)) << "five of 64 are the tail";
}

}  // namespace
}  // namespace thaw::s3::test
