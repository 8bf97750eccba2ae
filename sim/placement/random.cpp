#include "sim/core/random.hpp"

#include <algorithm>
#include <numeric>

#include "sim/placement/strategies.hpp"

namespace moesim {

namespace {

class Random final : public PlacementStrategy {
 public:
  [[nodiscard]] Placement place(const PlacementProblem& problem) const override {
    const std::size_t per_rank = problem.experts / problem.ranks;
    Placement placement;
    for (std::size_t layer = 0; layer < problem.layers; ++layer) {
      std::vector<std::uint16_t> order(problem.experts);
      std::iota(order.begin(), order.end(), std::uint16_t{0});
      RandomStream stream(problem.seed, "placement", layer);
      stream.shuffle(std::span(order));
      std::vector<std::vector<std::uint16_t>> slots(problem.ranks);
      for (std::size_t i = 0; i < order.size(); ++i) {
        slots[i / per_rank].push_back(order[i]);
      }
      for (auto& rank_slots : slots) {
        std::sort(rank_slots.begin(), rank_slots.end());
      }
      placement.layers.emplace_back(problem.experts, slots);
    }
    return placement;
  }
};

}  // namespace

std::unique_ptr<PlacementStrategy> make_random() { return std::make_unique<Random>(); }

}  // namespace moesim
