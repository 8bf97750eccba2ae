#include "workloads/routing/recorded_source.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <span>

#include "sim/core/random.hpp"
#include "workloads/routing/runs.hpp"

namespace moesim {

std::vector<std::size_t> RecordedSource::choose(const TokenBatch& batch, std::uint64_t seed) const {
  const std::size_t recorded = trace_.shape().tokens;
  const auto starts = trace_.sequence_starts();
  RandomStream random(seed, "routing.recorded");
  const std::size_t shift = random.below(recorded);
  const std::vector<TokenRun> runs = runs_of(batch);
  const auto decodes = static_cast<std::size_t>(
      std::count_if(runs.begin(), runs.end(), [](const TokenRun& run) { return run.count == 1; }));

  std::vector<std::size_t> chosen(batch.tokens.size());
  std::size_t next = shift;
  std::size_t decode = 0;
  for (const TokenRun& run : runs) {
    if (run.count == 1) {
      __extension__ using Wide = unsigned __int128;
      const auto spread = static_cast<std::size_t>(Wide{decode++} * recorded / decodes);
      chosen[run.first] = (shift + spread) % recorded;
      continue;
    }
    if (!starts.empty()) {
      const auto start = std::lower_bound(starts.begin(), starts.end(), next % recorded);
      next = start == starts.end() ? starts.front() : *start;
    }
    for (std::size_t i = 0; i < run.count; ++i) {
      chosen[run.first + i] = next++ % recorded;
    }
  }
  return chosen;
}

StepRouting RecordedSource::draw(const TokenBatch& batch, std::uint64_t seed, const TaskPool& pool) const {
  const RoutingShape& recorded = trace_.shape();
  StepRouting step;
  step.shape = recorded;
  step.shape.tokens = batch.tokens.size();
  step.choices.resize(step.shape.layers * step.shape.tokens * step.shape.k);
  const std::vector<std::size_t> chosen = choose(batch, seed);

  pool.for_each_index(step.shape.layers, [&](std::size_t layer) {
    ExpertIndex* out = step.choices.data() + layer * step.shape.tokens * step.shape.k;
    for (std::size_t i = 0; i < chosen.size(); ++i) {
      trace_.read(chosen[i], layer, std::span(out + i * step.shape.k, step.shape.k));
    }
  });

  std::vector<std::uint32_t> uses(recorded.tokens, 0);
  std::uint32_t most = 0;
  for (const std::size_t token : chosen) {
    most = std::max(most, ++uses[token]);
  }
  if (most > 1) {
    step.warnings.push_back(
        fmt::format("{}: the step has {} tokens and the recording {}; a recorded token is used up to {} "
                    "times",
                    trace_.name(), chosen.size(), recorded.tokens, most));
  }
  if (trace_.rows_with_duplicates() > 0) {
    step.warnings.push_back(fmt::format("{}: {} recorded rows name an expert more than once", trace_.name(),
                                        trace_.rows_with_duplicates()));
  }
  return step;
}

std::string RecordedSource::provenance() const {
  return fmt::format("recorded choices of {} tokens in {}", trace_.shape().tokens, trace_.name());
}

}  // namespace moesim
