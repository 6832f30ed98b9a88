#include "cli/choice.h"

#include <fmt/format.h>

#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>

namespace thaw::cli {

CLI::Option* add_choice(CLI::App& app, const std::string& name, std::string& value,
                        const std::vector<std::string>& words, const std::string& text) {
  // CLI11 would add its own description of the words to the type.
  CLI::Validator one_of = CLI::IsMember(words).description("");
  return app.add_option(name, value, text)
      ->check(one_of)
      ->type_name(fmt::format("{}", fmt::join(words, "|")));
}

}  // namespace thaw::cli
