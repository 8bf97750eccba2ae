#include "workloads/routing/group_design.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <numeric>

#include "sim/core/error.hpp"

namespace moesim {

namespace {

/// α = clamp(c·share, least, 1) with Σα = count, c by bisection.
std::vector<double> target_inclusion(std::span<const double> shares, std::span<const double> least, std::size_t count) {
  constexpr double kNearlyOne = 1.0 - 1e-7;  // odds stay finite
  constexpr double kNearlyZero = 1e-9;
  std::vector<double> alpha(shares.size());
  const auto fill = [&](double scale) {
    for (std::size_t g = 0; g < shares.size(); ++g) {
      alpha[g] = std::clamp(scale * shares[g], std::clamp(least[g], kNearlyZero, kNearlyOne), kNearlyOne);
    }
    return std::accumulate(alpha.begin(), alpha.end(), 0.0);
  };
  double low = 0.0;
  double high = 1.0;
  constexpr int kDoublings = 60;
  for (int i = 0; i < kDoublings && fill(high) < static_cast<double>(count); ++i) {
    high *= 2.0;
  }
  constexpr int kHalvings = 80;
  for (int i = 0; i < kHalvings; ++i) {
    const double middle = 0.5 * (low + high);
    (fill(middle) < static_cast<double>(count) ? low : high) = middle;
  }
  fill(high);
  return alpha;
}

/// e_m(v), the sum over all sets of m groups of the product of their odds, for m = 0 .. count, leaving one out.
std::vector<double> symmetric_sums(std::span<const double> odds, std::size_t count, std::size_t without) {
  std::vector<double> sums(count + 1, 0.0);
  sums[0] = 1.0;
  for (std::size_t g = 0; g < odds.size(); ++g) {
    if (g != without) {
      for (std::size_t m = count; m > 0; --m) {
        sums[m] += odds[g] * sums[m - 1];
      }
    }
  }
  return sums;
}

}  // namespace

GroupDesign::GroupDesign(std::span<const double> shares, std::span<const double> least, std::size_t per_token)
    : per_token_(per_token) {
  const std::size_t groups = shares.size();
  ensure(per_token > 0 && per_token < groups && groups <= kMostGroups && per_token <= kMostGroupsPerToken,
         "a limit on groups that are not too many");
  const std::vector<double> target = target_inclusion(shares, least, per_token);
  odds_.resize(groups);
  inclusion_.resize(groups);
  for (std::size_t g = 0; g < groups; ++g) {
    odds_[g] = target[g] / (1.0 - target[g]);
  }
  // Fixed point of v_g = target odds × (odds at v = 1 given the others): Chen, Dempster and Liu 1994.
  constexpr int kIterations = 200;
  constexpr double kEnough = 1e-10;
  for (int iteration = 0; iteration < kIterations; ++iteration) {
    double worst = 0.0;
    for (std::size_t g = 0; g < groups; ++g) {
      const std::vector<double> others = symmetric_sums(odds_, per_token, g);
      const double with = others[per_token - 1];
      const double without = others[per_token];
      inclusion_[g] = odds_[g] * with / (odds_[g] * with + without);
      worst = std::max(worst, std::abs(inclusion_[g] - target[g]));
      odds_[g] = target[g] / (1.0 - target[g]) * without / with;
    }
    if (worst < kEnough) {
      break;
    }
  }
  const double total = symmetric_sums(odds_, per_token, groups).back();
  const double scale = std::pow(total, -1.0 / static_cast<double>(per_token));
  for (double& odds : odds_) {
    odds *= scale;
  }

  // Sums over the groups from g on tell how likely g is taken when `needed` of them are.
  include_.assign(groups * (per_token + 1), 0.0);
  std::vector<double> after(per_token + 1, 0.0);
  after[0] = 1.0;
  for (std::size_t g = groups; g > 0; --g) {
    std::vector<double> from = after;
    for (std::size_t m = 1; m <= per_token; ++m) {
      from[m] += odds_[g - 1] * after[m - 1];
      include_[(g - 1) * (per_token + 1) + m] = from[m] > 0.0 ? odds_[g - 1] * after[m - 1] / from[m] : 0.0;
    }
    after = std::move(from);
  }
  list_sets();
}

void GroupDesign::list_sets() {
  constexpr std::size_t kMostToTry = 16;
  constexpr std::size_t kMostSets = 4096;
  if (odds_.size() > kMostToTry) {
    return;
  }
  std::vector<double> weights;
  for (std::uint64_t set = 0; set < std::uint64_t{1} << odds_.size(); ++set) {
    if (static_cast<std::size_t>(std::popcount(set)) == per_token_) {
      double product = 1.0;
      for (std::size_t g = 0; g < odds_.size(); ++g) {
        product *= (set >> g & 1) != 0 ? odds_[g] : 1.0;
      }
      sets_.push_back(set);
      weights.push_back(product);
    }
  }
  if (sets_.size() > kMostSets) {
    sets_.clear();
    return;
  }
  std::vector<ExpertIndex> order(sets_.size());
  std::iota(order.begin(), order.end(), ExpertIndex{0});
  table_ = CumulativeTable(weights, order);
}

std::uint64_t GroupDesign::draw(double u) const {
  if (!sets_.empty()) {
    return sets_[table_.at(u)];
  }
  std::uint64_t taken = 0;
  std::size_t needed = per_token_;
  for (std::size_t g = 0; g < odds_.size() && needed > 0; ++g) {
    const bool all = odds_.size() - g == needed;
    const double p = all ? 1.0 : include(g, needed);
    if (u < p) {
      taken |= std::uint64_t{1} << g;
      --needed;
      u /= p;  // what is left of u is uniform again
    } else {
      u = (u - p) / (1.0 - p);
    }
  }
  return taken;
}

}  // namespace moesim
