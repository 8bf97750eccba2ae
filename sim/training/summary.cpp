#include "sim/training/summary.hpp"

#include <algorithm>
#include <cstdint>
#include <numeric>

#include "sim/core/error.hpp"

namespace moesim {

std::array<SimTime, kTrainingTimes> mean_times(const TrainingResult& result) {
  const auto ranks = static_cast<std::int64_t>(result.ranks.size());
  std::array<std::int64_t, kTrainingTimes> ticks{};
  for (const PipelineRankTime& rank : result.ranks) {
    for (std::size_t c = 0; c < kTrainingTimes; ++c) {
      ticks[c] += rank.parts[c].ticks();
    }
  }
  std::int64_t left = result.step.ticks();
  ensure(std::accumulate(ticks.begin(), ticks.end(), std::int64_t{0}) == left * ranks,
         "the pipeline ranks' time is not attributed in full");
  std::array<std::size_t, kTrainingTimes> by_remainder{};
  std::iota(by_remainder.begin(), by_remainder.end(), std::size_t{0});
  std::stable_sort(by_remainder.begin(), by_remainder.end(),
                   [&](std::size_t a, std::size_t b) { return ticks[a] % ranks > ticks[b] % ranks; });
  std::array<SimTime, kTrainingTimes> mean{};
  for (std::size_t c = 0; c < kTrainingTimes; ++c) {
    mean[c] = SimTime::from_ticks(ticks[c] / ranks);
    left -= ticks[c] / ranks;
  }
  for (std::size_t i = 0; left > 0; ++i, --left) {
    mean[by_remainder[i]] += SimTime::from_ticks(1);
  }
  return mean;
}

std::array<SimTime, kPasses> mean_passes(const TrainingResult& result) {
  std::array<SimTime, kPasses> mean{};
  for (std::size_t pass = 0; pass < kPasses; ++pass) {
    std::int64_t sum = 0;
    for (const PipelineRankTime& rank : result.ranks) {
      sum += rank.passes[pass].ticks();
    }
    mean[pass] = SimTime::from_ticks(sum / static_cast<std::int64_t>(result.ranks.size()));
  }
  return mean;
}

double bubble_fraction(const TrainingResult& result) {
  double idle = 0.0;
  for (std::size_t rank = 0; rank < result.ranks.size(); ++rank) {
    idle += static_cast<double>(result.pipeline.bubble(rank).ticks());
  }
  return idle / static_cast<double>(result.ranks.size()) / static_cast<double>(result.pipeline.end.ticks());
}

std::size_t fullest_pipeline_rank(const TrainingResult& result) {
  const auto fullest =
      std::max_element(result.memory.begin(), result.memory.end(),
                       [](const TrainingFootprint& a, const TrainingFootprint& b) { return a.total() < b.total(); });
  return static_cast<std::size_t>(fullest - result.memory.begin());
}

}  // namespace moesim
