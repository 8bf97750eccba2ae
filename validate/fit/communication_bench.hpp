#pragma once

#include <cstddef>
#include <map>
#include <memory>
#include <string>

#include "models/kernels/fitted.hpp"
#include "sim/execute/network_terms.hpp"
#include "sim/program/dispatch.hpp"
#include "topologies/cluster.hpp"
#include "validate/fit/communication_table.hpp"

namespace moesim {

/// GPUs of a node in tables of DeepEP.
inline constexpr std::size_t kTableNode = 8;

/// The catalogue's cluster of an accelerator: of those of its name the one with the shortest name, "hgx-h100". Throws
/// ConfigError at `place` where there is none.
std::string cluster_of(const std::string& accelerator, const Place& place);

/// Counts of a layer whose routing is uniform, as expected values: a token has an expert on a rank with probability
/// 1 - C(E - E/R, k) / C(E, k), likewise for a node.
LayerTraffic expected_traffic(const MeasuredDispatch& row, const Cluster& cluster, std::size_t ranks);

/// Runs measured collectives and dispatches as the simulator runs them: program, fluid, profile.
class CommunicationBench {
 public:
  /// Clusters are made here for each number of nodes, so that the rest may run on several threads.
  CommunicationBench(const std::string& cluster, const CommunicationTable& table, const KernelProfile& profile);

  [[nodiscard]] const Cluster& cluster(std::size_t ranks) const;

  /// What the library would take: NCCL's ring or pairwise sends, and in-switch reduction; custom all-reduces also in
  /// one and two shots. The fastest.
  [[nodiscard]] Duration predict(const MeasuredCollective& row) const;
  /// The algorithm's phases on the row's ranks; none where it is not eligible.
  [[nodiscard]] CollectivePhases phases(const MeasuredCollective& row, std::string_view algorithm) const;

  struct Parts {
    Duration total;
    Duration notify;  ///< of that
  };
  [[nodiscard]] Parts predict(const MeasuredDispatch& row, StepOperator op) const {
    return predict(row, op, profile_.communication);
  }
  /// By other terms than the profile's.
  [[nodiscard]] Parts predict(const MeasuredDispatch& row, StepOperator op, const CommunicationProfile& profile) const;

 private:
  [[nodiscard]] Duration run(CollectivePhases phases, std::size_t ranks, const CommunicationProfile& profile) const;

  CommunicationSource source_;
  KernelProfile profile_;
  std::map<std::size_t, Cluster> clusters_;  ///< by ranks
  std::unique_ptr<CostModel> costs_;
};

/// Whether NCCL may reduce in the switch: from eight ranks on one node on (NVIDIA/nccl src/graph/tuning.cc), types that
/// the switch adds up (src/device/all_reduce.h: no 8-bit integers).
bool may_reduce_in_switch(const MeasuredCollective& row);

}  // namespace moesim
