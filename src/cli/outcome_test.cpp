#include "cli/outcome.h"

#include <gtest/gtest.h>

namespace thaw::cli {
namespace {

TEST(OutcomeTest, ExitCodesOfTheContract) {
  const struct {
    Status status;
    int binding;
    int advisory;
  } cases[] = {
      {Status::done, 0, 0}, {Status::failed, 1, 0},  {Status::usage, 2, 2},
      {Status::miss, 3, 0}, {Status::refused, 4, 0}, {Status::disabled, 0, 0},
  };
  for (const auto& each : cases) {
    EXPECT_EQ(exit_code(each.status, Advice::binding), each.binding);
    EXPECT_EQ(exit_code(each.status, Advice::advisory), each.advisory);
  }
}

TEST(OutcomeTest, AnAnswerIsNoFailure) {
  Outcome differs;
  differs.answer = 1;
  EXPECT_EQ(exit_code(differs, Advice::binding), 1);
  EXPECT_EQ(exit_code(differs, Advice::advisory), 1);
}

TEST(OutcomeTest, EveryCodeHasItsLine) {
  EXPECT_EQ(status_of(Code::invalid), Status::usage);
  for (const Code code : {Code::exists, Code::busy, Code::exhausted}) {
    EXPECT_EQ(status_of(code), Status::refused) << name_of(code);
  }
  for (const Code code : {Code::not_found, Code::denied, Code::corrupt, Code::unavailable,
                          Code::timeout, Code::cancelled, Code::internal}) {
    EXPECT_EQ(status_of(code), Status::failed) << name_of(code);
  }
}

TEST(OutcomeTest, JsonIsOneLineThatSaysWhy) {
  Outcome outcome = miss("no such key: a\nb");
  outcome.fields["key"] = "a\nb";
  const std::string text = as_json(outcome, std::chrono::milliseconds(12));
  EXPECT_EQ(text.find('\n'), text.size() - 1);
  const auto object = Fields::parse(text);
  EXPECT_EQ(object["ok"], false);
  EXPECT_EQ(object["ms"], 12);
  EXPECT_EQ(object["reason"], "miss");
  EXPECT_EQ(object["message"], "no such key: a\nb");
  EXPECT_EQ(object["key"], "a\nb");
}

TEST(OutcomeTest, JsonOfSuccessHasNoReason) {
  const auto object = Fields::parse(as_json(Outcome(), std::chrono::milliseconds(0)));
  EXPECT_EQ(object["ok"], true);
  EXPECT_FALSE(object.contains("reason"));
  EXPECT_FALSE(object.contains("message"));
}

TEST(OutcomeTest, JsonReplacesWhatIsNotUtf8) {
  Outcome outcome = failure(Error(Code::denied, "open a\xff"));
  outcome.fields["paths"] = {"b\xc3"};
  const auto object = Fields::parse(as_json(outcome, std::chrono::milliseconds(0)));
  EXPECT_EQ(object["message"], "open a\xef\xbf\xbd");
  EXPECT_EQ(object["paths"][0], "b\xef\xbf\xbd");
}

}  // namespace
}  // namespace thaw::cli
