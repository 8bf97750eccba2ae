#include "workloads/routing/routers/catalogue.hpp"
#include "workloads/routing/routers/top_k.hpp"

namespace moesim {

// The bias of its linear layer is part of the logits.
RouterEntry gpt_oss_router() {
  return top_k_entry("gpt-oss", "linear with bias, top-4, softmax over the chosen",
                     "openai/gpt-oss, gpt_oss/torch/model.py; model card, arXiv 2508.10925",
                     {.gate = GateFunction::kSoftmaxOfChosen});
}

}  // namespace moesim
