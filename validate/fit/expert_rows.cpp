#include "validate/fit/expert_rows.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "sim/core/random.hpp"

namespace moesim {
namespace {

constexpr std::uint64_t kDraws = 9;

/// Whole numbers in proportion to `weights` that add up to `total`, none above `most`: largest remainders.
std::vector<std::int64_t> apportion(const std::vector<double>& weights, std::int64_t total, std::int64_t most) {
  const double sum = std::accumulate(weights.begin(), weights.end(), 0.0);
  std::vector<std::int64_t> counts(weights.size());
  std::vector<std::pair<double, std::size_t>> remainders;
  std::int64_t given = 0;
  for (std::size_t i = 0; i < weights.size(); ++i) {
    const double exact = weights[i] / sum * static_cast<double>(total);
    counts[i] = std::min(most, static_cast<std::int64_t>(exact));
    given += counts[i];
    remainders.emplace_back(static_cast<double>(counts[i]) - exact, i);
  }
  std::sort(remainders.begin(), remainders.end());
  for (std::size_t next = 0; given < total; next = (next + 1) % remainders.size()) {
    std::int64_t& count = counts[remainders[next].second];
    if (count < most) {
      ++count;
      ++given;
    }
  }
  return counts;
}

std::vector<std::int64_t> busiest(const std::vector<std::int64_t>& counts, std::int64_t ranks) {
  const auto local = static_cast<std::ptrdiff_t>(counts.size()) / ranks;
  auto best = counts.begin();
  std::int64_t most = -1;
  for (auto at = counts.begin(); counts.end() - at >= local; at += local) {
    const std::int64_t sum = std::accumulate(at, at + local, std::int64_t{0});
    if (sum > most) {
      most = sum;
      best = at;
    }
  }
  return {best, best + local};
}

std::vector<std::int64_t> balanced(const RoutedLoad& load) {
  const std::vector<double> even(static_cast<std::size_t>(load.experts), 1.0);
  // Copies that do not fill all experts go to as many ranks as there are, evenly.
  std::vector<std::int64_t> counts = apportion(even, load.tokens * load.experts_per_token, load.tokens);
  std::vector<std::int64_t> spread(counts.size());
  const auto local = counts.size() / static_cast<std::size_t>(load.expert_parallel);
  for (std::size_t i = 0; i < counts.size(); ++i) {  // deal one by one over the ranks
    const std::size_t rank = i % static_cast<std::size_t>(load.expert_parallel);
    spread[rank * local + i / static_cast<std::size_t>(load.expert_parallel)] = counts[i];
  }
  return busiest(spread, load.expert_parallel);
}

std::vector<std::int64_t> power_law(const RoutedLoad& load) {
  const std::int64_t copies = load.tokens * load.experts_per_token;
  const bool many = copies > load.experts;
  const double low = many ? 1.0 : 0.01;
  const double high = many ? std::max(1.5, 0.8 * static_cast<double>(load.tokens)) : 2.0;
  const double power = 1.0 - load.exponent;
  std::vector<std::vector<std::int64_t>> draws;
  for (std::uint64_t draw = 0; draw < kDraws; ++draw) {
    RandomStream random(1, "power law", draw);
    std::vector<double> weights;
    for (std::int64_t expert = 0; expert < load.experts; ++expert) {
      const double u = random.uniform();
      // The inverse of the distribution function F(x) = (x^p − low^p) / (high^p − low^p), p = 1 − exponent.
      weights.push_back(
          std::abs(power) < 1e-9
              ? low * std::pow(high / low, u)
              : std::pow((std::pow(high, power) - std::pow(low, power)) * u + std::pow(low, power), 1.0 / power));
    }
    draws.push_back(busiest(apportion(weights, copies, load.tokens), load.expert_parallel));
  }
  std::sort(draws.begin(), draws.end(), [](const auto& a, const auto& b) {
    return std::accumulate(a.begin(), a.end(), std::int64_t{0}) < std::accumulate(b.begin(), b.end(), std::int64_t{0});
  });
  return draws[draws.size() / 2];
}

}  // namespace

const std::vector<std::int64_t>& ExpertRows::of(const RoutedLoad& load) {
  auto [found, added] = known_.try_emplace(load);
  if (added) {
    found->second = load.exponent > 0.0 ? power_law(load) : balanced(load);
  }
  return found->second;
}

}  // namespace moesim
