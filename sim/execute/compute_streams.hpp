#pragma once

#include <cstddef>
#include <optional>
#include <vector>

#include "models/kernels/contention.hpp"
#include "models/kernels/kernel.hpp"
#include "sim/core/id.hpp"
#include "sim/core/time.hpp"

namespace moesim {

/// What a kernel needs to run at its own speed.
struct KernelNeeds {
  double seconds = 0.0;      ///< by itself
  double units = 1.0;        ///< share of the compute units
  double memory_rate = 1.0;  ///< HBM bandwidth over what it takes of it; infinite: nothing
};
/// Of a kernel that costs `cost` and runs `repeat` times; `bandwidth`: bytes a second.
KernelNeeds needs_of(const KernelCost& cost, double repeat, double bandwidth, const ContentionTerms& contention);

/// The kernels on the ranks' compute streams, one at a time on each, beside those of communication: activities of the
/// fluid model that progress at ContentionTerms' rate, which changes as exchanges begin and end. What is left of a
/// kernel after its rate changes is its seconds less Σ rate · time, so that its end is exact up to the rounding of each
/// change to a tick. A kernel during which nothing changes takes time_of_kernel (kernel_time.hpp).
class ComputeStreams {
 public:
  explicit ComputeStreams(std::size_t ranks) : ranks_(ranks) {}

  /// A kernel starts. When it ends, if nothing changes. Throws ModelError when that is out of range.
  SimTime start(RankId id, SimTime now, const KernelNeeds& needs);
  /// The kernel has ended.
  void end(RankId id) { ranks_[id.index()].running = false; }
  /// Communication takes what it holds, or leaves it (negative). When the rank's kernel ends now, where it runs at
  /// another speed than before.
  std::optional<SimTime> hold(RankId id, SimTime now, const HeldShare& change);

 private:
  struct Rank {
    HeldShare held;
    bool running = false;
    KernelNeeds needs;  ///< seconds: what is left since `since`
    double rate = 1.0;
    SimTime since;
  };
  static SimTime end_of(Rank& rank, SimTime now);

  std::vector<Rank> ranks_;
};

}  // namespace moesim
