#pragma once

#include <string>

#include "sim/execute/execute.hpp"

namespace moesim {

/// The step as a Chrome trace (JSON), which opens in Perfetto and chrome://tracing: one process per rank, with a row
/// for kernels and one for communication and waits. Times in the file are microseconds, with picosecond digits.
std::string chrome_trace(const Execution& execution);

}  // namespace moesim
