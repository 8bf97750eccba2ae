#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "sim/core/id.hpp"
#include "sim/core/task_pool.hpp"
#include "sim/core/time.hpp"
#include "sim/execute/fidelity.hpp"
#include "sim/execute/traffic_matrix.hpp"
#include "topologies/cluster.hpp"

namespace moesim {

struct AllToAllOptions {
  Fidelity fidelity = Fidelity::kFlow;
  double epsilon = 0.0;  ///< KnownFlowsOptions::epsilon
  /// Symmetric traffic is solved for one flow of each class; off: flow by flow, always.
  enum class Symmetry { kUse, kIgnore } symmetry = Symmetry::kUse;
  std::size_t slots = 0;  ///< sample the links' use this many times per `bound`; 0: do not
};

/// One transfer and when its last byte has arrived.
struct FlowFinish {
  PairBytes pair;
  SimTime finish;
};

/// A matrix of transfers that all set off at once, on a cluster: rank r on GPU r.
///
/// A transfer of b bytes takes no link until its route's latency has passed, and from then on its route's links, at
/// their nominal capacity. Times are those of the network alone: no kernel's overhead, no protocol's efficiency.
struct AllToAllResult {
  Fidelity fidelity = Fidelity::kFlow;
  SimTime completion;  ///< of the last transfer; with kBound, the bound
  /// max over links of (least latency of a transfer that uses it + its bytes / its capacity): no schedule is faster.
  SimTime bound;
  std::optional<LinkId> bound_link;  ///< the link of that bound; none where nothing is sent
  std::vector<FlowFinish> flows;     ///< by source, then destination; empty with kBound and where symmetry was used
  std::vector<double> link_bytes;    ///< [links]
  std::vector<double> link_busy;     ///< [links], seconds in which some transfer used it; empty with kBound
  std::uint64_t transfers = 0;
  double bytes_intra_node = 0.0;  ///< between GPUs that reach each other without the network
  double bytes_inter_node = 0.0;
  double bytes_local = 0.0;  ///< from a rank to itself: takes no link and no time
  /// Use of each link over time: [slots][links], share of the capacity, in slots of the length `slot` from 0 on, the
  /// last one cut short at the completion. Only where asked for, and not with kBound.
  std::vector<std::vector<double>> use_over_time;
  SimTime slot;
};

/// Transfers that do not meet on a link that can bind are solved on the threads of `pool`. Throws ModelError when a
/// time is out of range, ConfigError (a cluster with dead parts) where there is no way.
AllToAllResult all_to_all(const Cluster& cluster, const TrafficMatrix& traffic, const AllToAllOptions& options,
                          const TaskPool& pool = TaskPool(1));

/// Who sends most over a link.
struct LinkLoader {
  RankId from;
  double bytes;
};
/// For each of `links`, the `count` source ranks that load it most, the heaviest first.
std::vector<std::vector<LinkLoader>> link_loaders(const Cluster& cluster, const TrafficMatrix& traffic,
                                                  std::span<const LinkId> links, std::size_t count);

}  // namespace moesim
