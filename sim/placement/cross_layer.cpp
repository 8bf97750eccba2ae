#include <algorithm>
#include <numeric>

#include "sim/placement/eplb.hpp"
#include "sim/placement/packing.hpp"
#include "sim/placement/strategies.hpp"

namespace moesim {

namespace {

/// ExFlow (Yao et al., IPDPS 2024): an expert goes to the node where most of its tokens were in the layer before, so
/// that tokens that stay with their experts (context coherence) seldom change nodes; equally many copies on each node,
/// and within a node by load. Its integer program is replaced by a greedy assignment, mended by swaps. The simulated
/// protocols send results home after each layer, so that here it gains what co-activation brings, and no more.
class CrossLayer final : public PlacementStrategy {
 public:
  [[nodiscard]] Placement place(const PlacementProblem& problem) const override {
    const std::size_t nodes =
        problem.ranks % problem.nodes() == 0 && problem.slots() % problem.nodes() == 0 ? problem.nodes() : 1;
    std::vector<double> share;  // [experts · nodes] of the layer before: part of an expert's copies on a node
    Placement placement;
    for (std::size_t layer = 0; layer < problem.layers; ++layer) {
      const std::vector<double> loads = problem.layer_loads(layer);
      const auto count = copies_by_load(loads, problem.slots());
      const std::vector<WeightedCopy> copies = even_copies(loads, count);
      std::vector<std::size_t> node(copies.size());
      if (share.empty() || problem.tokens == nullptr) {
        for (std::size_t i = 0; i < copies.size(); ++i) {
          node[i] = i * nodes / copies.size();
        }
      } else {
        node = assign(copies, came_from(problem, layer, share, nodes), nodes);
      }
      share.assign(problem.experts * nodes, 0.0);
      std::vector<std::uint16_t> slots;
      for (std::size_t n = 0; n < nodes; ++n) {
        std::vector<WeightedCopy> members;
        for (std::size_t i = 0; i < copies.size(); ++i) {
          if (node[i] == n) {
            members.push_back(copies[i]);
            share[copies[i].expert * nodes + n] += 1.0 / count[copies[i].expert];
          }
        }
        const auto packed = pack_heaviest_first(std::move(members), problem.ranks / nodes, SameRank::kAvoided);
        slots.insert(slots.end(), packed.begin(), packed.end());
      }
      placement.layers.push_back(layer_of_slots(problem.experts, problem.ranks, slots));
    }
    return placement;
  }

 private:
  /// [experts · nodes]: visits of tokens that choose an expert now and were on a node in the layer before.
  static std::vector<double> came_from(const PlacementProblem& problem, std::size_t layer,
                                       const std::vector<double>& share, std::size_t nodes) {
    std::vector<double> visits(problem.experts * nodes, 0.0);
    std::vector<double> at(nodes);
    for (std::size_t token = 0; token < problem.tokens->shape.tokens; ++token) {
      std::fill(at.begin(), at.end(), 0.0);
      for (const ExpertIndex expert : problem.tokens->token(layer - 1, token)) {
        for (std::size_t n = 0; n < nodes && expert != kNoExpert; ++n) {
          at[n] += share[expert * nodes + n];
        }
      }
      for (const ExpertIndex expert : problem.tokens->token(layer, token)) {
        for (std::size_t n = 0; n < nodes && expert != kNoExpert; ++n) {
          visits[expert * nodes + n] += at[n];
        }
      }
    }
    return visits;
  }

  /// Copies with most to gain over their second-best node first; then swaps of two copies while any gains.
  static std::vector<std::size_t> assign(const std::vector<WeightedCopy>& copies, const std::vector<double>& visits,
                                         std::size_t nodes) {
    const auto gain = [&](std::size_t copy, std::size_t n) { return visits[copies[copy].expert * nodes + n]; };
    std::vector<double> regret(copies.size(), 0.0);
    for (std::size_t i = 0; i < copies.size(); ++i) {
      std::vector<double> row(nodes);
      for (std::size_t n = 0; n < nodes; ++n) {
        row[n] = gain(i, n);
      }
      std::sort(row.rbegin(), row.rend());
      regret[i] = nodes > 1 ? row[0] - row[1] : 0.0;
    }
    std::vector<std::size_t> order(copies.size());
    std::iota(order.begin(), order.end(), std::size_t{0});
    std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) { return regret[a] > regret[b]; });
    std::vector<std::size_t> room(nodes, copies.size() / nodes);
    std::vector<std::size_t> node(copies.size(), 0);
    for (const std::size_t i : order) {
      std::size_t best = nodes;
      for (std::size_t n = 0; n < nodes; ++n) {
        if (room[n] > 0 && (best == nodes || gain(i, n) > gain(i, best))) {
          best = n;
        }
      }
      node[i] = best;
      --room[best];
    }
    constexpr std::size_t kSweeps = 4;  // each swap gains; few are left after the first sweep
    for (std::size_t sweep = 0; sweep < kSweeps; ++sweep) {
      for (std::size_t a = 0; a < copies.size(); ++a) {
        for (std::size_t b = a + 1; b < copies.size(); ++b) {
          if (gain(a, node[b]) + gain(b, node[a]) > gain(a, node[a]) + gain(b, node[b])) {
            std::swap(node[a], node[b]);
          }
        }
      }
    }
    return node;
  }
};

}  // namespace

std::unique_ptr<PlacementStrategy> make_cross_layer() { return std::make_unique<CrossLayer>(); }

}  // namespace moesim
