#include "sim/execute/bound_network.hpp"

#include <algorithm>

namespace moesim {

void BoundNetwork::start(SimTime now, std::span<const Use> uses, double bytes) {
  const double begin = now.duration().base();
  for (const Use& use : uses) {
    const std::size_t resource = use.resource.index();
    busy_until_[resource] = std::max(busy_until_[resource], begin) + use.weight * bytes / capacities_[resource];
  }
  uses_.insert(uses_.end(), uses.begin(), uses.end());
  ends_.push_back(uses_.size());
}

std::span<const SimTime> BoundNetwork::launch(SimTime now) {
  through_.clear();
  std::size_t use = 0;
  for (const std::size_t end : ends_) {
    double last = 0.0;
    for (; use < end; ++use) {
      last = std::max(last, busy_until_[uses_[use].resource.index()]);
    }
    through_.push_back(std::max(now, round_to_ticks(seconds(last))));
  }
  uses_.clear();
  ends_.clear();
  return through_;
}

}  // namespace moesim
