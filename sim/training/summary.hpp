#pragma once

#include <array>
#include <cstddef>

#include "sim/training/run.hpp"

/// Means over a training step's pipeline ranks.
namespace moesim {

/// Rounded so that they add up to the step to the tick (largest remainder).
std::array<SimTime, kTrainingTimes> mean_times(const TrainingResult& result);
/// By pass.
std::array<SimTime, kPasses> mean_passes(const TrainingResult& result);
/// Of the pipeline's own time, from its first pass to its last: what ranks do nothing in.
double bubble_fraction(const TrainingResult& result);
/// The pipeline rank with the largest footprint.
std::size_t fullest_pipeline_rank(const TrainingResult& result);

}  // namespace moesim
