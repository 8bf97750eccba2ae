#pragma once

#include <cstddef>
#include <vector>

#include "models/memory/training.hpp"
#include "sim/training/layout.hpp"

namespace moesim {

/// What the fullest of each pipeline rank's GPUs is asked to hold, [pipeline ranks]. `expert_load`: rows of the fullest
/// rank's experts over those of balanced ones.
std::vector<TrainingMemoryRequest> memory_requests(const Training& training, const Model& model,
                                                   const TrainingLayout& layout, double expert_load);

/// Throws ModelError at `place` unless every rank fits: by how much it does not, its largest parts, and which single
/// changes would make it fit (each was computed).
void check_training_fits(const PreparedTraining& prepared, double expert_load, const Place& place);

}  // namespace moesim
