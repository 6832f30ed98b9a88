// Options and arguments that take one of a few words.
#pragma once

#include <CLI/App.hpp>
#include <string>
#include <vector>

namespace thaw::cli {

// Other words are wrong usage. The option's type names the words ("replace|merge|sync"), which help
// shows and completion offers.
CLI::Option* add_choice(CLI::App& app, const std::string& name, std::string& value,
                        const std::vector<std::string>& words, const std::string& text);

}  // namespace thaw::cli
