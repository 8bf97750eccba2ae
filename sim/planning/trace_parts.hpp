#pragma once

#include <cstddef>
#include <vector>

#include "workloads/routing/token_trace.hpp"

namespace moesim {

/// Tokens [begin, end) of a recording.
struct TracePart {
  std::size_t begin = 0;
  std::size_t end = 0;
  [[nodiscard]] std::size_t size() const { return end - begin; }
};

/// The first `share` of a recording and the rest, each with at least one token.
struct TraceParts {
  TracePart earlier;
  TracePart later;
};
TraceParts split_in_time(const TokenTrace& trace, double share);

/// A step of `tokens` tokens out of a part. Neighbours of a prefill stay together; decode tokens come from places
/// spread evenly over the part. Where the part has fewer tokens they are reused, and a warning says so.
enum class TakeTokens { kTogether, kSpread };
StepRouting take_step(const TokenTrace& trace, TracePart part, std::size_t tokens, TakeTokens how);

/// Tokens per expert of a part, [layers, experts].
std::vector<double> loads_of_part(const TokenTrace& trace, TracePart part);

}  // namespace moesim
