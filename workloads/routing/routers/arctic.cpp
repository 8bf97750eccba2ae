#include "workloads/routing/routers/catalogue.hpp"
#include "workloads/routing/routers/gshard.hpp"

namespace moesim {

RouterEntry arctic_router() {
  return gshard_entry("arctic", "", "top-2, capacity factor 1 with dropping; a dense residual beside it",
                      "Snowflake Arctic; DeepSpeed, moe/sharded_moe.py",
                      {.training_capacity_factor = 1.0,
                       .rule = CapacityRule::kDeepSpeed,
                       .second = SecondExpert::kAll,
                       .balance_loss = 0.01});
}

}  // namespace moesim
