#pragma once

#include <cstdint>
#include <vector>

#include "tests/oracle/fluid/scenario.hpp"

namespace moesim::oracle {

/// Max-min rates by the definition: raise the level of all unfixed activities until a cap or a capacity is reached,
/// fix those it stops, repeat. Every step sums over everything; in long double; ties within 10^−15 together.
std::vector<long double> water_fill(const std::vector<double>& capacities, const std::vector<const Arrival*>& live);

/// The ticks at which the activities complete, by number: rates anew after every start and completion, time in whole
/// ticks, completions rounded up (10^−3 of a tick above a whole number forgiven).
std::vector<std::int64_t> completion_ticks(const Scenario& scenario);

}  // namespace moesim::oracle
