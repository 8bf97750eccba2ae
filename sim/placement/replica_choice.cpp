#include "sim/placement/replica_choice.hpp"

#include <algorithm>
#include <limits>
#include <numeric>
#include <optional>

#include "sim/core/random.hpp"
#include "workloads/routing/types.hpp"

namespace moesim {

namespace {

/// Shifts rows from the busiest rank to lighter ones until nothing lighter can be reached.
class RowBalancer {
 public:
  RowBalancer(const LayerPlacement& placement, std::span<const std::int64_t> rows)
      : placement_(placement), load_(placement.ranks(), 0) {
    for (std::size_t e = 0; e < placement.experts(); ++e) {
      const auto replicas = placement.replicas_of(e);
      const auto copies = static_cast<std::int64_t>(replicas.size());
      auto& split = split_.emplace_back();
      for (std::int64_t c = 0; c < copies; ++c) {
        split.push_back(rows[e] / copies + (c < rows[e] % copies ? 1 : 0));
        load_[replicas[static_cast<std::size_t>(c)].rank.index()] += split.back();
      }
    }
  }

  std::vector<std::vector<std::int64_t>> run() {
    while (relieve(static_cast<std::size_t>(std::max_element(load_.begin(), load_.end()) - load_.begin()))) {
    }
    return std::move(split_);
  }

 private:
  /// How a rank was reached: rows of `expert` can move from copy `from` (on `before`) to copy `to` (on this rank).
  struct Step {
    std::size_t before;
    std::size_t expert;
    std::size_t from;
    std::size_t to;
  };

  /// One shift along a shortest path from `busy` to the lightest rank in reach; false where none is lighter by two.
  bool relieve(std::size_t busy) {
    std::vector<std::optional<Step>> reached(load_.size());
    std::vector<std::size_t> queue{busy};
    std::size_t lightest = busy;
    for (std::size_t next = 0; next < queue.size(); ++next) {
      const std::size_t rank = queue[next];
      lightest = load_[rank] < load_[lightest] ? rank : lightest;
      for (const std::uint16_t expert : placement_.slots_of(RankId(rank))) {
        spread(rank, expert, busy, reached, queue);
      }
    }
    if (load_[busy] - load_[lightest] < 2) {
      return false;
    }
    std::int64_t amount = (load_[busy] - load_[lightest]) / 2;
    for (std::size_t at = lightest; at != busy; at = reached[at]->before) {
      amount = std::min(amount, split_[reached[at]->expert][reached[at]->from]);
    }
    for (std::size_t at = lightest; at != busy; at = reached[at]->before) {
      split_[reached[at]->expert][reached[at]->from] -= amount;
      split_[reached[at]->expert][reached[at]->to] += amount;
    }
    load_[busy] -= amount;
    load_[lightest] += amount;
    return true;
  }

  void spread(std::size_t rank, std::size_t expert, std::size_t busy, std::vector<std::optional<Step>>& reached,
              std::vector<std::size_t>& queue) const {
    const auto replicas = placement_.replicas_of(expert);
    for (std::size_t from = 0; from < replicas.size(); ++from) {
      if (replicas[from].rank.index() != rank || split_[expert][from] == 0) {
        continue;
      }
      for (std::size_t to = 0; to < replicas.size(); ++to) {
        const std::size_t target = replicas[to].rank.index();
        if (target != busy && !reached[target]) {
          reached[target] = Step{rank, expert, from, to};
          queue.push_back(target);
        }
      }
    }
  }

  const LayerPlacement& placement_;
  std::vector<std::int64_t> load_;                // [ranks]
  std::vector<std::vector<std::int64_t>> split_;  // [experts][copies]
};

std::vector<std::int64_t> rows_of(const LayerPlacement& placement, std::span<const std::uint16_t> choices) {
  std::vector<std::int64_t> rows(placement.experts(), 0);
  for (const std::uint16_t expert : choices) {
    if (expert != kNoExpert) {
      ++rows[expert];
    }
  }
  return rows;
}

/// Hands each expert's copies out in turn, each as often as its share says.
std::vector<std::uint32_t> hand_out(const RoutedBatch& batch, std::vector<std::vector<std::int64_t>> left) {
  std::vector<std::uint32_t> turn(left.size(), 0);
  std::vector<std::uint32_t> taken;
  taken.reserve(batch.choices.size());
  for (const std::uint16_t expert : batch.choices) {
    if (expert == kNoExpert) {
      taken.push_back(0);
      continue;
    }
    auto& copies = left[expert];
    std::uint32_t& at = turn[expert];
    while (copies[at] == 0) {
      at = static_cast<std::uint32_t>((at + 1) % copies.size());
    }
    --copies[at];
    taken.push_back(at);
    at = static_cast<std::uint32_t>((at + 1) % copies.size());
  }
  return taken;
}

/// METRO's rule, experts with the most rows first.
std::vector<std::vector<std::int64_t>> fewest_awake(const LayerPlacement& placement,
                                                    std::span<const std::int64_t> rows) {
  std::vector<std::size_t> order(rows.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) { return rows[a] > rows[b]; });
  std::vector<std::pair<std::int64_t, std::int64_t>> rank(placement.ranks(), {0, 0});  // experts awake, rows
  std::vector<std::vector<std::int64_t>> split(rows.size());
  for (const std::size_t e : order) {
    const auto replicas = placement.replicas_of(e);
    split[e].assign(replicas.size(), 0);
    std::size_t best = 0;
    for (std::size_t c = 1; c < replicas.size(); ++c) {
      best = rank[replicas[c].rank.index()] < rank[replicas[best].rank.index()] ? c : best;
    }
    split[e][best] = rows[e];
    if (rows[e] > 0) {
      rank[replicas[best].rank.index()].first += 1;
      rank[replicas[best].rank.index()].second += rows[e];
    }
  }
  return split;
}

std::vector<std::uint32_t> nearest(const LayerPlacement& placement, const RoutedBatch& batch) {
  std::vector<std::uint32_t> turn(placement.experts(), 0);
  std::vector<std::uint32_t> taken;
  taken.reserve(batch.choices.size());
  std::vector<std::uint32_t> near;
  for (std::size_t home = 0; home + 1 < batch.first_token.size(); ++home) {
    for (std::size_t i = batch.first_token[home] * batch.k; i < batch.first_token[home + 1] * batch.k; ++i) {
      if (batch.choices[i] == kNoExpert) {
        taken.push_back(0);
        continue;
      }
      const auto replicas = placement.replicas_of(batch.choices[i]);
      near.clear();
      std::optional<std::uint32_t> own;
      for (std::uint32_t c = 0; c < replicas.size(); ++c) {
        const std::size_t rank = replicas[c].rank.index();
        if (rank == home) {
          own = c;
        } else if (rank / batch.ranks_per_node == home / batch.ranks_per_node) {
          near.push_back(c);
        }
      }
      std::uint32_t& next = turn[batch.choices[i]];
      taken.push_back(own            ? *own
                      : near.empty() ? static_cast<std::uint32_t>(next++ % replicas.size())
                                     : near[next++ % near.size()]);
    }
  }
  return taken;
}

}  // namespace

std::vector<std::vector<std::int64_t>> balanced_rows(const LayerPlacement& placement,
                                                     std::span<const std::int64_t> rows) {
  return RowBalancer(placement, rows).run();
}

std::vector<std::uint32_t> choose_replicas(const LayerPlacement& placement, const RoutedBatch& batch,
                                           ReplicaChoice choice, std::uint64_t seed) {
  std::vector<std::uint32_t> taken;
  switch (choice) {
    case ReplicaChoice::kInTurn: {
      std::vector<std::uint32_t> turn(placement.experts(), 0);
      for (const std::uint16_t expert : batch.choices) {
        taken.push_back(expert == kNoExpert
                            ? 0
                            : static_cast<std::uint32_t>(turn[expert]++ % placement.replicas_of(expert).size()));
      }
      break;
    }
    case ReplicaChoice::kRandom: {
      RandomStream random(seed, "placement.replica");
      for (const std::uint16_t expert : batch.choices) {
        const std::size_t copies = expert == kNoExpert ? 1 : placement.replicas_of(expert).size();
        taken.push_back(copies == 1 ? 0 : static_cast<std::uint32_t>(random.below(copies)));
      }
      break;
    }
    case ReplicaChoice::kNearest:
      return nearest(placement, batch);
    case ReplicaChoice::kBalanced:
      return hand_out(batch, balanced_rows(placement, rows_of(placement, batch.choices)));
    case ReplicaChoice::kFewest:
      return hand_out(batch, fewest_awake(placement, rows_of(placement, batch.choices)));
  }
  return taken;
}

}  // namespace moesim
