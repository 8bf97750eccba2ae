#include "workloads/routing/routers/catalogue.hpp"
#include "workloads/routing/routers/top_k.hpp"

namespace moesim {

RouterEntry glm_router() {
  return top_k_entry("glm-4.5", "as DeepSeek-V3 with one block, x 2.5 (Air: scale 1)",
                     "GLM-4.5, arXiv 2508.06471; zai-org/GLM-4.5 config.json",
                     {.gate = GateFunction::kSigmoid,
                      .normalise = true,
                      .scale = 2.5,
                      .groups = 1,
                      .groups_per_token = 1,
                      .group_score = GroupScore::kBestTwo,
                      .bias_rate = 1e-3});
}

}  // namespace moesim
