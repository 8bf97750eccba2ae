#include <fmt/format.h>

#include <span>

#include "sim/core/error.hpp"
#include "sim/core/suggest.hpp"
#include "sim/placement/strategies.hpp"

namespace moesim {

std::span<const StrategyEntry> placement_strategies() {
  using Needs = StrategyEntry::Needs;
  static constexpr StrategyEntry kStrategies[] = {
      {"contiguous", "experts 0 … E/R−1 on rank 0, and so on; redundant slots repeat them in order",
       "the default of vLLM, SGLang and Megatron-LM", make_contiguous},
      {"round-robin", "slot i, which holds expert i mod E, on rank i mod R",
       "vLLM --expert-placement-strategy round_robin", make_round_robin},
      {"random", "a seeded random permutation per layer, equal counts", "baseline", make_random},
      {"greedy", "heaviest copy first to the lightest rank that has none of that expert",
       "longest processing time first (Graham 1969), copies as in EPLB", make_greedy, Needs::kLoads},
      {"eplb-global", "replicates the heaviest expert per copy, then packs copies onto ranks",
       "deepseek-ai/EPLB, global policy", make_eplb_global, Needs::kLoads},
      {"eplb-hierarchical", "packs groups onto nodes, then replicates and packs inside each node",
       "deepseek-ai/EPLB, as its rebalance_experts chooses", make_eplb_hierarchical, Needs::kLoads},
      {"eplb-vllm", "EPLB, with experts that stay on their rank kept in their slots", "vLLM, policy of EPLB",
       make_eplb_in_place, Needs::kLoads},
      {"tensorrt-llm", "a heap of load per copy to replicate, a heap of ranks to place", "TensorRT-LLM, load balancer",
       make_tensorrt_llm, Needs::kLoads},
      {"active-experts", "balances how many experts a rank has awake in a step, then load",
       "after METRO (arXiv 2512.09277)", make_active_experts, Needs::kLoads},
      {"affinity", "experts chosen together share a node, found by partitioning; load balanced inside",
       "co-activation graph, METIS multi-constraint partition", make_affinity, Needs::kTokens},
      {"grace", "groups by affinity first, then copies of hot experts on other nodes",
       "after GRACE-MoE, groups by METIS", make_grace, Needs::kTokens},
      {"cross-layer", "experts go to the node where their tokens were in the layer before; load balanced inside",
       "after ExFlow (IPDPS 2024), greedy in place of its integer program", make_cross_layer, Needs::kTokens},
      {"shadowing", "contiguous, with the hottest experts copied to every rank while that helps",
       "after FasterMoE (PPoPP 2022)", make_shadowing, Needs::kLoads},
      {"moetuner", "integer programs: clusters of equal load, then clusters to nodes by the busiest link",
       "after MoETuner (arXiv 2502.06643), solved by CBC", make_moetuner, Needs::kTokens},
      {"search", "starts from the best of the others and searches on the layer's time", "local search of our own",
       make_search, Needs::kTokens},
  };
  return kStrategies;
}

const StrategyEntry& find_strategy(std::string_view name, const Place& place) {
  std::vector<std::string_view> names;
  for (const StrategyEntry& entry : placement_strategies()) {
    if (entry.name == name) {
      return entry;
    }
    names.push_back(entry.name);
  }
  throw ConfigError(place, fmt::format("expected a placement strategy, found \"{}\"{}", name, suggestion(name, names)));
}

}  // namespace moesim
