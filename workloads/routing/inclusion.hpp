#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "workloads/routing/group_design.hpp"

namespace moesim {

/// Successive sampling: items are drawn one by one in proportion to weights w, without replacement, until there are k.
/// The same law, told otherwise: item e arrives after an exponential time of rate w_e, and the first k are taken.

/// Exact inclusion probabilities π_e of successive sampling of k items with weights w, within groups drawn first by
/// `groups` where that is not null (E/G contiguous items each):
///   π_e = ∫ w_e e^{−w_e t} P(at most k−1 of the others arrive before t) dt,
/// the others' number being Poisson-binomial; composite Gauss–Legendre in t. Relative error below 1e-5.
std::vector<double> successive_inclusion(std::span<const double> weights, std::size_t k, const GroupDesign* groups);

struct CalibratedWeights {
  std::vector<double> weights;
  double worst_deviation = 0.0;  ///< max over items of |π_e(w)/π_e − 1|
};

/// Weights for which successive sampling includes item e with probability `inclusion[e]` (Σ = k, each below 1).
/// Starts at w = −log(1 − π), which is right for many items (Rosén 1997, "On sampling with probability proportional
/// to size", J. Statist. Plann. Inference 62), and iterates w ← w·log(1 − π)/log(1 − π(w)).
CalibratedWeights calibrate_weights(std::span<const double> inclusion, std::size_t k, const GroupDesign* groups,
                                    double tolerance);

}  // namespace moesim
