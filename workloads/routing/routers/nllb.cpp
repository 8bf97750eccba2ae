#include "workloads/routing/routers/catalogue.hpp"
#include "workloads/routing/routers/gshard.hpp"

namespace moesim {

// Training: fairseq's top2gate.py, capacity 2·⌈S/E⌉. Inference: transformers' moe_eval_capacity_token_fraction of 1, so
// that nothing is dropped.
RouterEntry nllb_router() {
  return gshard_entry("nllb", "",
                      "top-2, both always; a fifth of the outputs masked in training, no drops at inference",
                      "NLLB-200, arXiv 2207.04672; fairseq, modules/moe; transformers, configuration_nllb_moe",
                      {.training_capacity_factor = 2.0,
                       .rule = CapacityRule::kFairseq,
                       .inference_share = 1.0,
                       .least_rows = 1,
                       .second = SecondExpert::kAll,
                       .expert_dropout = 0.2,
                       .balance_loss = 0.01});
}

}  // namespace moesim
