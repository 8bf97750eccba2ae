#pragma once

#include <string>

#include "sim/config/document.hpp"
#include "sim/planning/sweep.hpp"

namespace moesim {

/// Every point, what its axes have and what it came to; the front; what cannot run, and why.
std::string sweep_table(const Sweep& sweep);
Json sweep_json(const Sweep& sweep);
/// One line per point: the values of the axes and all figures, in base units.
std::string sweep_csv(const Sweep& sweep);

}  // namespace moesim
