#include "workloads/routing/routers/catalogue.hpp"
#include "workloads/routing/routers/top_k.hpp"

namespace moesim {

// Its balance loss is over each sequence and tiny; the bias does the balancing.
RouterEntry deepseek_v3_router() {
  return top_k_entry(
      "deepseek-v3",
      "sigmoid; selection on score + bias in 4 of 8 blocks, each worth its best two; weights normalised, x 2.5",
      "DeepSeek-V3 technical report, arXiv 2412.19437, sections 2.1.2 and 4.2",
      {.gate = GateFunction::kSigmoid,
       .normalise = true,
       .scale = 2.5,
       .groups = 8,
       .groups_per_token = 4,
       .group_score = GroupScore::kBestTwo,
       .balance_loss = 1e-4,
       .bias_rate = 1e-3});
}

}  // namespace moesim
