#pragma once

#include <cstdint>

#include "sim/core/time.hpp"
#include "sim/fluid/noise.hpp"

/// From clocks to whole ticks.
namespace moesim::fluid {

inline constexpr std::int64_t kNever = SimTime::never().ticks();
inline constexpr double kTicksPerSecond = 1e12;
inline constexpr double kSecondsPerTick = 1e-12;
/// Finishes later than this are kept as this (FluidSystem::next_completion refuses well before).
inline constexpr double kLatestTick = 4e18;
/// Of a tag, relative.
inline constexpr double kTagNoise = 64 * kUlp;
/// Of a tick: less is not worth a whole one more.
inline constexpr double kTickNoise = 1e-4;

/// `ticks` rounded up, where up to `noise` above a whole number does not count as above.
inline std::int64_t ticks_rounded_up(double ticks, double noise) {
  const auto whole = static_cast<std::int64_t>(ticks);
  return ticks - static_cast<double>(whole) > noise ? whole + 1 : whole;
}

}  // namespace moesim::fluid
