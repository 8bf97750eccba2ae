#include "workloads/routing/trace_sample.hpp"

#include <algorithm>

namespace moesim {

namespace {

/// Tokens that a sample may have: its choices in 64 MiB.
std::size_t tokens_that_fit(const RoutingShape& shape, std::size_t most) {
  constexpr std::size_t kMostBytes = std::size_t{1} << 26;
  return std::clamp<std::size_t>(kMostBytes / (shape.layers * shape.k * sizeof(ExpertIndex)), 1, most);
}

/// Stretches of the ranges, evenly spread, with `tokens` tokens in all.
std::vector<TokenRange> stretches(std::span<const TokenRange> ranges, std::size_t tokens) {
  std::size_t total = 0;
  for (const TokenRange& range : ranges) {
    total += range.size();
  }
  if (total <= tokens) {
    return {ranges.begin(), ranges.end()};
  }
  constexpr std::size_t kStretch = 1024;
  const std::size_t length = std::min(kStretch, tokens);
  const std::size_t count = tokens / length;
  std::vector<TokenRange> result;
  std::size_t before = 0;  // tokens of the ranges passed so far
  std::size_t next = 0;
  for (const TokenRange& range : ranges) {
    // The i-th stretch begins at token i·total/count of all ranges' tokens; it ends with its range.
    while (next < count && total / count * next < before + range.size()) {
      const std::size_t begin = range.begin + (total / count * next - before);
      result.push_back({begin, std::min(range.end, begin + length)});
      ++next;
    }
    before += range.size();
  }
  return result;
}

}  // namespace

TraceSample sample_of(const TokenTrace& trace, std::span<const TokenRange> ranges, std::size_t most) {
  const RoutingShape& shape = trace.shape();
  const std::vector<TokenRange> taken = stretches(ranges, tokens_that_fit(shape, most));
  TraceSample sample;
  sample.routing.shape = shape;
  sample.routing.shape.tokens = 0;
  for (const TokenRange& range : taken) {
    sample.routing.shape.tokens += range.size();
  }
  const std::size_t row = sample.routing.shape.tokens * shape.k;
  sample.routing.choices.resize(shape.layers * row);
  const auto starts = trace.sequence_starts();
  std::size_t at = 0;
  for (const TokenRange& range : taken) {
    const bool follows = &range != taken.data() && (&range - 1)->end == range.begin;
    if (!follows && (starts.empty() || !std::binary_search(starts.begin(), starts.end(), range.begin))) {
      sample.starts.push_back(at);
    }
    for (auto start = std::lower_bound(starts.begin(), starts.end(), range.begin);
         start != starts.end() && *start < range.end; ++start) {
      sample.starts.push_back(at + (*start - range.begin));
    }
    for (std::size_t token = range.begin; token < range.end; ++token, ++at) {
      for (std::size_t layer = 0; layer < shape.layers; ++layer) {
        trace.read(token, layer, std::span(sample.routing.choices).subspan(layer * row + at * shape.k, shape.k));
      }
    }
  }
  return sample;
}

TraceSample sample_of(const TokenTrace& trace, std::size_t most) {
  const TokenRange all{0, trace.shape().tokens};
  return sample_of(trace, std::span(&all, 1), most);
}

}  // namespace moesim
