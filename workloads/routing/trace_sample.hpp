#pragma once

#include <cstddef>
#include <vector>

#include "workloads/routing/token_trace.hpp"

namespace moesim {

/// Tokens taken out of a recording in whole stretches, so that what hangs together in a sequence stays together.
struct TraceSample {
  StepRouting routing;
  std::vector<std::size_t> starts;  ///< first token of each sequence or stretch, in the sample
};

/// Tokens [begin, end) of a recording.
struct TokenRange {
  std::size_t begin = 0;
  std::size_t end = 0;
  [[nodiscard]] std::size_t size() const { return end - begin; }
};

/// All tokens of the ranges; where they are more than `most` tokens, or their choices more than 64 MiB, stretches of
/// 1024 tokens spread evenly over them.
TraceSample sample_of(const TokenTrace& trace, std::span<const TokenRange> ranges, std::size_t most);
TraceSample sample_of(const TokenTrace& trace, std::size_t most);

}  // namespace moesim
