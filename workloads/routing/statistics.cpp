#include "workloads/routing/statistics.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <functional>
#include <numbers>
#include <numeric>

#include "sim/core/error.hpp"

namespace moesim {

namespace {

double sum(std::span<const double> values) { return std::accumulate(values.begin(), values.end(), 0.0); }

/// Overflow and padding of one set of loads under each capacity factor, added up over sets.
class CapacitySums {
 public:
  explicit CapacitySums(std::size_t layers) : dropped_(kFactors.size() * layers, 0.0), choices_(layers, 0.0) {}

  void add(std::size_t layer, std::span<const double> loads) {
    const double total = sum(loads);
    choices_[layer] += total;
    for (std::size_t i = 0; i < kFactors.size(); ++i) {
      constexpr double kRounding = 1e-9;  // 1.25·8 = 10 exactly, whatever the product's last bit
      const double capacity = std::ceil(kFactors[i] * total / static_cast<double>(loads.size()) - kRounding);
      double over = 0.0;
      for (const double load : loads) {
        over += std::max(0.0, load - capacity);
      }
      dropped_[i * choices_.size() + layer] += over;
      padding_[i] += capacity * static_cast<double>(loads.size()) - (total - over);
    }
  }
  void add(const CapacitySums& other) {
    const auto plus = [](auto& sums, const auto& more) {
      std::transform(sums.begin(), sums.end(), more.begin(), sums.begin(), std::plus<>{});
    };
    plus(dropped_, other.dropped_);
    plus(choices_, other.choices_);
    plus(padding_, other.padding_);
  }
  [[nodiscard]] std::vector<CapacityStatistics> result() const {
    std::vector<CapacityStatistics> result;
    const double total = sum(choices_);
    for (std::size_t i = 0; i < kFactors.size(); ++i) {
      const auto dropped = std::span(dropped_).subspan(i * choices_.size(), choices_.size());
      CapacityStatistics& entry = result.emplace_back();
      entry.capacity_factor = kFactors[i];
      entry.dropped_mean = total > 0.0 ? sum(dropped) / total : 0.0;
      entry.padding = total > 0.0 ? padding_[i] / total : 0.0;
      for (std::size_t layer = 0; layer < choices_.size(); ++layer) {
        if (choices_[layer] > 0.0) {
          entry.dropped_worst = std::max(entry.dropped_worst, dropped[layer] / choices_[layer]);
        }
      }
    }
    return result;
  }

 private:
  static constexpr std::array<double, 7> kFactors = {1.0, 1.25, 1.5, 2.0, 3.0, 4.0, 8.0};
  std::vector<double> dropped_;  ///< [factors, layers]
  std::vector<double> choices_;  ///< [layers]
  std::array<double, kFactors.size()> padding_{};
};

/// The counts of one step and layer.
std::span<const double> step_layer(const CountTrace& counts, std::size_t step, std::size_t layer) {
  return counts.step_counts.empty()
             ? counts.layer(layer)
             : std::span(counts.step_counts).subspan((step * counts.layers + layer) * counts.experts, counts.experts);
}

struct Distance {
  double distance = 0.0;
  double by_chance = 0.0;
};

Distance distance_of(std::span<const double> step, std::span<const double> all) {
  const double n_step = sum(step);
  const double n_all = sum(all);
  Distance result;
  if (n_step <= 0.0) {
    return result;
  }
  const double scale = std::max(0.0, 1.0 / n_step - 1.0 / n_all);
  for (std::size_t e = 0; e < all.size(); ++e) {
    const double p = all[e] / n_all;
    result.distance += 0.5 * std::abs(step[e] / n_step - p);
    result.by_chance += 0.5 * std::sqrt(2.0 / std::numbers::pi * p * (1.0 - p) * scale);
  }
  return result;
}

void add_steps(TraceStatistics& result, const CountTrace& counts) {
  CapacitySums capacity(counts.layers);
  const auto layers = static_cast<double>(counts.layers);
  for (std::size_t step = 0; step < counts.steps; ++step) {
    StepStatistics entry{.step = step};
    for (std::size_t layer = 0; layer < counts.layers; ++layer) {
      const auto loads = step_layer(counts, step, layer);
      capacity.add(layer, loads);
      const Distance distance = distance_of(loads, counts.layer(layer));
      entry.choices += sum(loads);
      entry.max_over_mean += max_over_mean(loads) / layers;
      entry.distance += distance.distance / layers;
      entry.by_chance += distance.by_chance / layers;
      result.layers[layer].drift += distance.distance / static_cast<double>(counts.steps);
      result.layers[layer].drift_by_chance += distance.by_chance / static_cast<double>(counts.steps);
    }
    if (counts.steps > 1) {
      result.steps.push_back(entry);
    }
  }
  result.capacity = capacity.result();
}

}  // namespace

double max_over_mean(std::span<const double> loads) {
  ensure(!loads.empty(), "loads to compare");
  const double total = sum(loads);
  return total > 0.0 ? *std::max_element(loads.begin(), loads.end()) * static_cast<double>(loads.size()) / total : 1.0;
}

double coefficient_of_variation(std::span<const double> loads) {
  const auto n = static_cast<double>(loads.size());
  const double mean = sum(loads) / n;
  double squares = 0.0;
  for (const double load : loads) {
    squares += (load - mean) * (load - mean);
  }
  return mean > 0.0 ? std::sqrt(squares / n) / mean : 0.0;
}

double gini(std::span<const double> loads) {
  std::vector<double> sorted(loads.begin(), loads.end());
  std::sort(sorted.begin(), sorted.end());
  const auto n = static_cast<double>(sorted.size());
  double weighted = 0.0;
  for (std::size_t i = 0; i < sorted.size(); ++i) {
    weighted += (2.0 * static_cast<double>(i + 1) - n - 1.0) * sorted[i];
  }
  const double total = sum(loads);
  return total > 0.0 ? weighted / (n * total) : 0.0;
}

double entropy_bits(std::span<const double> loads) {
  const double total = sum(loads);
  double entropy = 0.0;
  for (const double load : loads) {
    if (load > 0.0) {
      entropy -= load / total * std::log2(load / total);
    }
  }
  return entropy;
}

std::vector<double> rank_loads(std::span<const double> experts, std::size_t ranks) {
  ensure(ranks > 0 && experts.size() % ranks == 0, "ranks that divide the experts");
  const std::size_t block = experts.size() / ranks;
  std::vector<double> loads(ranks);
  for (std::size_t rank = 0; rank < ranks; ++rank) {
    loads[rank] = sum(experts.subspan(rank * block, block));
  }
  return loads;
}

TraceStatistics statistics(const CountTrace& counts, std::optional<std::size_t> k) {
  TraceStatistics result;
  if (!k) {
    k = counts.k;
  }
  for (std::size_t layer = 0; layer < counts.layers; ++layer) {
    const auto loads = counts.layer(layer);
    LayerStatistics& entry = result.layers.emplace_back();
    entry.layer = counts.file_layers[layer];
    entry.experts = counts.experts;
    entry.choices = sum(loads);
    if (k) {
      entry.tokens = entry.choices / static_cast<double>(*k);
    }
    entry.max_over_mean = max_over_mean(loads);
    entry.max_violation = entry.max_over_mean - 1.0;
    entry.cv = coefficient_of_variation(loads);
    entry.unused = static_cast<std::size_t>(std::count(loads.begin(), loads.end(), 0.0));
    entry.gini = gini(loads);
    entry.entropy = entropy_bits(loads);
  }
  add_steps(result, counts);
  if (k) {
    result.tokens_per_step = sum(counts.counts) / static_cast<double>(counts.layers * counts.steps * *k);
  }
  for (std::size_t ranks = 2; ranks <= counts.experts; ranks *= 2) {
    if (counts.experts % ranks != 0) {
      break;
    }
    RankStatistics& entry = result.ranks.emplace_back();
    entry.ranks = ranks;
    for (std::size_t layer = 0; layer < counts.layers; ++layer) {
      const double ratio = max_over_mean(rank_loads(counts.layer(layer), ranks));
      entry.max_over_mean_mean += ratio / static_cast<double>(counts.layers);
      entry.max_over_mean_worst = std::max(entry.max_over_mean_worst, ratio);
    }
  }
  return result;
}

std::vector<CapacityStatistics> capacity_of_batches(const TokenTrace& trace, std::size_t tokens, const TaskPool& pool) {
  const RoutingShape& shape = trace.shape();
  const std::size_t size = std::min(tokens, shape.tokens);
  const std::size_t batches = shape.tokens / size;
  constexpr std::size_t kTasks = 64;
  const std::size_t tasks = std::min(batches, kTasks);
  std::vector<CapacitySums> sums(tasks, CapacitySums(shape.layers));
  pool.for_each_index(tasks, [&](std::size_t task) {
    std::vector<double> loads(shape.experts);
    std::vector<ExpertIndex> row(shape.k);
    for (std::size_t batch = task * batches / tasks; batch < (task + 1) * batches / tasks; ++batch) {
      for (std::size_t layer = 0; layer < shape.layers; ++layer) {
        std::fill(loads.begin(), loads.end(), 0.0);
        for (std::size_t token = batch * size; token < (batch + 1) * size; ++token) {
          trace.read(token, layer, row);
          for (const ExpertIndex expert : row) {
            if (expert != kNoExpert) {
              loads[expert] += 1.0;
            }
          }
        }
        sums[task].add(layer, loads);
      }
    }
  });
  CapacitySums all(shape.layers);
  for (const CapacitySums& part : sums) {
    all.add(part);
  }
  return all.result();
}

}  // namespace moesim
