// Assertions on results that say what was wrong.
#pragma once

#include <gtest/gtest.h>

#include "base/result.h"

namespace thaw::test {

template <class T>
::testing::AssertionResult is_ok(const Result<T>& result) {
  if (result.ok()) return ::testing::AssertionSuccess();
  return ::testing::AssertionFailure()
         << "failed with " << name_of(result.error().code()) << ": " << result.error().text();
}

template <class T>
::testing::AssertionResult fails_with(Code code, const Result<T>& result) {
  if (result.ok()) return ::testing::AssertionFailure() << "did not fail";
  if (result.error().code() == code) {
    return ::testing::AssertionSuccess() << result.error().text();
  }
  return ::testing::AssertionFailure()
         << "failed with " << name_of(result.error().code()) << ": " << result.error().text();
}

}  // namespace thaw::test
