#include "sim/core/time.hpp"

#include <fmt/format.h>

#include <cmath>

#include "sim/core/error.hpp"

namespace moesim {

SimTime round_to_ticks(Duration duration) {
  constexpr double kLimit = static_cast<double>(std::int64_t{1} << 60);
  const double picoseconds = duration.base() * 1e12;
  if (!(picoseconds >= 0.0 && picoseconds <= kLimit)) {
    throw ModelError(
        fmt::format("a simulated duration of {} s is out of range (0 to {:.0f} s)", duration.base(), kLimit * 1e-12));
  }
  return SimTime::from_ticks(std::llround(picoseconds));
}

}  // namespace moesim
