#include "workloads/routing/routers/drawn.hpp"

#include <algorithm>

namespace moesim {

void DrawnRouter::route(const RouterInput& input, RandomStream& random, RoutedTokens& out) const {
  out.reset(input, k_);
  out.choices = out.experts.size();
  const ExpertSampler& sampler = samplers_.size() == 1 ? samplers_.front() : samplers_.at(input.layer);
  HalfWords words(random);
  for (std::size_t t = 0; t < input.tokens; ++t) {
    sampler.draw(words, std::span(out.experts).subspan(t * k_, k_));
  }
  std::fill(out.weights.begin(), out.weights.end(), 1.0F / static_cast<float>(k_));
}

}  // namespace moesim
