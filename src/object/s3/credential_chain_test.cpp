#include <gmock/gmock.h>

#include <condition_variable>
#include <deque>
#include <mutex>
#include <thread>

#include "object/s3/credential_sources.h"
#include "support/result_check.h"
#include "support/scripted_environment.h"
#include "support/scripted_http.h"
#include "support/temp_dir.h"

namespace thaw::s3 {
namespace {

using std::chrono::hours;
using std::chrono::milliseconds;
using std::chrono::minutes;
using std::chrono::seconds;
using test::fails_with;
using test::is_ok;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using Found = Result<std::optional<Credentials>>;

constexpr Timestamp kStart{1'772'366'400'000'000'000};

// So that what waits for ever fails instead.
constexpr seconds kPatience{20};

Timestamp after(std::chrono::nanoseconds time) { return {kStart.ns + time.count()}; }

Credentials named(std::string id, std::optional<Timestamp> expires) {
  return {std::move(id), Secret("SECRET"), Secret("SESSION"), expires};
}

// Answers what the test gives it, and holds those that ask at a gate. The test may count them.
class GatedSource final : public CredentialSource {
 public:
  Found load(const Context& context) override {
    std::unique_lock lock(mutex_);
    ++loads_;
    changed_.notify_all();
    // A stopped caller's load ends by itself, as an exchange over HTTP does.
    while (closed_ && context.alive()) changed_.wait_for(lock, milliseconds(5));
    if (closed_) return context.alive().error();
    if (answers_.empty()) return Error(Code::unavailable, "nothing scripted");
    Found answer = answers_.front();
    if (answers_.size() > 1) answers_.pop_front();
    return answer;
  }
  std::string describe() const override { return "the script"; }

  // The last one is answered again and again.
  void answer(std::deque<Found> answers) {
    const std::lock_guard lock(mutex_);
    answers_ = std::move(answers);
  }
  void close() {
    const std::lock_guard lock(mutex_);
    closed_ = true;
  }
  void open() {
    const std::lock_guard lock(mutex_);
    closed_ = false;
    changed_.notify_all();
  }
  unsigned loads() const {
    const std::lock_guard lock(mutex_);
    return loads_;
  }
  void await_loads(unsigned count) const {
    std::unique_lock lock(mutex_);
    EXPECT_TRUE(changed_.wait_for(lock, kPatience, [&] { return loads_ >= count; }));
  }

 private:
  mutable std::mutex mutex_;
  mutable std::condition_variable changed_;
  std::deque<Found> answers_;
  bool closed_ = false;
  unsigned loads_ = 0;
};

class CredentialCache : public ::testing::Test {
 protected:
  CredentialCache() {
    auto source = std::make_unique<GatedSource>();
    source_ = source.get();
    std::vector<std::unique_ptr<CredentialSource>> sources;
    sources.push_back(std::move(source));
    cache_ = caching(std::move(sources), clock_);
  }
  std::string id(const Context& context) {
    const auto current = cache_->current(context);
    return current ? current->access_key_id : std::string(name_of(current.error().code()));
  }
  std::string id() {
    const Context root;
    return id(root.within(kPatience));
  }
  // Runs `call` on another thread and returns once it looked at the clock: it holds the lock then,
  // so that it waits, or loads, before anybody else goes on.
  template <class Call>
  std::thread started(Call call) {
    const uint64_t looks = clock_.looks();
    std::thread thread(std::move(call));
    EXPECT_TRUE(clock_.await_looks(looks + 1, kPatience));
    return thread;
  }

  test::StepClock clock_{kStart};
  GatedSource* source_ = nullptr;
  std::unique_ptr<Credentialing> cache_;
};

TEST_F(CredentialCache, LoadsOnceWhatNeverExpires) {
  source_->answer({named("A", std::nullopt), named("B", std::nullopt)});
  EXPECT_EQ(cache_->source(), "");
  EXPECT_EQ(id(), "A");
  clock_.step(hours(100'000));
  EXPECT_EQ(id(), "A");
  EXPECT_EQ(source_->loads(), 1U);
  EXPECT_EQ(cache_->source(), "the script");
}

TEST_F(CredentialCache, RefreshesFiveMinutesBeforeTheEnd) {
  source_->answer({named("A", after(hours(1))), named("B", after(hours(2)))});
  EXPECT_EQ(id(), "A");
  clock_.step(minutes(55) - seconds(1));
  EXPECT_EQ(id(), "A");
  EXPECT_EQ(source_->loads(), 1U);
  clock_.step(seconds(1));
  EXPECT_EQ(id(), "B");
  EXPECT_EQ(source_->loads(), 2U);
  EXPECT_EQ(id(), "B");
  EXPECT_EQ(source_->loads(), 2U);
}

TEST_F(CredentialCache, AFailedRefreshLeavesTheOldOnesAsLongAsTheyCount) {
  source_->answer({named("A", after(hours(1)))});
  EXPECT_EQ(id(), "A");
  clock_.step(minutes(56));
  source_->answer({Error(Code::unavailable, "service down")});
  ::testing::internal::CaptureStderr();
  EXPECT_EQ(id(), "A");
  const std::string logged = ::testing::internal::GetCapturedStderr();
  EXPECT_THAT(logged, AllOf(HasSubstr("warning"), HasSubstr("service down"),
                            HasSubstr("the script"), HasSubstr("2026-03-01T13:00:00Z")));
  EXPECT_THAT(logged, AllOf(Not(HasSubstr("SECRET")), Not(HasSubstr("SESSION"))));
  EXPECT_EQ(source_->loads(), 2U);
  EXPECT_EQ(id(), "A");
  clock_.step(seconds(9));
  EXPECT_EQ(id(), "A");
  EXPECT_EQ(source_->loads(), 2U) << "some seconds of pause";
  clock_.step(seconds(1));
  ::testing::internal::CaptureStderr();
  EXPECT_EQ(id(), "A");
  (void)::testing::internal::GetCapturedStderr();
  EXPECT_EQ(source_->loads(), 3U);

  clock_.step(minutes(4));
  EXPECT_EQ(id(), "unavailable") << "they have expired";
  source_->answer({named("B", after(hours(2)))});
  EXPECT_EQ(id(), "B") << "and errors are not kept";
}

TEST_F(CredentialCache, AClockPutBackDoesNotProlongThePause) {
  source_->answer({named("A", after(hours(1)))});
  EXPECT_EQ(id(), "A");
  clock_.step(minutes(59));
  source_->answer({named("B", after(minutes(60)))});
  EXPECT_EQ(id(), "B");
  clock_.step(-minutes(2));
  source_->answer({named("C", after(hours(2)))});
  EXPECT_EQ(id(), "C");
}

TEST_F(CredentialCache, CredentialsOfFewMinutesAreNotLoadedAtEachCall) {
  source_->answer({named("A", after(minutes(2))), named("B", after(minutes(4)))});
  for (int i = 0; i < 10; ++i) EXPECT_EQ(id(), "A");
  EXPECT_EQ(source_->loads(), 1U);
  clock_.step(seconds(10));
  EXPECT_EQ(id(), "B");
}

TEST_F(CredentialCache, TriesExpiredOnesWhereThereAreNoOthers) {
  source_->answer({named("A", after(-seconds(1)))});
  ::testing::internal::CaptureStderr();
  EXPECT_EQ(id(), "A");
  EXPECT_EQ(id(), "A");
  const std::string logged = ::testing::internal::GetCapturedStderr();
  EXPECT_THAT(logged, HasSubstr("expired at 2026-03-01T11:59:59Z"));
  EXPECT_EQ(source_->loads(), 1U) << "and not at each call";
  clock_.step(seconds(60));
  source_->answer({Error(Code::denied, "gone")});
  EXPECT_EQ(id(), "denied") << "nor for ever";
}

TEST_F(CredentialCache, ErrorsAreNotKept) {
  source_->answer(
      {Error(Code::denied, "no"), Error(Code::invalid, "no"), named("A", std::nullopt)});
  EXPECT_EQ(id(), "denied");
  EXPECT_EQ(id(), "invalid");
  EXPECT_EQ(id(), "A");
  EXPECT_EQ(source_->loads(), 3U);
}

TEST_F(CredentialCache, ErrorsNameTheSource) {
  source_->answer({Error(Code::denied, "no")});
  EXPECT_EQ(cache_->current(Context()).error().text(), "credentials from the script: no");
}

TEST_F(CredentialCache, RejectingLoadsAnewOnce) {
  const Credentials a = named("A", std::nullopt);
  cache_->reject(a);
  source_->answer({a, named("B", std::nullopt), named("C", std::nullopt)});
  EXPECT_EQ(id(), "A");
  cache_->reject(named("Z", std::nullopt));
  Credentials similar = a;
  similar.session_token = Secret("OTHER");
  cache_->reject(similar);
  EXPECT_EQ(id(), "A") << "those are not what is current";
  cache_->reject(a);
  EXPECT_EQ(id(), "B");
  cache_->reject(a);
  EXPECT_EQ(id(), "B") << "somebody renewed them before";
  EXPECT_EQ(source_->loads(), 2U);
}

TEST_F(CredentialCache, RejectedOnesAreNotFallenBackTo) {
  const Credentials a = named("A", after(hours(1)));
  source_->answer({a, Error(Code::unavailable, "down")});
  EXPECT_EQ(id(), "A");
  cache_->reject(a);
  EXPECT_EQ(id(), "unavailable");
  EXPECT_EQ(cache_->source(), "the script");
}

TEST_F(CredentialCache, ManyThreadsLoadOnce) {
  source_->answer({named("A", std::nullopt), named("B", std::nullopt)});
  source_->close();
  std::vector<std::string> ids(8);
  std::vector<std::thread> threads;
  for (std::string& each : ids) threads.push_back(started([&] { each = id(); }));
  source_->open();
  for (std::thread& thread : threads) thread.join();
  for (const std::string& each : ids) EXPECT_EQ(each, "A");
  EXPECT_EQ(source_->loads(), 1U);
}

TEST_F(CredentialCache, OthersGoOnWithValidOnesDuringARefresh) {
  source_->answer({named("A", after(hours(1))), named("B", after(hours(2)))});
  EXPECT_EQ(id(), "A");
  clock_.step(minutes(56));
  source_->close();
  std::string refreshed;
  std::thread leader([&] { refreshed = id(); });
  source_->await_loads(2);
  EXPECT_EQ(id(), "A") << "the gate is closed";
  EXPECT_EQ(source_->loads(), 2U);
  source_->open();
  leader.join();
  EXPECT_EQ(refreshed, "B");
  EXPECT_EQ(id(), "B");
}

TEST_F(CredentialCache, ThoseWithoutValidOnesWaitWithinTheirOwnContext) {
  source_->answer({named("A", std::nullopt)});
  source_->close();
  std::string led;
  std::thread leader([&] { led = id(); });
  source_->await_loads(1);

  const Context root;
  EXPECT_EQ(id(root.within(milliseconds(1))), "timeout");
  StopFlag flag;
  std::string stopped;
  std::thread waiter = started([&] { stopped = id(Context(flag)); });
  flag.stop();
  waiter.join();
  EXPECT_EQ(stopped, "cancelled");

  source_->open();
  leader.join();
  EXPECT_EQ(led, "A");
  EXPECT_EQ(source_->loads(), 1U) << "the waiters loaded nothing";
}

TEST_F(CredentialCache, AnotherTakesOverFromALeaderThatWasStopped) {
  source_->answer({Error(Code::denied, "no"), named("A", std::nullopt)});
  EXPECT_EQ(id(), "denied") << "which is nobody's answer later on";
  source_->close();
  StopFlag flag;
  std::string led;
  std::string followed;
  std::thread leader([&] { led = id(Context(flag)); });
  source_->await_loads(2);
  std::thread follower = started([&] { followed = id(); });
  flag.stop();
  leader.join();
  EXPECT_EQ(led, "cancelled");
  source_->await_loads(3);
  source_->open();
  follower.join();
  EXPECT_EQ(followed, "A");
}

TEST_F(CredentialCache, AnotherTakesOverFromALeaderWhoseTimeIsUp) {
  source_->answer({Error(Code::timeout, "the time is up"), named("A", std::nullopt)});
  source_->close();
  std::string led;
  std::string followed;
  std::thread leader([&] { led = id(); });
  source_->await_loads(1);
  std::thread follower = started([&] { followed = id(); });
  source_->open();
  leader.join();
  follower.join();
  EXPECT_EQ(led, "timeout");
  EXPECT_EQ(followed, "A");
}

TEST_F(CredentialCache, ThoseWhoWaitedShareAFailureOfTheSource) {
  source_->answer({Error(Code::denied, "no"), named("A", std::nullopt)});
  source_->close();
  std::vector<std::string> ids(4);
  std::vector<std::thread> threads;
  for (std::string& each : ids) threads.push_back(started([&] { each = id(); }));
  source_->await_loads(1);
  source_->open();
  for (std::thread& thread : threads) thread.join();
  for (const std::string& each : ids) EXPECT_EQ(each, "denied");
  EXPECT_EQ(source_->loads(), 1U) << "not one failure after the other";
  EXPECT_EQ(id(), "A") << "and the next call tries again";
}

TEST_F(CredentialCache, ALeaderThatWasStoppedDoesNotDelayTheRefresh) {
  source_->answer({named("A", after(hours(1))), named("B", after(hours(2)))});
  EXPECT_EQ(id(), "A");
  clock_.step(minutes(56));
  source_->close();
  StopFlag flag;
  std::string led;
  std::thread leader([&] { led = id(Context(flag)); });
  source_->await_loads(2);
  ::testing::internal::CaptureStderr();
  flag.stop();
  leader.join();
  EXPECT_THAT(::testing::internal::GetCapturedStderr(), IsEmpty()) << "nothing is wrong";
  EXPECT_EQ(led, "A") << "they count still";
  source_->open();
  EXPECT_EQ(id(), "B") << "at once, without a pause";
}

TEST_F(CredentialCache, RejectingDuringARefreshLosesNothing) {
  const Credentials a = named("A", after(hours(1)));
  source_->answer({a, named("B", after(hours(2)))});
  EXPECT_EQ(id(), "A");
  clock_.step(minutes(56));
  source_->close();
  std::thread leader([&] { EXPECT_EQ(id(), "B"); });
  source_->await_loads(2);
  cache_->reject(a);
  std::string waited;
  std::thread waiter = started([&] { waited = id(); });
  source_->open();
  leader.join();
  waiter.join();
  EXPECT_EQ(waited, "B");
  EXPECT_EQ(source_->loads(), 2U);
}

TEST_F(CredentialCache, SurvivesManyThreadsAtOnce) {
  source_->answer({named("A", std::nullopt)});
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&] {
      for (int round = 0; round < 500; ++round) {
        const auto current = cache_->current(Context());
        ASSERT_TRUE(is_ok(current));
        cache_->reject(*current);
        (void)cache_->source();
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_GE(source_->loads(), 500U);
  EXPECT_LE(source_->loads(), 2001U);
}

// --- the order

class CredentialChain : public ::testing::Test {
 protected:
  CredentialChain() {
    test::write_text(dir_.path_of("credentials"),
                     "[default]\naws_access_key_id=PROFILE\naws_secret_access_key=S\n"
                     "[other]\naws_access_key_id=OTHER\naws_secret_access_key=S\n");
    test::write_text(dir_.path_of("token"), "WEB");
    http_.answer("POST", "https://sts.us-east-1.amazonaws.com/", 200,
                 "<AssumeRoleWithWebIdentityResponse><AssumeRoleWithWebIdentityResult><Credentials>"
                 "<AccessKeyId>WEB</AccessKeyId><SecretAccessKey>S</SecretAccessKey>"
                 "<SessionToken>T</SessionToken><Expiration>2026-03-01T13:00:00Z</Expiration>"
                 "</Credentials></AssumeRoleWithWebIdentityResult>"
                 "</AssumeRoleWithWebIdentityResponse>");
    http_.answer("GET", "http://169.254.170.2/x", 200, json("CONTAINER"));
    http_.answer("PUT", "http://169.254.169.254/latest/api/token", 200, "T");
    const std::string role = "http://169.254.169.254/latest/meta-data/iam/security-credentials/";
    http_.answer("GET", role, 200, "r");
    http_.answer("GET", role + "r", 200, json("INSTANCE"));
  }
  static std::string json(const std::string& id) {
    return "{\"AccessKeyId\":\"" + id +
           "\",\"SecretAccessKey\":\"S\",\"Token\":\"T\",\"Expiration\":\"2026-03-01T13:00:00Z\"}";
  }
  Result<Credentials> load() {
    chain_ = credential_chain(options_, test::environment_of(variables_), http_, clock_);
    return chain_->current(Context());
  }
  std::string id() {
    const auto loaded = load();
    EXPECT_TRUE(is_ok(loaded));
    return loaded ? loaded->access_key_id : "";
  }

  const test::TempDir dir_;
  test::StepClock clock_{kStart};
  test::ScriptedHttp http_;
  CredentialOptions options_;
  test::Variables variables_ = {
      {"AWS_ACCESS_KEY_ID", "ENVIRONMENT"},
      {"AWS_SECRET_ACCESS_KEY", "S"},
      {"AWS_SHARED_CREDENTIALS_FILE", dir_.path_of("credentials")},
      {"AWS_WEB_IDENTITY_TOKEN_FILE", dir_.path_of("token")},
      {"AWS_ROLE_ARN", "arn:aws:iam::1:role/x"},
      {"AWS_REGION", "us-east-1"},
      {"AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "/x"},
  };
  std::unique_ptr<Credentialing> chain_;
};

TEST_F(CredentialChain, AsksInTheOrderOfTheSdk) {
  options_.fixed = Credentials{"FIXED", Secret("S"), Secret(), std::nullopt};
  EXPECT_EQ(id(), "FIXED");
  EXPECT_EQ(chain_->source(), "the settings");
  options_.fixed.reset();
  EXPECT_EQ(id(), "ENVIRONMENT");
  EXPECT_THAT(chain_->source(), HasSubstr("the environment"));
  variables_.erase("AWS_ACCESS_KEY_ID");
  variables_.erase("AWS_SECRET_ACCESS_KEY");
  EXPECT_EQ(id(), "PROFILE");
  EXPECT_THAT(chain_->source(),
              AllOf(HasSubstr("the profile \"default\""), HasSubstr(dir_.path_of("credentials"))));
  EXPECT_THAT(http_.lines(), IsEmpty());
  variables_.erase("AWS_SHARED_CREDENTIALS_FILE");
  EXPECT_EQ(id(), "WEB");
  EXPECT_THAT(chain_->source(), HasSubstr("web identity"));
  variables_.erase("AWS_WEB_IDENTITY_TOKEN_FILE");
  EXPECT_EQ(id(), "CONTAINER");
  EXPECT_THAT(chain_->source(), HasSubstr("container"));
  variables_.erase("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI");
  EXPECT_EQ(id(), "INSTANCE");
  EXPECT_THAT(chain_->source(), HasSubstr("http://169.254.169.254"));
}

TEST_F(CredentialChain, AProfileInTheSettingsGoesBeforeTheEnvironment) {
  variables_["AWS_PROFILE"] = "other";
  EXPECT_EQ(id(), "ENVIRONMENT");
  options_.profile = "other";
  EXPECT_EQ(id(), "OTHER");
}

TEST_F(CredentialChain, EndsAtASourceThatDoesNotWork) {
  variables_.erase("AWS_SECRET_ACCESS_KEY");
  const auto loaded = load();
  ASSERT_TRUE(fails_with(Code::invalid, loaded));
  EXPECT_THAT(loaded.error().text(), HasSubstr("credentials from the environment"));
  EXPECT_EQ(chain_->source(), "");
  options_.fixed = Credentials{"FIXED", Secret(), Secret(), std::nullopt};
  EXPECT_TRUE(fails_with(Code::invalid, load()));
}

TEST_F(CredentialChain, SaysWhereItLookedInVain) {
  variables_ = {{"HOME", dir_.path()}};
  http_.fail("PUT", "http://169.254.169.254/latest/api/token", Error(Code::unavailable, "no"));
  const auto loaded = load();
  ASSERT_TRUE(fails_with(Code::denied, loaded));
  EXPECT_FALSE(loaded.error().retryable());
  for (const std::string& place :
       {std::string("set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"),
        std::string("the environment"), std::string("the profile \"default\""),
        dir_.path_of(".aws/config"), std::string("AWS_WEB_IDENTITY_TOKEN_FILE"),
        std::string("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"),
        std::string("http://169.254.169.254")}) {
    EXPECT_THAT(loaded.error().text(), HasSubstr(place));
  }
}

TEST_F(CredentialChain, RenewsARolesCredentialsWithTheTokenOfThen) {
  variables_.erase("AWS_ACCESS_KEY_ID");
  variables_.erase("AWS_SECRET_ACCESS_KEY");
  variables_.erase("AWS_SHARED_CREDENTIALS_FILE");
  EXPECT_EQ(id(), "WEB");
  test::write_text(dir_.path_of("token"), "RENEWED");
  ASSERT_TRUE(is_ok(chain_->current(Context())));
  ASSERT_EQ(http_.asked().size(), 1U);
  clock_.step(minutes(55));
  ASSERT_TRUE(is_ok(chain_->current(Context())));
  ASSERT_EQ(http_.asked().size(), 2U);
  EXPECT_THAT(http_.asked().back().body(), HasSubstr("WebIdentityToken=RENEWED"));
}

TEST_F(CredentialChain, StopsBetweenSources) {
  StopFlag flag;
  flag.stop();
  chain_ = credential_chain(options_, test::environment_of(variables_), http_, clock_);
  EXPECT_TRUE(fails_with(Code::cancelled, chain_->current(Context(flag))));
}

}  // namespace
}  // namespace thaw::s3
