#include "workloads/routing/routers/catalogue.hpp"
#include "workloads/routing/routers/top_k.hpp"

namespace moesim {

RouterEntry kimi_k2_router() {
  return top_k_entry("kimi-k2", "as DeepSeek-V3 with one block, x 2.827",
                     "Kimi K2, arXiv 2507.20534; moonshotai/Kimi-K2 config.json",
                     {.gate = GateFunction::kSigmoid,
                      .normalise = true,
                      .scale = 2.827,
                      .groups = 1,
                      .groups_per_token = 1,
                      .group_score = GroupScore::kBestTwo,
                      .bias_rate = 1e-3});
}

}  // namespace moesim
