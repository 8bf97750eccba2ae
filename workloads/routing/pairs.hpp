#pragma once

#include <cstddef>
#include <vector>

#include "sim/core/task_pool.hpp"
#include "workloads/routing/types.hpp"

namespace moesim {

/// Two experts and the tokens that chose both. n_e tokens chose expert e of a layer, N_ef both e and f, T are all
/// tokens.
struct ExpertPair {
  std::size_t layer = 0;
  ExpertIndex expert = 0;
  ExpertIndex other = 0;  ///< of the same layer, or of the next one
  double tokens = 0.0;    ///< N_ef
  double lift = 0.0;      ///< N_ef over the x_ef of independent choices
};

/// How far from independent the pairs of a layer are, or those of a layer and the next:
///   Φ = (Σ (N_ef − x_ef)²/x_ef − d)/Σ N_ef,
/// d what chance alone gives. In a layer, e < f, x_ef ∝ n_e·n_f with Σ x = Σ N, d = pairs − experts; between layers
/// x_ef = n_e·n_f/T, d = (experts − 1)². 0: independent.
struct PairAssociation {
  std::size_t layer = 0;
  double within = 0.0;
  double to_next = 0.0;  ///< 0 for the last layer
};

struct PairStatistics {
  std::size_t tokens = 0;  ///< looked at
  std::vector<PairAssociation> layers;
  std::vector<ExpertPair> within;   ///< those that lie furthest above x_ef, by (N − x)/√x, the strongest first
  std::vector<ExpertPair> to_next;  ///< the same between a layer and the next
};

/// At most `most` pairs of either kind, whatever the number of layers. Throws ModelError with more than 4096 experts.
PairStatistics pair_statistics(const StepRouting& routing, std::size_t most, const TaskPool& pool);

}  // namespace moesim
