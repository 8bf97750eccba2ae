#include "workloads/routing/statistics.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "sim/core/error.hpp"

namespace moesim {

namespace {

double sum(std::span<const double> values) { return std::accumulate(values.begin(), values.end(), 0.0); }

}  // namespace

double max_over_mean(std::span<const double> loads) {
  ensure(!loads.empty(), "loads to compare");
  const double total = sum(loads);
  return total > 0.0 ? *std::max_element(loads.begin(), loads.end()) * static_cast<double>(loads.size()) / total : 1.0;
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
    entry.gini = gini(loads);
    entry.entropy = entropy_bits(loads);
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

}  // namespace moesim
