// Result<T>: a value or an Error. No exception crosses a folder's border.
#pragma once

#include <string>
#include <tl/expected.hpp>
#include <type_traits>
#include <utility>

#include "base/error.h"

namespace thaw {

// Wraps tl::expected, which is not [[nodiscard]] itself.
template <class T = void>
class [[nodiscard]] Result {
 public:
  // NOLINTBEGIN: implicit by design
  template <class U = T>
  requires(!std::is_same_v<std::remove_cvref_t<U>, Result> &&
           !std::is_same_v<std::remove_cvref_t<U>, Error> && std::is_convertible_v<U, T>)
      Result(U&& value)
      : state_(std::forward<U>(value)) {}
  // NOLINTEND
  Result(Error error) : state_(tl::unexpect, std::move(error)) {}  // NOLINT: implicit by design

  bool ok() const { return state_.has_value(); }
  explicit operator bool() const { return ok(); }

  T& value() & { return *state_; }
  const T& value() const& { return *state_; }
  T&& value() && { return *std::move(state_); }
  T& operator*() & { return *state_; }
  const T& operator*() const& { return *state_; }
  T&& operator*() && { return *std::move(state_); }
  T* operator->() { return &*state_; }
  const T* operator->() const { return &*state_; }

  const Error& error() const& { return state_.error(); }
  Error&& error() && { return std::move(state_).error(); }

  // Adds a phrase of context to the error, if there is one.
  Result within(std::string phrase) && {
    if (!ok()) return std::move(state_.error()).within(std::move(phrase));
    return std::move(*this);
  }

 private:
  tl::expected<T, Error> state_;
};

template <>
class [[nodiscard]] Result<void> {
 public:
  Result() = default;
  Result(Error error) : state_(tl::unexpect, std::move(error)) {}  // NOLINT: implicit by design

  bool ok() const { return state_.has_value(); }
  explicit operator bool() const { return ok(); }
  const Error& error() const& { return state_.error(); }
  Error&& error() && { return std::move(state_).error(); }

  Result within(std::string phrase) && {
    if (!ok()) return std::move(state_.error()).within(std::move(phrase));
    return std::move(*this);
  }

 private:
  tl::expected<void, Error> state_;
};

}  // namespace thaw

#define THAW_CONCAT_INNER(a, b) a##b
#define THAW_CONCAT(a, b) THAW_CONCAT_INNER(a, b)

// Returns the error of `expression` from the enclosing function, if it failed.
#define THAW_CHECK(expression) THAW_CHECK_INNER(THAW_CONCAT(thaw_check_, __COUNTER__), expression)
#define THAW_CHECK_INNER(temporary, expression)          \
  do {                                                   \
    auto temporary = (expression);                       \
    if (!temporary) return std::move(temporary).error(); \
  } while (false)

// THAW_ASSIGN(auto fd, open_file(path)): declares or assigns, or returns the error.
#define THAW_ASSIGN(target, expression) \
  THAW_ASSIGN_INNER(THAW_CONCAT(thaw_assign_, __COUNTER__), target, expression)
#define THAW_ASSIGN_INNER(temporary, target, expression) \
  auto temporary = (expression);                         \
  if (!temporary) return std::move(temporary).error();   \
  target = *std::move(temporary)
