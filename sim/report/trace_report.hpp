#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <vector>

#include "sim/config/document.hpp"
#include "sim/scenario/run.hpp"
#include "workloads/routing/correlation.hpp"
#include "workloads/routing/formats/recording.hpp"
#include "workloads/routing/pairs.hpp"
#include "workloads/routing/statistics.hpp"

namespace moesim {

/// What `moesim trace info` found out about a recording.
struct TraceReport {
  std::string file;
  std::string format;
  std::vector<InputFile> inputs;  ///< for JSON only
  std::vector<std::string> notes;
  std::size_t tokens = 0;  ///< 0 where only counts were recorded
  std::size_t experts = 0;
  std::optional<std::size_t> k;
  TraceStatistics statistics;
  std::optional<std::size_t> batch_tokens;  ///< of the capacities, where it was asked for
  std::optional<PairStatistics> pairs;
  std::optional<CorrelationStatistics> correlation;
};

std::string trace_table(const TraceReport& report);
Json trace_json(const TraceReport& report);

}  // namespace moesim
