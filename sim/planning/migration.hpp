#pragma once

#include <cstddef>

#include "sim/core/quantity.hpp"
#include "sim/execute/traffic_matrix.hpp"
#include "sim/placement/placement.hpp"
#include "sim/scenario/run.hpp"
#include "topologies/cluster.hpp"

namespace moesim {

/// How weights of experts lie on GPUs.
struct ExpertWeights {
  Bytes expert;           ///< one expert of one layer, all its parts
  std::size_t split = 1;  ///< GPUs that share each copy (expert_tensor_parallel); each sends its part to its like
  std::size_t ranks_per_node = 1;
};
ExpertWeights expert_weights(const PreparedStep& step);

/// Weights that go from GPU to GPU when one placement takes the place of another.
struct MigrationTraffic {
  std::size_t copies = 0;  ///< that come to a rank which had none of that expert, over all layers
  TrafficMatrix bytes;     ///< [GPU, GPU]
};

/// Each copy comes from a rank that had one before: the nearest (same node first), of those the one that has sent
/// least so far. What stays on its rank, in whatever slot, is not sent. The placements have the same layers, experts
/// and ranks.
MigrationTraffic migration_traffic(const Placement& before, const Placement& after, const ExpertWeights& weights);

struct Migration {
  std::size_t copies = 0;
  double bytes = 0.0;
  Duration time;  ///< all of them at once, nothing else on the links
};
/// Throws ModelError when the time is out of range.
Migration migrate(const Placement& before, const Placement& after, const ExpertWeights& weights,
                  const Cluster& cluster);

}  // namespace moesim
