#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace moesim::bench {

enum class Mode { kMeasure, kCheck, kList, kDryRun, kHelp };

struct Options {
  Mode mode = Mode::kMeasure;
  std::vector<std::string> only;
  double budget = 570.0;             ///< seconds of wall clock for everything
  double case_limit = 0.25;          ///< seconds of samples a case
  std::vector<std::string> without;  ///< files of measurements whose cases are left out
  std::string out;                   ///< empty: nothing is written
  std::string routing;               ///< .npy; empty: generated
  std::string model;                 ///< of the routing; empty: judged by its experts
  std::vector<int> expert_parallel = {8};
  std::vector<std::int64_t> tokens = {512, 8192};  ///< of the replay's batches
  std::optional<std::uint64_t> seed;               ///< absent: from the clock
  std::string commit = "unknown";
};

/// Throws ConfigError for what is unknown, incomplete or out of range.
Options parse_options(const std::vector<std::string>& arguments);
std::string usage();

}  // namespace moesim::bench
