#include "base/error.h"

#include <gtest/gtest.h>

#include <cerrno>
#include <memory>
#include <set>

#include "base/result.h"

namespace thaw {
namespace {

TEST(Code, NamesAreDistinct) {
  std::set<std::string_view> names;
  for (int code = 0; code <= static_cast<int>(Code::internal); ++code) {
    names.insert(name_of(static_cast<Code>(code)));
  }
  EXPECT_EQ(names.size(), static_cast<size_t>(Code::internal) + 1);
  EXPECT_EQ(name_of(Code::not_found), "not_found");
}

TEST(Error, SaysWhatWasBeingDoneOutermostFirst) {
  Error error = Error(Code::busy, "somebody else").within("put pack").within("save site");
  EXPECT_EQ(error.text(), "save site: put pack: somebody else");
  EXPECT_EQ(error.message(), "somebody else");
  EXPECT_EQ(error.code(), Code::busy);
}

TEST(Error, OnlyBusyAndUnavailableMayBeTriedAgain) {
  for (int code = 0; code <= static_cast<int>(Code::internal); ++code) {
    const auto each = static_cast<Code>(code);
    EXPECT_EQ(Error(each, "").retryable(), each == Code::busy || each == Code::unavailable);
  }
}

TEST(ErrnoError, MapsWhatACallerCanActOn) {
  EXPECT_EQ(errno_error(ENOENT, "x").code(), Code::not_found);
  EXPECT_EQ(errno_error(ENOTDIR, "x").code(), Code::not_found);
  EXPECT_EQ(errno_error(EEXIST, "x").code(), Code::exists);
  EXPECT_EQ(errno_error(EACCES, "x").code(), Code::denied);
  EXPECT_EQ(errno_error(EROFS, "x").code(), Code::denied);
  EXPECT_EQ(errno_error(ENOSPC, "x").code(), Code::exhausted);
  EXPECT_EQ(errno_error(EDQUOT, "x").code(), Code::exhausted);
  EXPECT_EQ(errno_error(EIO, "x").code(), Code::unavailable);
  EXPECT_EQ(errno_error(ELOOP, "x").code(), Code::invalid);
  EXPECT_EQ(errno_error(EBADF, "x").code(), Code::internal);
  EXPECT_EQ(errno_error(ENOENT, "open /x").text(), "open /x: No such file or directory");
}

Result<int> half_of(int number) {
  if (number % 2 != 0) return Error(Code::invalid, "odd");
  return number / 2;
}

Result<int> quarter_of(int number) {
  THAW_ASSIGN(const int half, half_of(number));
  int quarter = 0;
  THAW_ASSIGN(quarter, half_of(half));
  return quarter;
}

Result<> check_half(int number) {
  THAW_CHECK(half_of(number).within("half"));
  return {};
}

TEST(Result, MacrosPassErrorsOn) {
  EXPECT_EQ(*quarter_of(12), 3);
  EXPECT_EQ(quarter_of(6).error().text(), "odd");
  EXPECT_TRUE(check_half(2));
  EXPECT_EQ(check_half(3).error().text(), "half: odd");
}

TEST(Result, HoldsWhatOnlyMoves) {
  Result<std::unique_ptr<int>> result = std::make_unique<int>(7);
  ASSERT_TRUE(result.ok());
  auto phrased = std::move(result).within("not said when all is well");
  const std::unique_ptr<int> taken = *std::move(phrased);
  EXPECT_EQ(*taken, 7);
}

}  // namespace
}  // namespace thaw
