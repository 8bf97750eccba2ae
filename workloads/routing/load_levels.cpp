#include "workloads/routing/load_levels.hpp"

#include <algorithm>
#include <numeric>

#include "sim/core/error.hpp"
#include "workloads/routing/statistics.hpp"

namespace moesim {

LoadLevels::LoadLevels(std::size_t experts) {
  ensure(experts > 0, "experts to divide");
  constexpr std::size_t kFewestBlocks = 8;  // the variance of fewer says little
  for (std::size_t blocks = kFewestBlocks; blocks < experts && experts % blocks == 0; blocks *= 2) {
    blocks_.push_back(blocks);
  }
  blocks_.push_back(experts);
}

std::vector<double> LoadLevels::variances(std::span<const double> shares) const {
  const auto experts = static_cast<double>(shares.size());
  const double all = std::accumulate(shares.begin(), shares.end(), 0.0);
  double before = all * all / experts;  // Σ_e m_{j−1}(e)²
  std::vector<double> result;
  for (const std::size_t blocks : blocks_) {
    double squares = 0.0;
    for (const double sum : rank_loads(shares, blocks)) {
      squares += sum * sum * static_cast<double>(blocks) / experts;
    }
    result.push_back(std::max(0.0, squares - before));
    before = squares;
  }
  return result;
}

std::vector<double> LoadLevels::sampling(std::span<const double> shares, double choices) const {
  const auto experts = static_cast<double>(shares.size());
  double before = 0.0;
  std::vector<double> result;
  for (const std::size_t blocks : blocks_) {
    double sum = 0.0;
    for (const double share : rank_loads(shares, blocks)) {
      sum += share * (1.0 - share) * static_cast<double>(blocks) / experts;
    }
    result.push_back(std::max(0.0, sum - before) / choices);
    before = sum;
  }
  return result;
}

std::vector<double> LoadLevels::drawn_to_mean(std::span<const double> shares, std::span<const double> kept) const {
  ensure(kept.size() == blocks_.size(), "a factor for each level");
  const std::size_t experts = shares.size();
  const double all = std::accumulate(shares.begin(), shares.end(), 0.0);
  std::vector<double> result(experts, all / static_cast<double>(experts));
  std::vector<double> before = result;
  for (std::size_t level = 0; level < blocks_.size(); ++level) {
    const std::size_t size = experts / blocks_[level];
    const std::vector<double> sums = rank_loads(shares, blocks_[level]);
    for (std::size_t e = 0; e < experts; ++e) {
      const double mean = sums[e / size] / static_cast<double>(size);
      result[e] += kept[level] * (mean - before[e]);
      before[e] = mean;
    }
  }
  double sum = 0.0;
  for (double& share : result) {
    share = std::max(0.0, share);
    sum += share;
  }
  for (double& share : result) {
    share *= sum > 0.0 ? all / sum : 1.0;
  }
  return result;
}

}  // namespace moesim
