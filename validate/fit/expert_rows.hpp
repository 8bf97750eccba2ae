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

/// Rows per local expert of the rank that aiconfigurator's collector times (collector/helper.py, balanced_logits and
/// power_law_logits_v3); ranks hold equal ranges of experts.
///
/// Balanced: with s = ⌈experts / k⌉, token t of T chooses the experts t + i·s mod experts, i = 0 … k−1, or, where
/// T < s, those at ⌊t·s/T⌋ + i·s. Rank 0 is timed, which is among the busiest: balanced, but not even.
///
/// Power law: expert e's share is proportional to a draw from p(x) ~ x^-exponent between 1 and 0.8·tokens (0.01 and 2
/// where there are no more copies than experts), rounded to the nearest whole number. What the rounding and the limit
/// of one copy per token and expert leave over or short is given to (taken from) the least (most) loaded expert of one
/// rank after the other. The rank with the most copies is timed. The collector times five draws and tables do not hold
/// them: rows are the means of many draws, rank by rank within the busiest rank, largest first.
class ExpertRows {
 public:
  const std::vector<std::int64_t>& of(const RoutedLoad& load);

 private:
  std::map<RoutedLoad, std::vector<std::int64_t>> known_;
};

}  // namespace moesim
