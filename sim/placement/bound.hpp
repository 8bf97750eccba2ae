#pragma once

#include <cstddef>
#include <span>

namespace moesim {

/// What no placement of a layer beats: a lower bound on the greatest rank load where each of `ranks` ranks has
/// slots/ranks slots, each expert at least one, and copies share an expert's tokens evenly. The greatest of
///   Σ w / R                           some rank has at least the mean;
///   min over copies of max_e w_e/c_e  Σ c_e = slots: adding copies where w_e/c_e is greatest is optimal, since every
///                                     target T needs ⌈w_e/T⌉ copies of e, and greedy gives none more than that first;
///   without copies, for each j: among the R·j + 1 heaviest experts some rank has j + 1, which weigh at least as much
///                                     as the j + 1 lightest of these, and its other slots as much as the lightest of
///                                     all.
double max_load_bound(std::span<const double> loads, std::size_t slots, std::size_t ranks);

}  // namespace moesim
