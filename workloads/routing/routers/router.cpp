#include "workloads/routing/routers/router.hpp"

namespace moesim {

void RoutedTokens::reset(const RouterInput& input, std::size_t slots_per_token) {
  slots = slots_per_token;
  experts.assign(input.tokens * slots, kNoExpert);
  weights.assign(input.weights == GateWeights::kWanted ? input.tokens * slots : 0, 0.0F);
  wished.clear();
  noise.clear();
  choices = 0;
  dropped = 0;
}

}  // namespace moesim
