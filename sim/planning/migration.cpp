#include "sim/planning/migration.hpp"

#include <algorithm>
#include <span>
#include <utility>
#include <vector>

#include "models/memory/memory.hpp"
#include "sim/core/error.hpp"
#include "sim/execute/all_to_all.hpp"

namespace moesim {

namespace {

/// Which ranks get which expert anew, and from where.
class Moves {
 public:
  Moves(std::size_t ranks, std::size_t ranks_per_node)
      : ranks_(ranks),
        ranks_per_node_(std::max<std::size_t>(ranks_per_node, 1)),
        counts_(ranks * ranks),
        sent_(ranks) {}

  void add_layer(const LayerPlacement& before, const LayerPlacement& after) {
    ensure(before.ranks() == ranks_ && after.ranks() == ranks_ && before.experts() == after.experts(),
           "placements are of one model on the same ranks");
    for (std::size_t expert = 0; expert < after.experts(); ++expert) {
      const auto holders = before.replicas_of(expert);
      std::size_t last = ranks_;
      for (const LayerPlacement::Replica& copy : after.replicas_of(expert)) {
        const std::size_t to = copy.rank.index();
        const bool there = to == last || std::any_of(holders.begin(), holders.end(),
                                                     [&](const auto& holder) { return holder.rank == copy.rank; });
        last = to;
        if (!there) {
          const std::size_t from = sender(holders, to);
          ++counts_[from * ranks_ + to];
          ++sent_[from];
          ++copies_;
        }
      }
    }
  }

  [[nodiscard]] std::size_t copies() const { return copies_; }
  [[nodiscard]] std::size_t copies(std::size_t from, std::size_t to) const { return counts_[from * ranks_ + to]; }

 private:
  [[nodiscard]] std::size_t sender(std::span<const LayerPlacement::Replica> holders, std::size_t to) const {
    const auto far = [&](std::size_t rank) { return rank / ranks_per_node_ != to / ranks_per_node_; };
    std::size_t best = holders.front().rank.index();
    for (const LayerPlacement::Replica& holder : holders.subspan(1)) {
      const std::size_t rank = holder.rank.index();
      if (far(rank) != far(best) ? far(best) : sent_[rank] < sent_[best]) {
        best = rank;
      }
    }
    return best;
  }

  std::size_t ranks_;
  std::size_t ranks_per_node_;
  std::vector<std::size_t> counts_;  // [from, to]
  std::vector<std::size_t> sent_;    // [ranks]
  std::size_t copies_ = 0;
};

}  // namespace

ExpertWeights expert_weights(const PreparedStep& step) {
  const auto requests = step.memory_requests();
  const auto split = static_cast<std::size_t>(step.scenario.parallelism.expert_tensor_parallel);
  const PlacementProblem problem = placement_problem(step);
  std::size_t slots = 0;  // of the first rank, in all layers
  for (const LayerPlacement& layer : step.placement.layers) {
    slots += layer.slots_of(RankId(0)).size();
  }
  const Bytes part = footprint(requests.front()).expert_weights / static_cast<double>(slots);
  return {part * static_cast<double>(split), split, problem.ranks_per_node};
}

MigrationTraffic migration_traffic(const Placement& before, const Placement& after, const ExpertWeights& weights) {
  ensure(before.layers.size() == after.layers.size() && !after.layers.empty(), "placements are of the same layers");
  const std::size_t ranks = after.layers.front().ranks();
  Moves moves(ranks, weights.ranks_per_node);
  for (std::size_t layer = 0; layer < after.layers.size(); ++layer) {
    moves.add_layer(before.layers[layer], after.layers[layer]);
  }
  std::vector<PairBytes> pairs;
  const double part = weights.expert.base() / static_cast<double>(weights.split);
  for (std::size_t from = 0; from < ranks; ++from) {
    for (std::size_t way = 0; way < weights.split; ++way) {
      for (std::size_t to = 0; to < ranks; ++to) {
        if (const std::size_t copies = moves.copies(from, to); copies > 0) {
          pairs.push_back({RankId(from * weights.split + way), RankId(to * weights.split + way),
                           part * static_cast<double>(copies)});
        }
      }
    }
  }
  return {moves.copies(), TrafficMatrix(ranks * weights.split, std::move(pairs))};
}

Migration migrate(const Placement& before, const Placement& after, const ExpertWeights& weights,
                  const Cluster& cluster) {
  const MigrationTraffic traffic = migration_traffic(before, after, weights);
  Migration result{traffic.copies, static_cast<double>(traffic.copies) * weights.expert.base(), {}};
  if (traffic.copies > 0) {
    result.time = all_to_all(cluster, traffic.bytes, {}).completion.duration();
  }
  return result;
}

}  // namespace moesim
