#include "sim/placement/strategies.hpp"

namespace moesim {

namespace {

/// Slot i holds expert i mod E: with redundant slots, SGLang's initial map.
class Contiguous final : public LayerwiseStrategy {
 protected:
  [[nodiscard]] std::vector<std::uint16_t> place_layer(const PlacementProblem& problem, std::size_t) const override {
    std::vector<std::uint16_t> slots(problem.slots());
    for (std::size_t i = 0; i < slots.size(); ++i) {
      slots[i] = static_cast<std::uint16_t>(i % problem.experts);
    }
    return slots;
  }
};

}  // namespace

std::unique_ptr<PlacementStrategy> make_contiguous() { return std::make_unique<Contiguous>(); }

}  // namespace moesim
