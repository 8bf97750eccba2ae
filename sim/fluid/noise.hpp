#pragma once

#include <limits>

/// What of a figure may be rounding error, relative to it.
namespace moesim::fluid {

inline constexpr double kInfinity = std::numeric_limits<double>::infinity();
inline constexpr double kUlp = std::numeric_limits<double>::epsilon();
/// Of what is left of a capacity, relative to the capacity.
inline constexpr double kCapacityNoise = 8 * kUlp;
/// A level moves if it does by more than its own rounding.
inline constexpr double kLevelNoise = 2 * kUlp;
/// Of a given epsilon, what goes to levels that are not moved.
inline constexpr double kStillPart = 0.25;

}  // namespace moesim::fluid
