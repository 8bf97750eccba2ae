#include <algorithm>
#include <optional>

#include "sim/placement/eplb.hpp"
#include "sim/placement/strategies.hpp"

namespace moesim {

namespace {

/// EPLB as vLLM applies it: within a rank, an expert that was there before keeps its slot, so that its weights need
/// not be copied; newcomers take what is left, in EPLB's order. Where nothing was before: the contiguous map. Loads do
/// not change by it.
class EplbInPlace final : public LayerwiseStrategy {
 private:
  static std::uint16_t expert_before(const PlacementProblem& problem, std::size_t layer, std::size_t rank,
                                     std::size_t slot) {
    if (problem.before != nullptr) {
      return problem.before->layers[layer].slots_of(RankId(rank))[slot];
    }
    return static_cast<std::uint16_t>((rank * problem.slots_per_rank() + slot) % problem.experts);
  }

 protected:
  [[nodiscard]] std::vector<std::uint16_t> place_layer(const PlacementProblem& problem,
                                                       std::size_t layer) const override {
    const auto fresh = eplb(problem.layer_loads(layer), {problem.slots(), 1, 1, problem.ranks}).phy2log;
    const std::size_t per_rank = problem.slots_per_rank();
    std::vector<std::uint16_t> slots(fresh.size());
    for (std::size_t rank = 0; rank < problem.ranks; ++rank) {
      const std::size_t first = rank * per_rank;
      std::vector<std::uint16_t> coming(fresh.begin() + static_cast<std::ptrdiff_t>(first),
                                        fresh.begin() + static_cast<std::ptrdiff_t>(first + per_rank));
      std::vector<std::optional<std::uint16_t>> kept(per_rank);
      for (std::size_t s = 0; s < per_rank; ++s) {
        const std::uint16_t before = expert_before(problem, layer, rank, s);
        if (const auto found = std::find(coming.begin(), coming.end(), before); found != coming.end()) {
          kept[s] = before;
          coming.erase(found);
        }
      }
      auto next = coming.begin();
      for (std::size_t s = 0; s < per_rank; ++s) {
        slots[first + s] = kept[s] ? *kept[s] : *next++;
      }
    }
    return slots;
  }
};

}  // namespace

std::unique_ptr<PlacementStrategy> make_eplb_in_place() { return std::make_unique<EplbInPlace>(); }

}  // namespace moesim
