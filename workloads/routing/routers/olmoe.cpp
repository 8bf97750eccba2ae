#include "workloads/routing/routers/catalogue.hpp"
#include "workloads/routing/routers/top_k.hpp"

namespace moesim {

RouterEntry olmoe_router() {
  return top_k_entry("olmoe", "softmax, top-8 of 64, not renormalised; dropless", "OLMoE, arXiv 2409.02060",
                     {.balance_loss = 0.01, .z_loss = 1e-3});
}

}  // namespace moesim
