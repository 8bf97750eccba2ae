#include "workloads/routing/routers/catalogue.hpp"
#include "workloads/routing/routers/top_k.hpp"

namespace moesim {

RouterEntry qwen3_router() {
  return top_k_entry("qwen3-moe", "softmax, top-8, renormalised; no shared expert",
                     "Qwen3 technical report, arXiv 2505.09388; transformers, modeling_qwen3_moe",
                     {.normalise = true, .balance_loss = 1e-3, .balance_share = BalanceShare::kOfTokens});
}

}  // namespace moesim
