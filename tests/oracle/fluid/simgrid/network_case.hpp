#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <vector>

#include "sim/core/time.hpp"
#include "sim/fluid/fluid_system.hpp"

namespace moesim::oracle {

/// A transfer between two hosts, as this simulator and SimGrid can both express it.
struct NetworkFlow {
  std::uint32_t from = 0;  ///< host; flows between the same two hosts have the same route
  std::uint32_t to = 0;
  SimTime start;
  std::uint64_t bytes = 0;           ///< > 0
  std::vector<std::uint32_t> route;  ///< links
  SimTime latency;                   ///< before it takes any link
  double rate_cap = std::numeric_limits<double>::infinity();

  /// SimGrid's model CM02 weighs a flow by its latency: φ = 1/latency, and 1 where there is none.
  [[nodiscard]] double fairness() const { return latency > SimTime() ? 1.0 / latency.duration().base() : 1.0; }
};

struct NetworkCase {
  std::uint32_t hosts = 0;
  std::vector<double> capacities;  ///< [links], bytes/s
  std::vector<NetworkFlow> flows;  ///< in order of start
};

/// Finish times in seconds, by flow, as this simulator has them.
std::vector<double> finish_times(const NetworkCase& network, double epsilon = 0.0);

/// A random one. By number: any links in any order; chains of links; leaf switches with ports and trunks of equal
/// widths, which makes ties. With or without latencies, caps, starts at several times.
NetworkCase random_network(std::uint64_t number);

enum class Fabric : std::uint8_t { kNonBlocking, kLeafSpine };
/// Every pair of GPUs a flow of its own size: Zipf(1.0) popularity of the receiver times lognormal(σ = 0.3). Nodes of 8
/// GPUs; each GPU has a scale-up port of 450 GB/s and a NIC of 50 GB/s, each way. The network between the NICs does not
/// block, or is a leaf-spine of 2:1 (16 GPUs a leaf). 800 GB to the most popular from each: so much that a tick is
/// nothing.
NetworkCase skewed_all_to_all(std::uint32_t gpus, Fabric fabric, std::uint64_t seed);

}  // namespace moesim::oracle
