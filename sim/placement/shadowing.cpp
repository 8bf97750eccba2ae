#include <algorithm>
#include <numeric>
#include <span>

#include "sim/placement/eplb.hpp"
#include "sim/placement/packing.hpp"
#include "sim/placement/strategies.hpp"

namespace moesim {

namespace {

/// FasterMoE's shadows (He et al., PPoPP 2022): experts stay where they are by default, and the hottest are copied to
/// every rank, hottest first, for as long as that lightens the busiest rank. It broadcasts them anew in each step; here
/// the copies stay in the redundant slots. What is left of these goes to the heaviest experts per copy, on the
/// lightest ranks.
class Shadowing final : public LayerwiseStrategy {
 protected:
  [[nodiscard]] std::vector<std::uint16_t> place_layer(const PlacementProblem& problem,
                                                       std::size_t layer) const override {
    const std::vector<double> loads = problem.layer_loads(layer);
    if (problem.experts % problem.ranks != 0) {
      return pack_heaviest_first(even_copies(loads, copies_by_load(loads, problem.slots())), problem.ranks,
                                 SameRank::kAvoided);
    }
    const std::size_t own = problem.experts / problem.ranks;
    std::vector<std::vector<std::uint16_t>> rows(problem.ranks);
    for (std::size_t e = 0; e < problem.experts; ++e) {
      rows[e / own].push_back(static_cast<std::uint16_t>(e));
    }
    std::vector<std::size_t> order(problem.experts);
    std::iota(order.begin(), order.end(), std::size_t{0});
    std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) { return loads[a] > loads[b]; });
    double best = busiest(problem, loads, rows);
    for (const std::size_t expert : order) {
      auto shadowed = rows;
      bool room = true;
      for (std::size_t rank = 0; rank < problem.ranks; ++rank) {
        if (rank != expert / own) {
          shadowed[rank].push_back(static_cast<std::uint16_t>(expert));
        }
        room = room && shadowed[rank].size() <= problem.slots_per_rank();
      }
      const double after = room ? busiest(problem, loads, shadowed) : best;
      if (!(after < best)) {
        break;
      }
      best = after;
      rows = std::move(shadowed);
    }
    fill(problem, loads, rows);
    std::vector<std::uint16_t> slots;
    for (const auto& row : rows) {
      slots.insert(slots.end(), row.begin(), row.end());
    }
    return slots;
  }

 private:
  using Rows = std::vector<std::vector<std::uint16_t>>;

  static double busiest(const PlacementProblem& problem, std::span<const double> loads, const Rows& rows) {
    const auto ranks = rank_loads(LayerPlacement(problem.experts, rows), loads);
    return *std::max_element(ranks.begin(), ranks.end());
  }

  static void fill(const PlacementProblem& problem, std::span<const double> loads, Rows& rows) {
    std::vector<std::size_t> copies(problem.experts, 0);
    for (const auto& row : rows) {
      for (const std::uint16_t expert : row) {
        ++copies[expert];
      }
    }
    const auto missing = [&](std::size_t rank, std::size_t expert) {
      return std::find(rows[rank].begin(), rows[rank].end(), expert) == rows[rank].end();
    };
    while (true) {
      const auto ranks = rank_loads(LayerPlacement(problem.experts, rows), loads);
      std::size_t lightest = problem.ranks;
      for (std::size_t rank = 0; rank < problem.ranks; ++rank) {
        const bool room = rows[rank].size() < problem.slots_per_rank();
        if (room && (lightest == problem.ranks || ranks[rank] < ranks[lightest])) {
          lightest = rank;
        }
      }
      if (lightest == problem.ranks) {
        return;
      }
      std::size_t heaviest = problem.experts;
      for (std::size_t e = 0; e < problem.experts; ++e) {
        const auto per_copy = [&](std::size_t expert) { return loads[expert] / static_cast<double>(copies[expert]); };
        if (missing(lightest, e) && (heaviest == problem.experts || per_copy(e) > per_copy(heaviest))) {
          heaviest = e;
        }
      }
      heaviest = heaviest == problem.experts ? 0 : heaviest;  // every expert is there already
      rows[lightest].push_back(static_cast<std::uint16_t>(heaviest));
      ++copies[heaviest];
    }
  }
};

}  // namespace

std::unique_ptr<PlacementStrategy> make_shadowing() { return std::make_unique<Shadowing>(); }

}  // namespace moesim
