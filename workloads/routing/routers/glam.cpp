#include "workloads/routing/routers/catalogue.hpp"
#include "workloads/routing/routers/gshard.hpp"

namespace moesim {

// 64 experts in every other layer are the model's affair; the gating is GShard's.
RouterEntry glam_router() {
  return gshard_entry("glam", "", "GShard's top-2 with 64 experts", "GLaM, arXiv 2112.06905", {.balance_loss = 0.01});
}

}  // namespace moesim
