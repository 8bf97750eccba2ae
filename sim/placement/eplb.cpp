#include "sim/placement/eplb.hpp"

#include <algorithm>
#include <numeric>
#include <queue>

#include "sim/core/error.hpp"
#include "sim/placement/strategies.hpp"

namespace moesim {

namespace {

using Index = std::uint32_t;

struct Replication {
  std::vector<Index> phy2log;
  std::vector<Index> rank;
  std::vector<Index> count;
};

/// The first of the greatest wins, as torch.max has it on one row: a heap by (load per copy, lowest index).
Replication replicate(std::span<const float> weights, std::size_t replicas) {
  Replication result;
  result.phy2log.resize(weights.size());
  std::iota(result.phy2log.begin(), result.phy2log.end(), Index{0});
  result.rank.assign(weights.size(), 0);
  result.count.assign(weights.size(), 1);
  struct Entry {
    float per_copy;
    Index expert;
    bool operator<(const Entry& other) const {
      return per_copy != other.per_copy ? per_copy < other.per_copy : expert > other.expert;
    }
  };
  std::vector<Entry> entries;
  for (Index e = 0; e < weights.size(); ++e) {
    entries.push_back({weights[e], e});
  }
  std::priority_queue<Entry> heap(entries.begin(), entries.end());
  for (std::size_t i = weights.size(); i < replicas; ++i) {
    const Index expert = heap.top().expert;
    heap.pop();
    result.phy2log.push_back(expert);
    result.rank.push_back(result.count[expert]++);
    heap.push({weights[expert] / static_cast<float>(result.count[expert]), expert});
  }
  return result;
}

EplbLayer hierarchical(std::span<const float> weights, EplbShape shape) {
  const std::size_t experts = weights.size();
  const std::size_t group_size = experts / shape.groups;
  const std::size_t groups_per_node = shape.groups / shape.nodes;
  const std::size_t node_experts = experts / shape.nodes;
  const std::size_t node_slots = shape.replicas / shape.nodes;
  const std::size_t gpu_slots = shape.replicas / shape.gpus;

  std::vector<float> group_weight(shape.groups, 0.0F);
  for (std::size_t e = 0; e < experts; ++e) {
    group_weight[e / group_size] += weights[e];
  }
  const Packing groups = balanced_packing(group_weight, shape.nodes);
  std::vector<Index> middle_to_expert(experts);  // experts renumbered node by node
  for (std::size_t e = 0; e < experts; ++e) {
    const std::size_t group = e / group_size;
    const std::size_t place = groups.pack[group] * groups_per_node + groups.rank_in_pack[group];
    middle_to_expert[place * group_size + e % group_size] = static_cast<Index>(e);
  }

  EplbLayer result;
  result.phy2log.resize(shape.replicas);
  result.rank.resize(shape.replicas);
  result.logcnt.resize(experts);
  for (std::size_t node = 0; node < shape.nodes; ++node) {
    const auto names = std::span(middle_to_expert).subspan(node * node_experts, node_experts);
    std::vector<float> node_weights(node_experts);
    std::transform(names.begin(), names.end(), node_weights.begin(), [&](Index e) { return weights[e]; });
    const Replication copies = replicate(node_weights, node_slots);
    std::vector<float> copy_weights(node_slots);
    for (std::size_t i = 0; i < node_slots; ++i) {
      const Index e = copies.phy2log[i];
      copy_weights[i] = node_weights[e] / static_cast<float>(copies.count[e]);
    }
    const Packing gpus = balanced_packing(copy_weights, shape.gpus / shape.nodes);
    for (std::size_t i = 0; i < node_slots; ++i) {
      const std::size_t slot = node * node_slots + gpus.pack[i] * gpu_slots + gpus.rank_in_pack[i];
      result.phy2log[slot] = static_cast<std::uint16_t>(names[copies.phy2log[i]]);
      result.rank[slot] = copies.rank[i];
    }
    for (std::size_t e = 0; e < node_experts; ++e) {
      result.logcnt[names[e]] = copies.count[e];
    }
  }
  return result;
}

}  // namespace

Packing balanced_packing(std::span<const float> weights, std::size_t packs) {
  const std::size_t room = weights.size() / packs;
  Packing result{std::vector<Index>(weights.size()), std::vector<Index>(weights.size(), 0)};
  std::vector<Index> order(weights.size());
  std::iota(order.begin(), order.end(), Index{0});
  if (room == 1) {
    result.pack = std::move(order);
    return result;
  }
  std::stable_sort(order.begin(), order.end(), [&](Index a, Index b) { return weights[a] > weights[b]; });
  // Lightest pack with room, lowest index on ties: a heap, out of which full packs drop.
  struct Pack {
    float weight;
    Index index;
    Index items;
    bool operator<(const Pack& other) const {
      return weight != other.weight ? weight > other.weight : index > other.index;
    }
  };
  std::vector<Pack> empty;
  for (Index p = 0; p < packs; ++p) {
    empty.push_back({0.0F, p, 0});
  }
  std::priority_queue<Pack> heap(empty.begin(), empty.end());
  for (const Index item : order) {
    Pack pack = heap.top();
    heap.pop();
    result.pack[item] = pack.index;
    result.rank_in_pack[item] = pack.items;
    pack.weight += weights[item];
    if (++pack.items < room) {
      heap.push(pack);
    }
  }
  return result;
}

std::vector<std::uint32_t> copies_by_load(std::span<const double> loads, std::size_t slots) {
  return replicate(std::vector<float>(loads.begin(), loads.end()), slots).count;
}

EplbLayer eplb(std::span<const double> loads, EplbShape shape) {
  const std::vector<float> weights(loads.begin(), loads.end());
  ensure(shape.replicas >= weights.size() && shape.replicas % shape.gpus == 0, "EPLB: slots that the GPUs divide");
  if (shape.groups % shape.nodes == 0) {
    ensure(weights.size() % shape.groups == 0 && shape.gpus % shape.nodes == 0, "EPLB: whole groups and nodes");
    return hierarchical(weights, shape);
  }
  return hierarchical(weights, {shape.replicas, 1, 1, shape.gpus});
}

std::vector<std::vector<int>> EplbLayer::log2phy(std::size_t most_copies) const {
  std::vector<std::vector<int>> result(logcnt.size(), std::vector<int>(most_copies, -1));
  for (std::size_t slot = 0; slot < phy2log.size(); ++slot) {
    result[phy2log[slot]][rank[slot]] = static_cast<int>(slot);
  }
  return result;
}

namespace {

class EplbGlobal final : public LayerwiseStrategy {
 protected:
  [[nodiscard]] std::vector<std::uint16_t> place_layer(const PlacementProblem& problem,
                                                       std::size_t layer) const override {
    return eplb(problem.layer_loads(layer), {problem.slots(), 1, 1, problem.ranks}).phy2log;
  }
};

/// Groups and nodes as they are; where the nodes do not divide the groups, the ranks or the experts, the global policy.
class EplbHierarchical final : public LayerwiseStrategy {
 protected:
  [[nodiscard]] std::vector<std::uint16_t> place_layer(const PlacementProblem& problem,
                                                       std::size_t layer) const override {
    EplbShape shape{problem.slots(), problem.groups, problem.nodes(), problem.ranks};
    if (shape.gpus % shape.nodes != 0 || shape.replicas % shape.nodes != 0) {
      shape.nodes = 1;
    }
    return eplb(problem.layer_loads(layer), shape).phy2log;
  }
};

}  // namespace

std::unique_ptr<PlacementStrategy> make_eplb_global() { return std::make_unique<EplbGlobal>(); }
std::unique_ptr<PlacementStrategy> make_eplb_hierarchical() { return std::make_unique<EplbHierarchical>(); }

}  // namespace moesim
