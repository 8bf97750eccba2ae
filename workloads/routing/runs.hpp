#pragma once

#include <cstddef>
#include <vector>

#include "workloads/routing/types.hpp"

namespace moesim {

/// Neighbouring tokens of a batch that belong to one sequence and follow each other in it.
struct TokenRun {
  std::size_t first = 0;  ///< in the batch
  std::size_t count = 0;
};

/// The batch as runs, in order; every token is in just one.
std::vector<TokenRun> runs_of(const TokenBatch& batch);

/// The same with no run longer than `longest`: pieces that can be worked on independently.
std::vector<TokenRun> runs_of(const TokenBatch& batch, std::size_t longest);

}  // namespace moesim
