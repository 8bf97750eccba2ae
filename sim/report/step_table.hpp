#pragma once

#include <string>

#include "sim/scenario/metrics.hpp"

namespace moesim {

/// The result as a page of text that a person reads in ten seconds.
std::string step_table(const StepResult& result);

}  // namespace moesim
