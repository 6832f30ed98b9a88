// The environment that COMMAND gets: ours, without what is ours alone.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace thaw::run {

// Whether thaw alone reads this variable: THAW_… and DECO_CACHE_…, which may hold credentials, or
// names that COMMAND has no business with.
bool is_ours_alone(std::string_view name);

// "NAME=VALUE" for each variable of `environment` (as environ, ended by null) that COMMAND gets.
// With `notify_socket` NOTIFY_SOCKET names that one; it is left out where it is empty text.
std::vector<std::string> environment_for_command(const char* const* environment,
                                                 const std::optional<std::string>& notify_socket);

// systemd names the process that a socket or a watchdog is meant for (LISTEN_PID, WATCHDOG_PID).
// Where that is `before`, it becomes `now`: COMMAND stands in our place.
void readdress(std::vector<std::string>& environment, long before, long now);

}  // namespace thaw::run
