// Where log lines go, for a process that must not wait for its standard error.
#pragma once

#include <functional>
#include <string_view>

namespace thaw::log {

// Lines as they would stand on standard error, each with its end; called under a lock, so it must
// not log itself.
using Sink = std::function<void(std::string_view line)>;

// An empty one stands for standard error. Not while another thread logs.
void send_to(Sink sink);

}  // namespace thaw::log
