#pragma once

#include "models/kernels/communication.hpp"
#include "models/kernels/kernel.hpp"
#include "sim/program/collective.hpp"

namespace moesim {

/// The algorithm that is fastest for S bytes on one of these groups alone, by running each that can run there; the
/// first in the table where several are.
const CollectiveAlgorithm& fastest_algorithm(Collective collective, const CollectiveGroups& groups, double bytes,
                                             const CostModel& costs, const CommunicationProfile& communication);

}  // namespace moesim
