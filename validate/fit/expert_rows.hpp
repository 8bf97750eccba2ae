#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <tuple>
#include <vector>

namespace moesim {

/// What a measured row says of its routing.
struct RoutedLoad {
  std::int64_t tokens = 0;  ///< of all ranks
  std::int64_t experts_per_token = 1;
  std::int64_t experts = 1;
  std::int64_t expert_parallel = 1;
  double exponent = 0.0;  ///< of the power law; 0: balanced

  auto operator<=>(const RoutedLoad&) const = default;
};

/// Rows per local expert of the busiest rank, as aiconfigurator's collector draws them (collector/helper.py,
/// power_law_logits_v3): expert e's share is proportional to a draw from p(x) ~ x^-exponent between 1 and 0.8·tokens
/// (0.01 and 2 where there are no more copies than experts), ranks hold equal ranges of experts, and the rank with the
/// most copies is the one that is timed. The table does not hold the draw itself; of several draws the one with the
/// median load of the busiest rank stands for it.
class ExpertRows {
 public:
  const std::vector<std::int64_t>& of(const RoutedLoad& load);

 private:
  std::map<RoutedLoad, std::vector<std::int64_t>> known_;
};

}  // namespace moesim
