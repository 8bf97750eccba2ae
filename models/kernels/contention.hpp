#pragma once

#include "models/kernels/communication.hpp"
#include "models/kernels/kernel.hpp"

namespace moesim {

/// What kernels of communication hold of a GPU, as shares of its compute units and of its HBM's bandwidth.
struct HeldShare {
  double units = 0.0;
  double memory = 0.0;
};

/// A GPU is never left with nothing at all.
inline constexpr double kLeastShare = 0.01;

/// Share of the compute units that a kernel needs for its full speed, by what holds it back.
double needed_units(Bound bound, const ContentionTerms& contention);

/// ContentionTerms' law: what is held leaves a kernel so much of its speed by itself, 1 at most, by its compute units
/// and by the HBM. `memory_rate`: the HBM's bandwidth over what the kernel takes of it by itself.
struct SpeedBeside {
  double units = 1.0;
  double memory = 1.0;
  [[nodiscard]] double least() const;
};
SpeedBeside speed_beside(const HeldShare& held, double needed_units, double memory_rate);
/// The same of a kernel that takes a share `memory` of the HBM's bandwidth.
double speed_beside(const HeldShare& held, Bound bound, double memory, const ContentionTerms& contention);

}  // namespace moesim
