// Requests to the engine with all in them that the configuration says.
#pragma once

#include <string>

#include "cli/command.h"
#include "snapshot/restore.h"
#include "snapshot/save.h"

namespace thaw::cli {

RestoreRequest restore_request(const Session& session, KeyRef ref, std::string target);
SaveRequest save_request(const Session& session, Key key, std::string path);

// "replace", "merge", "sync", of which anything else is the first.
RestoreMode restore_mode(const std::string& word);

}  // namespace thaw::cli
