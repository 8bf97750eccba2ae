#include "workloads/routing/routers/catalogue.hpp"
#include "workloads/routing/routers/gshard.hpp"

namespace moesim {

// Capacity 2·S/E: fairseq, modules/moe/top2gate.py.
RouterEntry nllb_router() {
  return gshard_entry(
      "nllb", "", "top-2, both always; a fifth of the outputs masked in training",
      "NLLB-200, arXiv 2207.04672; fairseq, modules/moe",
      {.training_capacity_factor = 2.0, .second = SecondExpert::kAll, .expert_dropout = 0.2, .balance_loss = 0.01});
}

}  // namespace moesim
