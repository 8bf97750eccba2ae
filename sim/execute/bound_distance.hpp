#pragma once

#include <optional>

#include "sim/execute/execute.hpp"

namespace moesim {

/// What Fidelity::kBound, by which `bound` was found, leaves out of a program: its first stages once more, with
/// sharing. Empty where nothing is exchanged. Throws as execute() does.
std::optional<Execution::Distance> distance_of_bound(const Execution& bound, const Program& program,
                                                     const Cluster& cluster, const CostModel& costs,
                                                     const CommunicationProfile& communication);

}  // namespace moesim
