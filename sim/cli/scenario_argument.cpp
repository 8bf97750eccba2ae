#include "sim/cli/scenario_argument.hpp"

#include <filesystem>

#include "sim/core/suggest.hpp"
#include "sim/scenario/scenario.hpp"

namespace moesim {

Document read_scenario_argument(const std::string& argument, const std::vector<std::string>& assignments) {
  std::error_code unused;
  const bool looks_like_name = argument.find('/') == std::string::npos && !argument.ends_with(".json");
  const bool named = looks_like_name && !std::filesystem::exists(argument, unused);
  if (named && !scenario_catalogue().contains(argument)) {
    throw ConfigError({argument, {}}, "expected a scenario file or the name of a scenario, found neither" +
                                          suggestion(argument, scenario_catalogue().names()));
  }
  Document document = named ? scenario_catalogue().find(argument, {argument, {}}) : Document::read(argument);
  for (const std::string& assignment : assignments) {
    document.set(assignment);
  }
  return document;
}

}  // namespace moesim
