#include <algorithm>
#include <cmath>
#include <queue>
#include <span>

#include "sim/placement/eplb.hpp"
#include "sim/placement/packing.hpp"
#include "sim/placement/strategies.hpp"

namespace moesim {

std::vector<WeightedCopy> even_copies(std::span<const double> loads, std::span<const std::uint32_t> count) {
  std::vector<WeightedCopy> copies;
  for (std::size_t e = 0; e < loads.size(); ++e) {
    copies.insert(copies.end(), count[e], {static_cast<std::uint16_t>(e), loads[e] / count[e]});
  }
  return copies;
}

std::vector<std::uint16_t> pack_heaviest_first(std::vector<WeightedCopy> copies, std::size_t ranks,
                                               SameRank same_rank) {
  const std::size_t room = copies.size() / ranks;
  std::stable_sort(copies.begin(), copies.end(),
                   [](const WeightedCopy& a, const WeightedCopy& b) { return a.weight > b.weight; });
  struct Rank {
    double load;
    std::size_t index;
    bool operator<(const Rank& other) const { return load != other.load ? load > other.load : index > other.index; }
  };
  std::priority_queue<Rank> heap;
  for (std::size_t r = 0; r < ranks; ++r) {
    heap.push({0.0, r});
  }
  std::vector<std::vector<std::uint16_t>> slots(ranks);
  std::vector<Rank> aside;
  for (const WeightedCopy& copy : copies) {
    aside.clear();
    const auto has_it = [&](const Rank& rank) {
      const auto& row = slots[rank.index];
      return same_rank == SameRank::kAvoided && std::find(row.begin(), row.end(), copy.expert) != row.end();
    };
    while (!heap.empty() && has_it(heap.top())) {
      aside.push_back(heap.top());
      heap.pop();
    }
    Rank rank = heap.empty() ? aside.front() : heap.top();
    if (heap.empty()) {
      aside.erase(aside.begin());
    } else {
      heap.pop();
    }
    for (const Rank& passed : aside) {
      heap.push(passed);
    }
    slots[rank.index].push_back(copy.expert);
    rank.load += copy.weight;
    if (slots[rank.index].size() < room) {
      heap.push(rank);
    }
  }
  std::vector<std::uint16_t> result;
  for (const auto& row : slots) {
    result.insert(result.end(), row.begin(), row.end());
  }
  return result;
}

namespace {

class Greedy final : public LayerwiseStrategy {
 protected:
  [[nodiscard]] std::vector<std::uint16_t> place_layer(const PlacementProblem& problem,
                                                       std::size_t layer) const override {
    const std::vector<double> loads = problem.layer_loads(layer);
    return pack_heaviest_first(even_copies(loads, copies_by_load(loads, problem.slots())), problem.ranks,
                               SameRank::kAvoided);
  }
};

/// TensorRT-LLM, moeLoadBalancer doReplication and doPlacement: a max-heap of load per copy, then copies in descending
/// load to the top of a min-heap of (load, rank). Ties go as in EPLB; a rank may get two copies of one expert.
class TensorRtLlm final : public LayerwiseStrategy {
 protected:
  [[nodiscard]] std::vector<std::uint16_t> place_layer(const PlacementProblem& problem,
                                                       std::size_t layer) const override {
    const std::vector<double> loads = problem.layer_loads(layer);
    return pack_heaviest_first(even_copies(loads, copies_by_load(loads, problem.slots())), problem.ranks,
                               SameRank::kAllowed);
  }
};

/// In decode an expert's weights are read if one token of the step chose it. With T tokens that choose expert e with
/// probability p_e each, a copy that takes 1/c of them is awake with probability 1 − (1 − p_e)^(T/c). Ranks are
/// balanced by the sum of these; a hundredth of the share of the load breaks ties.
class ActiveExperts final : public LayerwiseStrategy {
 protected:
  [[nodiscard]] std::vector<std::uint16_t> place_layer(const PlacementProblem& problem,
                                                       std::size_t layer) const override {
    const std::vector<double> loads = problem.layer_loads(layer);
    const auto count = copies_by_load(loads, problem.slots());
    double sum = 0.0;
    for (const double load : loads) {
      sum += load;
    }
    if (!(sum > 0.0)) {
      sum = 1.0;
    }
    // Choices in a step: as many as in the sample, or enough to wake most experts.
    const double choices = problem.tokens != nullptr
                               ? static_cast<double>(problem.tokens->shape.tokens * problem.tokens->shape.k)
                               : static_cast<double>(problem.experts);
    std::vector<WeightedCopy> copies = even_copies(loads, count);
    for (WeightedCopy& copy : copies) {
      const double share = copy.weight / sum;
      copy.weight = 1.0 - std::exp(-share * choices) + 0.01 * share * static_cast<double>(problem.slots());
    }
    return pack_heaviest_first(std::move(copies), problem.ranks, SameRank::kAvoided);
  }
};

}  // namespace

std::unique_ptr<PlacementStrategy> make_greedy() { return std::make_unique<Greedy>(); }
std::unique_ptr<PlacementStrategy> make_tensorrt_llm() { return std::make_unique<TensorRtLlm>(); }
std::unique_ptr<PlacementStrategy> make_active_experts() { return std::make_unique<ActiveExperts>(); }

}  // namespace moesim
