#include "run/command_environment.h"

#include <array>

namespace thaw::run {
namespace {

constexpr std::string_view kNotifySocket = "NOTIFY_SOCKET";

std::string_view name_of_variable(std::string_view variable) {
  return variable.substr(0, variable.find('='));
}

}  // namespace

bool is_ours_alone(std::string_view name) {
  return name.starts_with("THAW_") || name.starts_with("DECO_CACHE_");
}

std::vector<std::string> environment_for_command(const char* const* environment,
                                                 const std::optional<std::string>& notify_socket) {
  std::vector<std::string> kept;
  for (const char* const* each = environment; *each != nullptr; ++each) {
    const std::string_view name = name_of_variable(*each);
    if (is_ours_alone(name) || (notify_socket && name == kNotifySocket)) continue;
    kept.emplace_back(*each);
  }
  if (notify_socket && !notify_socket->empty())
    kept.push_back(std::string(kNotifySocket) + '=' + *notify_socket);
  return kept;
}

void readdress(std::vector<std::string>& environment, long before, long now) {
  constexpr std::array<std::string_view, 2> kNames = {"LISTEN_PID=", "WATCHDOG_PID="};
  for (std::string& variable : environment) {
    for (const std::string_view name : kNames) {
      if (variable == std::string(name) + std::to_string(before))
        variable = std::string(name) + std::to_string(now);
    }
  }
}

}  // namespace thaw::run
