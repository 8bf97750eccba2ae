#include "sim/core/random.hpp"

#include <algorithm>
#include <span>

#include "sim/placement/strategies.hpp"

namespace moesim {

namespace {

class Random final : public LayerwiseStrategy {
 protected:
  [[nodiscard]] std::vector<std::uint16_t> place_layer(const PlacementProblem& problem,
                                                       std::size_t layer) const override {
    std::vector<std::uint16_t> slots(problem.slots());
    for (std::size_t i = 0; i < slots.size(); ++i) {
      slots[i] = static_cast<std::uint16_t>(i % problem.experts);
    }
    RandomStream stream(problem.seed, "placement", layer);
    stream.shuffle(std::span(slots));
    const auto per_rank = static_cast<std::ptrdiff_t>(problem.slots_per_rank());
    for (auto rank = slots.begin(); rank != slots.end(); rank += per_rank) {
      std::sort(rank, rank + per_rank);
    }
    return slots;
  }
};

}  // namespace

std::unique_ptr<PlacementStrategy> make_random() { return std::make_unique<Random>(); }

}  // namespace moesim
