#include "validate/fit/expert_rows.hpp"

#include <algorithm>
#include <cmath>
#include <functional>
#include <numeric>
#include <span>

#include "sim/core/random.hpp"

namespace moesim {
namespace {

constexpr std::uint64_t kDraws = 16;

std::vector<std::int64_t> balanced(const RoutedLoad& load) {
  const std::int64_t stride = (load.experts + load.experts_per_token - 1) / load.experts_per_token;
  std::vector<std::int64_t> counts(static_cast<std::size_t>(load.experts));
  for (std::int64_t token = 0; token < load.tokens; ++token) {
    const std::int64_t start = load.tokens >= stride ? token : token * stride / load.tokens;
    for (std::int64_t copy = 0; copy < load.experts_per_token; ++copy) {
      ++counts[static_cast<std::size_t>((start + copy * stride) % load.experts)];
    }
  }
  counts.resize(static_cast<std::size_t>(load.experts / load.expert_parallel));
  return counts;
}

enum class Settle { kGive, kTake };

/// One copy to the least loaded expert of each rank in turn, or from the most loaded, until `copies` are settled.
void settle(std::vector<std::int64_t>& counts, std::int64_t ranks, std::int64_t copies, std::int64_t most, Settle how) {
  if (copies == 0) {
    return;
  }
  const auto local = static_cast<std::ptrdiff_t>(counts.size()) / ranks;
  const std::int64_t step = how == Settle::kGive ? 1 : -1;
  // Each rank's experts as a heap with the next one to change in front.
  const auto later = [step](std::int64_t a, std::int64_t b) { return step * a > step * b; };
  for (auto at = counts.begin(); at != counts.end(); at += local) {
    std::make_heap(at, at + local, later);
  }
  for (bool moved = true; copies > 0 && moved;) {
    moved = false;
    for (auto at = counts.begin(); at != counts.end() && copies > 0; at += local) {
      if (*at + step <= most && *at + step >= 0) {
        std::pop_heap(at, at + local, later);
        *(at + local - 1) += step;
        std::push_heap(at, at + local, later);
        --copies;
        moved = true;
      }
    }
  }
}

std::span<const std::int64_t> busiest(const std::vector<std::int64_t>& counts, std::int64_t ranks) {
  const std::size_t local = counts.size() / static_cast<std::size_t>(ranks);
  std::span<const std::int64_t> best;
  std::int64_t most = -1;
  for (std::size_t at = 0; at < counts.size(); at += local) {
    const std::span<const std::int64_t> rank(counts.data() + at, local);
    const std::int64_t sum = std::accumulate(rank.begin(), rank.end(), std::int64_t{0});
    if (sum > most) {
      most = sum;
      best = rank;
    }
  }
  return best;
}

/// Copies of every expert in one draw.
std::vector<std::int64_t> drawn(const RoutedLoad& load, std::uint64_t draw) {
  const std::int64_t copies = load.tokens * load.experts_per_token;
  const bool many = copies > load.experts;
  const double low = many ? 1.0 : 0.01;
  const double high = many ? std::max(1.5, 0.8 * static_cast<double>(load.tokens)) : 2.0;
  const double power = 1.0 - load.exponent;
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
  const double sum = std::accumulate(weights.begin(), weights.end(), 0.0);
  std::vector<std::int64_t> counts;
  std::int64_t beyond = 0;
  for (const double weight : weights) {
    const auto share = static_cast<std::int64_t>(std::nearbyint(weight / sum * static_cast<double>(copies)));
    counts.push_back(std::min(share, load.tokens));
    beyond += share - counts.back();
  }
  settle(counts, load.expert_parallel, beyond, load.tokens, Settle::kGive);
  const std::int64_t missing = copies - std::accumulate(counts.begin(), counts.end(), std::int64_t{0});
  settle(counts, load.expert_parallel, std::abs(missing), load.tokens, missing > 0 ? Settle::kGive : Settle::kTake);
  return counts;
}

/// Whole numbers that add up to the nearest of the sum of `values`, none further than 1 from its own: each is the step
/// of the rounded running sum.
std::vector<std::int64_t> whole(const std::vector<double>& values) {
  std::vector<std::int64_t> out;
  double sum = 0.0;
  std::int64_t given = 0;
  for (const double value : values) {
    sum += value;
    out.push_back(std::llround(sum) - given);
    given += out.back();
  }
  return out;
}

std::vector<std::int64_t> power_law(const RoutedLoad& load) {
  std::vector<double> means(static_cast<std::size_t>(load.experts / load.expert_parallel));
  for (std::uint64_t draw = 0; draw < kDraws; ++draw) {
    const std::vector<std::int64_t> counts = drawn(load, draw);
    const auto rank = busiest(counts, load.expert_parallel);
    std::vector<std::int64_t> rows(rank.begin(), rank.end());
    std::sort(rows.begin(), rows.end(), std::greater<>());
    for (std::size_t i = 0; i < rows.size(); ++i) {
      means[i] += static_cast<double>(rows[i]) / static_cast<double>(kDraws);
    }
  }
  return whole(means);
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
