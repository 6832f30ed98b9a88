// The program: from words to an exit code.
#pragma once

#include <string>
#include <vector>

namespace thaw::cli {

// `arguments` are the words after the program's name. Prints the result and answers the exit code.
// Once per process, for it watches signals.
int run(const std::vector<std::string>& arguments);

}  // namespace thaw::cli
