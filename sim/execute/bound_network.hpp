#pragma once

#include <cstddef>
#include <span>
#include <utility>
#include <vector>

#include "sim/core/time.hpp"
#include "sim/fluid/fluid_system.hpp"

namespace moesim {

/// The network of Fidelity::kBound: links and communication units, each by itself.
///
/// A resource L works at its full rate C_L, in the order of launches, through what is launched over it: b bytes of
/// which it carries w·b, launched at t, keep it busy until
///
///   B_L ← max(B_L, t) + w·b / C_L
///
/// and a transfer is through when the last of its resources has done what was launched so far. No schedule gets more
/// through a resource by B_L. Left out is that resources idle where their transfers are held up elsewhere, and that
/// what is launched later takes its share from what was launched before, both of which take longer; and that of the
/// transfers of one launch small ones may be through before the rest.
class BoundNetwork {
 public:
  /// `capacities`: [resources], units a second.
  explicit BoundNetwork(std::vector<double> capacities)
      : capacities_(std::move(capacities)), busy_until_(capacities_.size(), 0.0) {}

  /// A transfer of the launch that goes on, which takes `uses` of each resource for each of its bytes; none: no time.
  /// `uses` are read again when the launch ends.
  void start(SimTime now, std::span<const Use> uses, double bytes);
  /// Ends the launch. When each of its transfers is through, in their order, rounded to a tick.
  std::span<const SimTime> launch(SimTime now);

 private:
  std::vector<double> capacities_;
  std::vector<double> busy_until_;  ///< [resources], seconds
  // The launch that goes on.
  std::vector<std::span<const Use>> uses_;  ///< [transfers]
  std::vector<SimTime> through_;            ///< [transfers]
};

}  // namespace moesim
