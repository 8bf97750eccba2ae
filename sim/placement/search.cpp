#include <algorithm>
#include <array>
#include <limits>
#include <span>

#include "sim/core/error.hpp"
#include "sim/placement/bound.hpp"
#include "sim/placement/eplb.hpp"
#include "sim/placement/local_search.hpp"
#include "sim/placement/relabel.hpp"
#include "sim/placement/strategies.hpp"

namespace moesim {

namespace {

/// Descents after random swaps, per start and layer: 40 at 288 slots on 32 ranks, fewer where each takes longer.
constexpr std::size_t kWork = std::size_t{40} * 288 * 32;
constexpr std::size_t kFewestRounds = 4;
/// A greatest load so close to its bound is as good as the bound.
constexpr double kCloseEnough = 1e-3;
/// Where experts lie already, a layer may take that much longer than the fastest if fewer of them move.
constexpr double kWorthMoving = 5e-3;
/// Greatest loads above the bound at which a descent from where experts lie stops: each moves fewer than the next.
constexpr std::array kStops = {0.1, 0.05, 0.02, 0.0};

std::vector<std::uint16_t> slots_of(const LayerPlacement& layer) {
  std::vector<std::uint16_t> slots;
  for (std::size_t rank = 0; rank < layer.ranks(); ++rank) {
    const auto row = layer.slots_of(RankId(rank));
    slots.insert(slots.end(), row.begin(), row.end());
  }
  return slots;
}

/// Lightens the busiest rank, and with it the busiest link of a protocol that sends every copy, from several starts;
/// then takes what the clock says is fastest, the other strategies' placements included. So no layer is slower than
/// any of theirs, by that clock. Where experts lie already, it also looks near by, and of what is within kWorthMoving
/// of the fastest takes what moves least. The number of steps is fixed, not the time: the same seed gives the same
/// placement.
class Search final : public LayerwiseStrategy {
 protected:
  [[nodiscard]] std::vector<std::uint16_t> place_layer(const PlacementProblem& problem,
                                                       std::size_t layer) const override {
    const std::vector<double> loads = problem.layer_loads(layer);
    const double goal = max_load_bound(loads, problem.slots(), problem.ranks) * (1.0 + kCloseEnough);
    const auto starts = start_points(problem, layer, loads);
    std::vector<std::vector<std::uint16_t>> found;
    for (std::size_t i = 0; i < starts.size(); ++i) {
      LocalSearch search(loads, problem.ranks, starts[i]);
      RandomStream random(problem.seed, "placement.search", layer * starts.size() + i);
      search.improve(std::max(kFewestRounds, kWork / (problem.slots() * problem.ranks)), goal, random);
      add(found, search.slots());
    }
    if (problem.before != nullptr && fits(problem, problem.before->layers[layer])) {
      add_near(found, slots_of(problem.before->layers[layer]), problem, loads, goal);
    }
    return problem.clock != nullptr ? fastest(problem, layer, std::move(found)) : lightest(problem, loads, found);
  }

 private:
  using Slots = std::vector<std::uint16_t>;

  static void add(std::vector<Slots>& found, Slots slots) {
    if (std::find(found.begin(), found.end(), slots) == found.end()) {
      found.push_back(std::move(slots));
    }
  }

  /// Adds what was found under names of ranks that move few copies from `now`, and what few moves make of `now`.
  static void add_near(std::vector<Slots>& found, const Slots& now, const PlacementProblem& problem,
                       std::span<const double> loads, double goal) {
    const std::vector<Slots> as_found = found;
    for (const Slots& slots : as_found) {
      add(found, relabelled(slots, now, problem.ranks, problem.ranks_per_node));
    }
    add(found, now);
    LocalSearch search(loads, problem.ranks, now);
    for (const double stop : kStops) {
      search.descend(goal * (1.0 + stop));
      add(found, search.slots());
    }
  }

  /// Of equally many slots on every rank, as the search keeps them.
  static bool fits(const PlacementProblem& problem, const LayerPlacement& layer) {
    for (std::size_t rank = 0; rank < problem.ranks; ++rank) {
      if (layer.slots_of(RankId(rank)).size() != problem.slots_per_rank()) {
        return false;
      }
    }
    return true;
  }

  static std::vector<std::vector<std::uint16_t>> start_points(const PlacementProblem& problem, std::size_t layer,
                                                              std::span<const double> loads) {
    std::vector<std::vector<std::uint16_t>> starts;
    const TimedPlacement* quickest = nullptr;
    const TimedPlacement* lightest = nullptr;
    double least = std::numeric_limits<double>::infinity();
    for (const TimedPlacement& known : problem.known) {
      if (!fits(problem, known.placement.layers[layer])) {
        continue;
      }
      if (quickest == nullptr || known.layer_time[layer] < quickest->layer_time[layer]) {
        quickest = &known;
      }
      const auto ranks = rank_loads(known.placement.layers[layer], loads);
      const double load = *std::max_element(ranks.begin(), ranks.end());
      if (load < least) {
        least = load;
        lightest = &known;
      }
    }
    if (quickest == nullptr) {
      starts.push_back(eplb(loads, {problem.slots(), 1, 1, problem.ranks}).phy2log);
      return starts;
    }
    starts.push_back(slots_of(quickest->placement.layers[layer]));
    if (lightest != quickest) {
      starts.push_back(slots_of(lightest->placement.layers[layer]));
    }
    return starts;
  }

  static Slots lightest(const PlacementProblem& problem, std::span<const double> loads,
                        const std::vector<Slots>& found) {
    const auto load = [&](const Slots& slots) { return LocalSearch(loads, problem.ranks, slots).busiest_load(); };
    return *std::min_element(found.begin(), found.end(),
                             [&](const Slots& a, const Slots& b) { return load(a) < load(b); });
  }

  static Slots fastest(const PlacementProblem& problem, std::size_t layer, std::vector<Slots> found) {
    std::vector<double> times;
    for (const Slots& slots : found) {
      times.push_back(problem.clock->time(layer, layer_of_slots(problem.experts, problem.ranks, slots)));
    }
    for (const TimedPlacement& known : problem.known) {
      if (fits(problem, known.placement.layers[layer])) {
        found.push_back(slots_of(known.placement.layers[layer]));
        times.push_back(known.layer_time[layer]);
      }
    }
    const auto least = std::min_element(times.begin(), times.end());
    if (problem.before == nullptr || !fits(problem, problem.before->layers[layer])) {
      return found[static_cast<std::size_t>(least - times.begin())];
    }
    const Slots now = slots_of(problem.before->layers[layer]);
    const Slots* best = nullptr;
    std::size_t fewest = 0;
    for (std::size_t i = 0; i < found.size(); ++i) {
      const std::size_t moved = moved_copies(found[i], now, problem.ranks);
      if (times[i] <= *least * (1.0 + kWorthMoving) && (best == nullptr || moved < fewest)) {
        best = &found[i];
        fewest = moved;
      }
    }
    return *best;
  }
};

}  // namespace

std::unique_ptr<PlacementStrategy> make_search() { return std::make_unique<Search>(); }

}  // namespace moesim
