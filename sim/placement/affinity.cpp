#include <algorithm>
#include <numeric>
#include <span>

#include "sim/placement/coactivation.hpp"
#include "sim/placement/eplb.hpp"
#include "sim/placement/packing.hpp"
#include "sim/placement/strategies.hpp"

namespace moesim {

namespace {

/// Nodes that ranks and slots divide into, else one.
std::size_t whole_nodes(const PlacementProblem& problem) {
  const std::size_t nodes = problem.nodes();
  return problem.ranks % nodes == 0 && problem.slots() % nodes == 0 ? nodes : 1;
}

/// Within each group, heaviest first onto the group's ranks.
std::vector<std::uint16_t> pack_groups(const std::vector<WeightedCopy>& copies, const std::vector<std::uint32_t>& group,
                                       std::size_t groups, std::size_t ranks) {
  std::vector<std::uint16_t> slots;
  for (std::size_t g = 0; g < groups; ++g) {
    std::vector<WeightedCopy> members;
    for (std::size_t i = 0; i < copies.size(); ++i) {
      if (group[i] == g) {
        members.push_back(copies[i]);
      }
    }
    const auto packed = pack_heaviest_first(std::move(members), ranks / groups, SameRank::kAvoided);
    slots.insert(slots.end(), packed.begin(), packed.end());
  }
  return slots;
}

GroupingProblem grouping(const std::vector<WeightedCopy>& copies, const CoActivation& together,
                         std::span<const std::uint32_t> count, std::size_t groups) {
  GroupingProblem problem;
  problem.groups = groups;
  problem.affinity.assign(copies.size() * copies.size(), 0.0);
  for (std::size_t a = 0; a < copies.size(); ++a) {
    problem.expert.push_back(copies[a].expert);
    problem.load.push_back(copies[a].weight);
    for (std::size_t b = 0; b < copies.size(); ++b) {  // a token that chose both meets each pair of copies so often
      problem.affinity[a * copies.size() + b] =
          together(copies[a].expert, copies[b].expert) /
          (static_cast<double>(count[copies[a].expert]) * count[copies[b].expert]);
    }
  }
  return problem;
}

/// Experts that tokens choose together go to one node (where there is one node only, to one rank), so that a token
/// crosses the network less often; within a node the load is balanced.
class Affinity final : public LayerwiseStrategy {
 protected:
  [[nodiscard]] std::vector<std::uint16_t> place_layer(const PlacementProblem& problem,
                                                       std::size_t layer) const override {
    const std::vector<double> loads = problem.layer_loads(layer);
    const auto count = copies_by_load(loads, problem.slots());
    const std::vector<WeightedCopy> copies = even_copies(loads, count);
    if (problem.tokens == nullptr) {
      return pack_heaviest_first(copies, problem.ranks, SameRank::kAvoided);
    }
    const std::size_t nodes = whole_nodes(problem);
    const std::size_t groups = nodes > 1 ? nodes : problem.ranks;
    const CoActivation together(*problem.tokens, layer);
    const auto group = group_by_affinity(grouping(copies, together, count, groups), problem.seed + layer);
    return pack_groups(copies, group, groups, problem.ranks);
  }
};

/// GRACE-MoE: experts are grouped without copies first; then the copies of the hottest experts go to other nodes than
/// their own, the lightest first, so that tokens find one near. Groups come from METIS instead of spectral clustering.
class Grace final : public LayerwiseStrategy {
 protected:
  [[nodiscard]] std::vector<std::uint16_t> place_layer(const PlacementProblem& problem,
                                                       std::size_t layer) const override {
    const std::vector<double> loads = problem.layer_loads(layer);
    const auto count = copies_by_load(loads, problem.slots());
    const std::size_t nodes = whole_nodes(problem);
    if (problem.tokens == nullptr || nodes == 1 || problem.experts % nodes != 0) {
      return pack_heaviest_first(even_copies(loads, count), problem.ranks, SameRank::kAvoided);
    }
    const std::vector<std::uint32_t> once(problem.experts, 1);
    const CoActivation together(*problem.tokens, layer);
    const auto home =
        group_by_affinity(grouping(even_copies(loads, once), together, once, nodes), problem.seed + layer);
    std::vector<WeightedCopy> copies;
    std::vector<std::uint32_t> group;
    std::vector<double> node_load(nodes, 0.0);
    std::vector<std::size_t> room(nodes, problem.slots() / nodes - problem.experts / nodes);
    const auto add = [&](std::size_t expert, std::size_t node) {
      const double share = loads[expert] / count[expert];
      copies.push_back({static_cast<std::uint16_t>(expert), share});
      group.push_back(static_cast<std::uint32_t>(node));
      node_load[node] += share;
    };
    for (std::size_t e = 0; e < problem.experts; ++e) {
      add(e, home[e]);
    }
    std::vector<std::size_t> order(problem.experts);
    std::iota(order.begin(), order.end(), std::size_t{0});
    std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) { return loads[a] > loads[b]; });
    for (const std::size_t e : order) {
      std::vector<std::size_t> has(nodes, 0);
      has[home[e]] = 1;
      for (std::uint32_t copy = 1; copy < count[e]; ++copy) {
        std::size_t best = nodes;
        for (std::size_t n = 0; n < nodes; ++n) {
          if (room[n] > 0 &&
              (best == nodes || std::pair(has[n], node_load[n]) < std::pair(has[best], node_load[best]))) {
            best = n;
          }
        }
        --room[best];
        ++has[best];
        add(e, best);
      }
    }
    return pack_groups(copies, group, nodes, problem.ranks);
  }
};

}  // namespace

std::unique_ptr<PlacementStrategy> make_affinity() { return std::make_unique<Affinity>(); }
std::unique_ptr<PlacementStrategy> make_grace() { return std::make_unique<Grace>(); }

}  // namespace moesim
