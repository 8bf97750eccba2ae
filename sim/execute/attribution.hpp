#pragma once

#include <array>

#include "sim/execute/execute.hpp"

namespace moesim {

/// Ticks by category, mean over ranks, rounded so that they add up to the step to the tick (largest remainder).
/// Throws InternalError if any rank's time is not attributed in full.
std::array<SimTime, kTimeCategories> attribution(const Execution& execution);

}  // namespace moesim
