#include "workloads/routing/routers/catalogue.hpp"
#include "workloads/routing/routers/top_k.hpp"

namespace moesim {

RouterEntry llama4_router() {
  return top_k_entry("llama-4",
                     "top-1, the sigmoid of its logit multiplies the expert's input; a shared expert beside it",
                     "transformers, modeling_llama4", {.gate = GateFunction::kSigmoid, .k = 1});
}

}  // namespace moesim
