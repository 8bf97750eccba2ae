#include "sim/placement/strategies.hpp"

namespace moesim {

namespace {

class RoundRobin final : public PlacementStrategy {
 public:
  [[nodiscard]] Placement place(const PlacementProblem& problem) const override {
    std::vector<std::vector<std::uint16_t>> slots(problem.ranks);
    for (std::size_t e = 0; e < problem.experts; ++e) {
      slots[e % problem.ranks].push_back(static_cast<std::uint16_t>(e));
    }
    return {std::vector(problem.layers, LayerPlacement(problem.experts, slots))};
  }
};

}  // namespace

std::unique_ptr<PlacementStrategy> make_round_robin() { return std::make_unique<RoundRobin>(); }

}  // namespace moesim
