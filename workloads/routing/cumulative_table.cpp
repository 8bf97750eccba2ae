#include "workloads/routing/cumulative_table.hpp"

#include <bit>
#include <numeric>

#include "sim/core/error.hpp"

namespace moesim {

CumulativeTable::CumulativeTable(std::span<const double> weights, std::span<const ExpertIndex> order) {
  ensure(weights.size() == order.size(), "an order of the items weighed");
  const double total = std::accumulate(weights.begin(), weights.end(), 0.0);
  ensure(total > 0.0, "a table of weights with a positive sum");
  double sum = 0.0;
  for (const ExpertIndex item : order) {
    if (weights[item] > 0.0) {
      sum += weights[item];
      upper_.push_back(sum / total);
      items_.push_back(item);
    }
  }
  upper_.back() = 2.0;  // rounding must not leave a u without an item

  constexpr std::size_t kCellsPerItem = 16;  // hardly a comparison fails, which the processor could not foresee
  guide_.resize(std::bit_ceil(kCellsPerItem * items_.size()));
  guide_scale_ = static_cast<double>(guide_.size());
  std::size_t place = 0;
  for (std::size_t cell = 0; cell < guide_.size(); ++cell) {
    while (static_cast<double>(cell) / guide_scale_ >= upper_[place]) {
      ++place;
    }
    guide_[cell] = static_cast<std::uint16_t>(place);
  }
}

}  // namespace moesim
