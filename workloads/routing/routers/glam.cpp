#include "workloads/routing/routers/catalogue.hpp"
#include "workloads/routing/routers/gshard.hpp"

namespace moesim {

// 64 experts in every other layer are the model's affair. The paper has no capacity; its authors' library sends both
// experts of all tokens, at capacity 2·S/E in whole fours.
RouterEntry glam_router() {
  return gshard_entry(
      "glam", "", "top-2, both always, capacity 2",
      "GLaM, arXiv 2112.06905; google/praxis, layers/glam.py and the defaults of transformers.py",
      {.training_capacity_factor = 2.0, .rows_multiple = 4, .second = SecondExpert::kAll, .balance_loss = 0.01});
}

}  // namespace moesim
