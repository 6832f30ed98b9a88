// sd_notify(3) through us: COMMAND speaks to a socket of ours, and what it says goes on to the one
// that we were given, where it counts as ours.
#pragma once

#include <sys/types.h>

#include <optional>
#include <string>
#include <vector>

#include "base/fd.h"
#include "base/result.h"

namespace thaw::run {

// One thread. Never waits: while the outer socket takes nothing, nothing is read from the inner
// one, whose senders wait then as they would at the outer one.
class NotifyRelay {
 public:
  // An abstract socket, which leaves nothing behind. `outer` is NOTIFY_SOCKET as we were given it;
  // empty: what is said ends here.
  static Result<NotifyRelay> open(const std::optional<std::string>& outer);

  // For COMMAND's NOTIFY_SOCKET.
  const std::string& address() const { return address_; }
  // What to wait for, and how (POLLIN, POLLOUT).
  int fd() const { return held_ ? outer_.get() : inner_.get(); }
  short events() const;
  // Takes what has come and passes it on. True when READY=1 was in it. Counts what comes from
  // root, from our own user, and from `command` and below; nothing else.
  bool take(pid_t command);
  // Says READY=1 to the outer socket, for a COMMAND that does not.
  void say_ready();

 private:
  struct Message {
    std::string text;
    std::vector<UniqueFd> descriptors;
  };
  NotifyRelay(UniqueFd inner, UniqueFd outer, std::string address)
      : inner_(std::move(inner)), outer_(std::move(outer)), address_(std::move(address)) {}
  std::optional<Message> receive(pid_t command, bool& more);
  // False when it has to be held.
  bool pass_on(const Message& message) const;

  UniqueFd inner_;
  UniqueFd outer_;  // not valid: there is none
  std::string address_;
  std::optional<Message> held_;
  bool owes_ready_ = false;  // say_ready() came while a message was held
};

}  // namespace thaw::run
