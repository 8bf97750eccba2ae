#pragma once

#include "workloads/routing/routers/registry.hpp"

/// The rows of the table of routers, each defined in the file of its router.
namespace moesim {

RouterEntry soft_router();
RouterEntry noisy_top_k_router();
RouterEntry hierarchical_router();
RouterEntry routing_network_router();
RouterEntry gshard_router();
RouterEntry switch_router();
RouterEntry base_router();
RouterEntry sinkhorn_router();
RouterEntry hash_router();
RouterEntry v_moe_router();
RouterEntry glam_router();
RouterEntry nllb_router();
RouterEntry expert_choice_router();
RouterEntry softmax_top_k_router();
RouterEntry top_k_softmax_router();
RouterEntry sigmoid_top_k_router();
RouterEntry sigmoid_bias_top_k_router();
RouterEntry group_limited_top_k_router();
RouterEntry sparsemixer_router();
RouterEntry mixtral_router();
RouterEntry deepseek_v2_router();
RouterEntry deepseek_v3_router();
RouterEntry kimi_k2_router();
RouterEntry glm_router();
RouterEntry qwen2_router();
RouterEntry qwen3_router();
RouterEntry gpt_oss_router();
RouterEntry llama4_router();
RouterEntry dbrx_router();
RouterEntry olmoe_router();
RouterEntry arctic_router();
RouterEntry uniform_router();
RouterEntry power_law_router();

}  // namespace moesim
