#pragma once

#include <string>
#include <vector>

#include "sim/config/describe.hpp"
#include "sim/scenario/metrics.hpp"
#include "sim/training/run.hpp"

namespace moesim {

/// The figures of a training step, in the order in which they are printed.
std::vector<Metric> training_metrics(const TrainingResult& result);

Json training_json(const TrainingResult& result);
std::string training_table(const TrainingResult& result);

/// The pipeline as a Chrome trace (JSON), which opens in Perfetto: a row for each pipeline rank.
std::string pipeline_trace(const TrainingResult& result);

}  // namespace moesim
