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
  double max_violation = 0.0;    ///< MaxVio = (max − mean)/mean = max_over_mean − 1 (arXiv 2408.15664, section 4.1)
  double cv = 0.0;               ///< standard deviation of c_e over their mean
  double gini = 0.0;             ///< Σ_i (2i − n − 1)·c_(i) / (n·Σ c), c ascending, i = 1 .. n; 0: all alike
  double entropy = 0.0;          ///< −Σ p_e·log₂ p_e in bits, p_e = c_e/Σ c; log₂(experts): all alike
  std::size_t unused = 0;        ///< experts with c_e = 0
  double drift = 0.0;            ///< mean over steps of the distance D that StepStatistics defines; 0 with one step
  double drift_by_chance = 0.0;  ///< what sampling alone makes of that
};

/// Load of GPUs when experts are placed in contiguous blocks: max over ranks / mean over ranks of the choices.
struct RankStatistics {
  std::size_t ranks = 0;
  double max_over_mean_mean = 0.0;   ///< mean over layers
  double max_over_mean_worst = 0.0;  ///< worst layer
};

/// One recorded step, or stretch of tokens, in the mean over layers. p_we = c_we/Σ_e c_we is the share of expert e in
/// step w, p_e in all, n_w and n the choices.
struct StepStatistics {
  std::size_t step = 0;
  double choices = 0.0;        ///< of all layers
  double max_over_mean = 0.0;  ///< over experts
  double distance = 0.0;       ///< D = ½ Σ_e |p_we − p_e|: share of the choices that would have to move
  /// D of independent draws from p_e: ½ Σ_e √(2/π · p_e(1 − p_e)(1/n_w − 1/n)), the mean of a normal's modulus.
  double by_chance = 0.0;
};

/// Choices beyond what experts take whose capacity is C = ⌈CF · choices/experts⌉ in each step and layer (GShard,
/// arXiv 2006.16668): Σ_e max(0, c_e − C)/Σ_e c_e, a mean over steps and layers by choices.
struct CapacityStatistics {
  double capacity_factor = 0.0;
  double dropped_mean = 0.0;
  double dropped_worst = 0.0;  ///< worst layer, mean over steps
  double padding = 0.0;        ///< Σ_e (C − min(c_e, C)) / Σ_e c_e: rows computed for nothing, per choice
};

struct TraceStatistics {
  std::vector<LayerStatistics> layers;
  std::vector<RankStatistics> ranks;  ///< 2, 4, 8, … as far as they divide the experts
  std::vector<StepStatistics> steps;  ///< empty where there is only one
  std::vector<CapacityStatistics> capacity;
  double tokens_per_step = 0.0;  ///< of the capacity, where k is known; else 0
};

/// Statistics of counts, step by step where they have steps. k as the counts say, unless it is given.
TraceStatistics statistics(const CountTrace& counts, std::optional<std::size_t> k = std::nullopt);

/// The same capacities with batches of so many tokens, one after the other; a rest that fills no batch is left out
/// where there is at least one.
std::vector<CapacityStatistics> capacity_of_batches(const TokenTrace& trace, std::size_t tokens, const TaskPool& pool);

double max_over_mean(std::span<const double> loads);
double coefficient_of_variation(std::span<const double> loads);
double gini(std::span<const double> loads);
double entropy_bits(std::span<const double> loads);
/// Sums of `ranks` equal contiguous blocks.
std::vector<double> rank_loads(std::span<const double> experts, std::size_t ranks);

}  // namespace moesim
