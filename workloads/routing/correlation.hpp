#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "workloads/routing/types.hpp"

namespace moesim {

/// How much tokens of one sequence, and layers of one token, have in common.
struct CorrelationStatistics {
  struct Entry {
    std::size_t distance = 0;
    double value = 0.0;
  };
  /// At a distance of d tokens in one sequence: (O_d − O)/(k − O), O_d the mean number of experts that two such tokens
  /// share, O = Σ π_e² that of independent ones; mean over layers. 0: independent, 1: the same experts.
  std::vector<Entry> overlap;
  /// At a distance of d layers: Φ = Σ_{e,f} (N_ef − n_e·n_f/T)²/(n_e·n_f/T) / (T·k²), N_ef the tokens that chose e in
  /// one layer and f in the other, less what chance alone gives, (E − 1)²/(T·k²); mean over pairs of layers. 0:
  /// independent layers.
  std::vector<Entry> association;
};

/// Distances 1, 2, 4, … 32 tokens and 1, 2, 4, … 16 layers as far as the routing reaches. `starts`: first token of each
/// sequence; empty: one sequence.
CorrelationStatistics correlation_statistics(const StepRouting& routing, std::span<const std::size_t> starts);

}  // namespace moesim
