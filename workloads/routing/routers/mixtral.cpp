#include "workloads/routing/routers/catalogue.hpp"
#include "workloads/routing/routers/top_k.hpp"

namespace moesim {

RouterEntry mixtral_router() {
  return top_k_entry(
      "mixtral", "top-2 logits, softmax over the two; dropless",
      "Mixtral of experts, arXiv 2401.04088; transformers, modeling_mixtral",
      {.gate = GateFunction::kSoftmaxOfChosen, .balance_loss = 0.02, .balance_share = BalanceShare::kOfTokens});
}

}  // namespace moesim
