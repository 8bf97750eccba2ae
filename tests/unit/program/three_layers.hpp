#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>
#include <variant>

#include "models/architecture/architecture.hpp"
#include "sim/core/random.hpp"
#include "topologies/cluster.hpp"
#include "workloads/routing/types.hpp"

namespace moesim::test {

inline constexpr std::size_t kRanks = 4;

/// DeepSeek-V2-Lite's dense block in one layer, and its MoE block (64 experts, top-6, shared ones) in the next two.
inline Model three_layers() {
  Architecture small = load_model(ModelName{"deepseek-v2-lite"}, {"test", ""}).architecture();
  std::string dense;
  std::string moe;
  for (const auto& [name, block] : small.blocks) {
    (std::holds_alternative<MixtureOfExperts>(block.feed_forward) ? moe : dense) = name;
  }
  small.layers = {{{dense}, 1}, {{moe}, 2}};
  return {std::move(small), {"test", ""}};
}

/// Two nodes of two GPUs.
inline Cluster two_nodes() {
  ClusterConfig config;
  config.name = "test";
  config.accelerator = "h200-sxm";
  config.gpus_per_node = 2;
  config.nodes = 2;
  config.network = Network{};
  config.network->nic = "connectx-7-ndr";
  return build_cluster(config, {"test", {}});
}

/// Of so many tokens in both MoE layers, at random; experts of one token are all different.
inline StepRouting random_routing(std::size_t tokens) {
  StepRouting routing;
  routing.shape = {.tokens = tokens, .layers = 2, .k = 6, .experts = 64};
  RandomStream random(3, "micro-batches");
  for (std::size_t i = 0; i < tokens * 2; ++i) {
    const auto first = static_cast<std::uint16_t>(random.uniform() * 64);
    for (std::uint16_t j = 0; j < 6; ++j) {
      routing.choices.push_back(static_cast<std::uint16_t>((first + 7 * j) % 64));
    }
  }
  return routing;
}

}  // namespace moesim::test
