#include "sim/placement/bound.hpp"

#include <algorithm>
#include <functional>
#include <numeric>
#include <vector>

#include "sim/placement/eplb.hpp"

namespace moesim {

double max_load_bound(std::span<const double> loads, std::size_t slots, std::size_t ranks) {
  const double sum = std::accumulate(loads.begin(), loads.end(), 0.0);
  double bound = sum / static_cast<double>(ranks);
  const auto copies = copies_by_load(loads, slots);
  double per_copy = 0.0;
  for (std::size_t e = 0; e < loads.size(); ++e) {
    per_copy = std::max(per_copy, loads[e] / copies[e]);
  }
  bound = std::max(bound, per_copy);
  if (slots != loads.size()) {
    return bound;
  }
  std::vector<double> sorted(loads.begin(), loads.end());
  std::sort(sorted.begin(), sorted.end(), std::greater<>());
  const std::size_t per_rank = slots / ranks;
  for (std::size_t j = 1; j < per_rank; ++j) {
    const auto last = sorted.begin() + static_cast<std::ptrdiff_t>(ranks * j + 1);
    const double together = std::accumulate(last - static_cast<std::ptrdiff_t>(j + 1), last, 0.0);
    const double rest =
        std::accumulate(sorted.end() - static_cast<std::ptrdiff_t>(per_rank - j - 1), sorted.end(), 0.0);
    bound = std::max(bound, together + rest);
  }
  return bound;
}

}  // namespace moesim
