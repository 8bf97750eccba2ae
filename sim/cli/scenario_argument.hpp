#pragma once

#include <string>
#include <vector>

#include "sim/config/document.hpp"

namespace moesim {

/// The scenario a user names on the command line: a file, or else one that comes with the program; with the --set
/// assignments applied. Throws ConfigError; an unknown name gets a suggestion.
Document read_scenario_argument(const std::string& argument, const std::vector<std::string>& assignments);

}  // namespace moesim
