#include "workloads/routing/routers/catalogue.hpp"
#include "workloads/routing/routers/top_k.hpp"

namespace moesim {

RouterEntry qwen2_router() {
  return top_k_entry("qwen2-moe", "softmax, top-k, not renormalised; a shared expert beside them",
                     "transformers, modeling_qwen2_moe (Qwen1.5-MoE, Qwen2-57B-A14B)",
                     {.balance_loss = 1e-3, .balance_share = BalanceShare::kOfTokens});
}

}  // namespace moesim
