#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <vector>

#include "workloads/routing/count_trace.hpp"

namespace moesim {

/// How unevenly one layer's experts are used. c_e is the number of choices that fell on expert e.
struct LayerStatistics {
  std::size_t layer = 0;  ///< its row in the file
  std::size_t experts = 0;
  double choices = 0.0;          ///< Σ c_e = tokens·k
  std::optional<double> tokens;  ///< Σ c_e / k, where k is known
  double max_over_mean = 0.0;    ///< max c_e / (Σ c_e / experts)
  double gini = 0.0;             ///< Σ_i (2i − n − 1)·c_(i) / (n·Σ c), c ascending, i = 1 .. n; 0: all alike
  double entropy = 0.0;          ///< −Σ p_e·log₂ p_e in bits, p_e = c_e/Σ c; log₂(experts): all alike
};

/// Load of GPUs when experts are placed in contiguous blocks: max over ranks / mean over ranks of the choices.
struct RankStatistics {
  std::size_t ranks = 0;
  double max_over_mean_mean = 0.0;   ///< mean over layers
  double max_over_mean_worst = 0.0;  ///< worst layer
};

struct TraceStatistics {
  std::vector<LayerStatistics> layers;
  std::vector<RankStatistics> ranks;  ///< 2, 4, 8, … as far as they divide the experts
};

TraceStatistics statistics(const CountTrace& counts, std::optional<std::size_t> k = std::nullopt);

double max_over_mean(std::span<const double> loads);
double gini(std::span<const double> loads);
double entropy_bits(std::span<const double> loads);
/// Sums of `ranks` equal contiguous blocks.
std::vector<double> rank_loads(std::span<const double> experts, std::size_t ranks);

}  // namespace moesim
