// Completion scripts for shells, made from the declared commands, so that they never lag behind.
#pragma once

#include <CLI/App.hpp>
#include <string>

namespace thaw::cli {

// Scripts to be sourced. They complete commands, options, the words of options with few values,
// files where a type says so, and keys by asking `thaw ls`, for at most two seconds.
std::string bash_completion(const CLI::App& app);
std::string zsh_completion(const CLI::App& app);

}  // namespace thaw::cli
