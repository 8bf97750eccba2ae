#pragma once

#include <filesystem>
#include <nlohmann/json_fwd.hpp>
#include <string>

#include "tests/scratch.hpp"

namespace moesim::test {

/// What the program did when run in a folder.
struct Outcome {
  int exit_code = -1;
  std::string out;
  std::string err;
};

/// Runs `moesim ARGUMENTS` (a shell's words) in `folder`.
Outcome run_program(const std::filesystem::path& folder, const std::string& arguments);

/// The value of one of a result's metrics.
double metric(const nlohmann::json& result, const char* name);

}  // namespace moesim::test
