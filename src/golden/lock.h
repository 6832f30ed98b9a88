// Locks between processes that the kernel drops when their holder ends: open file description
// locks on empty files.
#pragma once

#include <chrono>
#include <optional>
#include <string>

#include "base/context.h"
#include "base/fd.h"

namespace thaw::golden {

enum class Share { shared, exclusive };

// How long a lock is waited for, at most.
inline constexpr std::chrono::milliseconds kLockPatience{30'000};

// Held until destroyed. Move-only.
class Lock {
 public:
  int fd() const { return fd_.get(); }

 private:
  friend Result<Lock> lock_file(const Context&, const std::string&, Share,
                                std::chrono::milliseconds);
  friend Result<std::optional<Lock>> try_lock_file(const std::string&, Share);
  explicit Lock(UniqueFd fd) : fd_(std::move(fd)) {}
  UniqueFd fd_;
};

// For locks that are held as long as somebody else's command runs.
inline constexpr std::chrono::milliseconds kEndlessPatience{std::chrono::hours(24 * 365)};

// Locks the file `path`, which is there. Waits while the context lasts, and no longer than
// `patience`; then it is `busy`, and names who has the file open. not_found when the file is gone.
// The lock is of the file that has the name when it is taken.
Result<Lock> lock_file(const Context& context, const std::string& path, Share share,
                       std::chrono::milliseconds patience = kLockPatience);

// The same without waiting: empty when somebody else holds it.
Result<std::optional<Lock>> try_lock_file(const std::string& path, Share share);

// Makes the file, if it is not there.
Result<> make_lock_file(const std::string& path);

// Ends early, with the context's error, when the context ends.
Result<> pause(const Context& context, std::chrono::milliseconds time);

}  // namespace thaw::golden
