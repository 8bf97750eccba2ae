#pragma once

#include <cstddef>
#include <span>

#include "models/kernels/communication.hpp"
#include "models/kernels/kernel.hpp"
#include "sim/program/collective.hpp"

namespace moesim {

/// Which of these ways takes the least time by itself on `ranks` ranks, by running each; the first where several do.
std::size_t fastest_of(std::span<const CollectivePhases> candidates, std::size_t ranks, const Cluster& cluster,
                       const CostModel& costs, const CommunicationProfile& communication);

/// The algorithm that is fastest for S bytes on one of these groups alone, by running each that can run there; the
/// first in the table where several are.
const CollectiveAlgorithm& fastest_algorithm(Collective collective, const CollectiveGroups& groups, double bytes,
                                             const CostModel& costs, const CommunicationProfile& communication);

}  // namespace moesim
