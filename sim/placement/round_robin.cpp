#include "sim/placement/strategies.hpp"

namespace moesim {

namespace {

class RoundRobin final : public LayerwiseStrategy {
 protected:
  [[nodiscard]] std::vector<std::uint16_t> place_layer(const PlacementProblem& problem, std::size_t) const override {
    std::vector<std::uint16_t> slots(problem.slots());
    for (std::size_t i = 0; i < slots.size(); ++i) {
      slots[i % problem.ranks * problem.slots_per_rank() + i / problem.ranks] =
          static_cast<std::uint16_t>(i % problem.experts);
    }
    return slots;
  }
};

}  // namespace

std::unique_ptr<PlacementStrategy> make_round_robin() { return std::make_unique<RoundRobin>(); }

}  // namespace moesim
