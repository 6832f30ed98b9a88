#include "run/command_environment.h"

#include <gtest/gtest.h>

#include <array>

namespace thaw::run {
namespace {

using Variables = std::vector<std::string>;

TEST(CommandEnvironment, LeavesOutWhatIsOursAlone) {
  const std::array<const char*, 7> given = {
      "PATH=/bin", "THAW_STORE=s3://b/p", "DECO_CACHE_S3_KEY=k", "THAWED=1", "EMPTY=", "odd",
      nullptr};
  EXPECT_EQ(environment_for_command(given.data(), std::nullopt),
            (Variables{"PATH=/bin", "THAWED=1", "EMPTY=", "odd"}));
}

TEST(CommandEnvironment, NamesOurSocketInPlaceOfTheOuterOne) {
  const std::array<const char*, 3> given = {"NOTIFY_SOCKET=/run/outer", "A=1", nullptr};
  EXPECT_EQ(environment_for_command(given.data(), "@ours"),
            (Variables{"A=1", "NOTIFY_SOCKET=@ours"}));
  EXPECT_EQ(environment_for_command(given.data(), ""), (Variables{"A=1"}));
  EXPECT_EQ(environment_for_command(given.data(), std::nullopt),
            (Variables{"NOTIFY_SOCKET=/run/outer", "A=1"}));
}

TEST(CommandEnvironment, StandsInOurPlaceForSystemd) {
  Variables variables = {"LISTEN_PID=12", "WATCHDOG_PID=123", "OTHER_PID=12", "LISTEN_FDS=1"};
  readdress(variables, 12, 99);
  EXPECT_EQ(variables,
            (Variables{"LISTEN_PID=99", "WATCHDOG_PID=123", "OTHER_PID=12", "LISTEN_FDS=1"}));
}

}  // namespace
}  // namespace thaw::run
