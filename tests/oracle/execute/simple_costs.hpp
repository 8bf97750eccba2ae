#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>

#include "sim/core/quantity.hpp"
#include "sim/execute/execute.hpp"
#include "topologies/cluster.hpp"

namespace moesim::test {

/// A kernel that takes as many microseconds as its Gemm::m says, and nothing of the HBM.
class CountedMicroseconds final : public CostModel {
 public:
  [[nodiscard]] KernelCost cost(const Kernel& kernel) const override {
    KernelCost cost;
    cost.time = seconds(static_cast<double>(std::get<Gemm>(kernel).m) * 1e-6);
    cost.busy = cost.time;
    cost.bound = Bound::kCompute;
    return cost;
  }
};

/// Links at their nominal bandwidth; 2 us before the first byte of a dispatch or combine flows, 5 us over the network.
inline CommunicationProfile plain_network() {
  const TransferTerms terms{1.0, 1.0, seconds(2e-6), seconds(5e-6)};
  CommunicationProfile profile{{terms, terms, std::nullopt}, {terms, terms, std::nullopt}, {}};
  for (const auto& [kind, unused] : EnumNames<ProfiledCollective>::names) {
    profile.collective[kind]["plain"] = {.overhead = seconds(1e-6)};
  }
  return profile;
}

/// Whether paths have the latency that a cluster has where nothing is said, or none.
enum class Paths { kWithoutLatency, kWithLatency };

/// Nodes of `gpus_per_node` H200: 450 GB/s NVLink, one 50 GB/s NIC per GPU where there are several nodes.
inline Cluster h200_nodes(std::size_t gpus_per_node, std::size_t nodes, Paths paths = Paths::kWithoutLatency) {
  ClusterConfig config;
  config.name = "test";
  config.accelerator = "h200-sxm";
  config.gpus_per_node = gpus_per_node;
  config.nodes = nodes;
  RailLeafSpine fabric;
  if (paths == Paths::kWithoutLatency) {
    config.scale_up.latency = Duration{};
    fabric.same_leaf_latency = Duration{};
    fabric.other_leaf_latency = Duration{};
  }
  if (nodes > 1) {
    config.network = Network{};
    config.network->nic = "connectx-7-ndr";
    config.network->fabric = fabric;
  }
  return build_cluster(config, {"test", {}});
}

inline SimTime microseconds(double value) { return round_to_ticks(seconds(value * 1e-6)); }

/// A kernel of so many microseconds, as an instruction.
inline RunKernel busy(Program& program, std::int64_t microseconds_long, StepOperator op = StepOperator::kExperts) {
  program.kernels.push_back(Gemm{.m = microseconds_long});
  return {static_cast<std::uint32_t>(program.kernels.size() - 1), op, 0, 1};
}

/// Seconds of a rank in a category.
inline double spent(const Execution& execution, std::size_t rank, TimeCategory category) {
  double sum = 0.0;
  for (const Segment& segment : execution.timeline[rank]) {
    sum += segment.category == category ? (segment.end - segment.begin).duration().base() : 0.0;
  }
  return sum;
}

}  // namespace moesim::test
