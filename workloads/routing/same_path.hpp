#pragma once

#include <cstddef>
#include <vector>

#include "workloads/routing/generator.hpp"

namespace moesim {

constexpr std::size_t kLongestRun = 256;  ///< tokens of a sequence that hang together; correlation ends there

/// Chance that two tokens d apart are on the same path: with r = repeat, t = topic, P = topic_points and s = 1 −
/// 1/topic_tokens, the chance that a passage goes on,
///   r^d + t²/P · s^d/(1 − r·s) · Σ_{b < d} (r/s)^b:
/// all d tokens repeat, or the last ones that did not both took the same point of the same passage, the later of them b
/// tokens back. s^d/(1 − r·s) sums over how far back the earlier one is.
double same_path(const RoutingCorrelation& correlation, std::size_t distance);

/// By length n = 0 … kLongestRun of a run of tokens: Σ_{d < n} (1 − d/n)·same_path(d), to which what makes its loads
/// more uneven than those of independent tokens is in proportion: the design effect is 1 + 2·c·this, c what tokens on
/// the same path have in common.
std::vector<double> shared_paths(const RoutingCorrelation& correlation);

}  // namespace moesim
