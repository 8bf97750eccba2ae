#pragma once

#include <span>
#include <vector>

#include "sim/core/task_pool.hpp"
#include "sim/core/time.hpp"
#include "sim/fluid/fluid_system.hpp"

namespace moesim {

/// A flow that is known before anything begins: it uses nothing until its latency has passed.
struct KnownFlow {
  double amount = 0.0;  ///< > 0
  SimTime latency = {};
  std::span<const Use> uses;  ///< at least one, no resource twice
};

struct KnownFlowsOptions {
  /// 0 to 1; 0: exact. Below 1e-3 FluidSystem has it: windows so short would take longer than to go from event to event
  /// and, much shorter, would take less from an amount than single precision can tell.
  double epsilon = 0.0;
  SimTime sample_every = SimTime::never();  ///< > 0
};

struct KnownFlowsResult {
  std::vector<SimTime> finish;               ///< [flows]
  std::vector<double> busy;                  ///< [resources], seconds in which some flow that uses it was live
  std::vector<std::vector<double>> sampled;  ///< [slots of sample_every][resources]: Σ weight·(amount done) in it
};

/// The times of FluidSystem, with φ = 1 and no caps, for flows that are all known before the first begins. Flows that
/// share no resource that can bind are solved apart, on the threads of `pool`: exactly, by FluidSystem; or to within
/// about ε (99 % of the flows; single ones may be off by a few times that), if there are many of them, in windows of
/// time (windows.hpp), each of which costs the same however many flows complete in it. No resource is through before
/// what its flows bring, over its capacity, has passed.
KnownFlowsResult share_known_flows(std::span<const double> capacities, std::span<const KnownFlow> flows,
                                   const KnownFlowsOptions& options, const TaskPool& pool = TaskPool(1));

}  // namespace moesim
