#include "sim/execute/attribution.hpp"

#include <algorithm>
#include <numeric>

#include "sim/core/error.hpp"

namespace moesim {

std::array<SimTime, kTimeCategories> attribution(const Execution& execution) {
  const auto ranks = static_cast<std::int64_t>(execution.timeline.size());
  std::array<std::int64_t, kTimeCategories> ticks{};
  for (const auto& timeline : execution.timeline) {
    for (const Segment& segment : timeline) {
      ticks[static_cast<std::size_t>(segment.category)] += (segment.end - segment.begin).ticks();
    }
  }
  const std::int64_t whole = execution.end.ticks();
  ensure(std::accumulate(ticks.begin(), ticks.end(), std::int64_t{0}) == whole * ranks,
         "the ranks' time is not attributed in full");
  std::array<std::size_t, kTimeCategories> by_remainder{};
  std::iota(by_remainder.begin(), by_remainder.end(), std::size_t{0});
  std::stable_sort(by_remainder.begin(), by_remainder.end(),
                   [&](std::size_t a, std::size_t b) { return ticks[a] % ranks > ticks[b] % ranks; });
  std::array<SimTime, kTimeCategories> parts{};
  std::int64_t left = whole;
  for (std::size_t c = 0; c < kTimeCategories; ++c) {
    parts[c] = SimTime::from_ticks(ticks[c] / ranks);
    left -= ticks[c] / ranks;
  }
  for (std::size_t i = 0; left > 0; ++i, --left) {
    parts[by_remainder[i]] += SimTime::from_ticks(1);
  }
  return parts;
}

}  // namespace moesim
