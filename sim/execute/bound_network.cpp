#include "sim/execute/bound_network.hpp"

#include <algorithm>

namespace moesim {

void BoundNetwork::start(SimTime now, std::span<const Use> uses, double bytes) {
  const double begin = now.duration().base();
  for (const Use& use : uses) {
    const std::size_t resource = use.resource.index();
    busy_until_[resource] = std::max(busy_until_[resource], begin) + use.weight * bytes / capacities_[resource];
  }
  uses_.push_back(uses);
}

std::span<const SimTime> BoundNetwork::launch(SimTime now) {
  through_.clear();
  for (const std::span<const Use> uses : uses_) {
    double last = 0.0;
    for (const Use& use : uses) {
      last = std::max(last, busy_until_[use.resource.index()]);
    }
    through_.push_back(std::max(now, round_to_ticks(seconds(last))));
  }
  uses_.clear();
  return through_;
}

}  // namespace moesim
