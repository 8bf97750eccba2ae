#include "workloads/routing/routers/catalogue.hpp"
#include "workloads/routing/routers/top_k.hpp"

namespace moesim {

RouterEntry dbrx_router() {
  return top_k_entry("dbrx", "softmax, top-4 of 16, weights divided by their sum",
                     "databricks/dbrx, transformers, modeling_dbrx", {.normalise = true, .balance_loss = 0.05});
}

}  // namespace moesim
