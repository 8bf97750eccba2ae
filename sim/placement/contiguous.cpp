#include "sim/placement/strategies.hpp"

namespace moesim {

namespace {

class Contiguous final : public PlacementStrategy {
 public:
  [[nodiscard]] Placement place(const PlacementProblem& problem) const override {
    const std::size_t per_rank = problem.experts / problem.ranks;
    std::vector<std::vector<std::uint16_t>> slots(problem.ranks);
    for (std::size_t e = 0; e < problem.experts; ++e) {
      slots[e / per_rank].push_back(static_cast<std::uint16_t>(e));
    }
    return {std::vector(problem.layers, LayerPlacement(problem.experts, slots))};
  }
};

}  // namespace

std::unique_ptr<PlacementStrategy> make_contiguous() { return std::make_unique<Contiguous>(); }

}  // namespace moesim
