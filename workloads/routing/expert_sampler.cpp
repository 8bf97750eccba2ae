#include "workloads/routing/expert_sampler.hpp"

#include <algorithm>
#include <bit>
#include <limits>
#include <numeric>

#include "sim/core/error.hpp"
#include "workloads/routing/inclusion.hpp"

namespace moesim {

namespace {

/// Groups with an expert that is ever chosen. A layer that uses no more than a token may visit is not limited.
std::size_t groups_used(std::span<const double> inclusion, GroupLimit limit) {
  std::vector<bool> used(limit.groups, false);
  for (std::size_t e = 0; e < inclusion.size(); ++e) {
    if (inclusion[e] > 0.0) {
      used[e * limit.groups / inclusion.size()] = true;
    }
  }
  return static_cast<std::size_t>(std::count(used.begin(), used.end(), true));
}

}  // namespace

ExpertSampler::ExpertSampler(std::span<const double> inclusion, std::size_t k, GroupLimit limit,
                             std::span<const ExpertIndex> order)
    : limited_(limit.limits() && groups_used(inclusion, limit) > limit.per_token),
      group_size_(inclusion.size() / limit.groups) {
  ensure(k > 0 && k <= inclusion.size(), "k experts of those there are");
  ensure(inclusion.size() % limit.groups == 0 && group_size_ * limit.per_token >= k, "groups that hold k experts");
  if (limited_) {
    std::vector<double> shares(limit.groups, 0.0);
    std::vector<double> least(limit.groups, 0.0);
    for (std::size_t e = 0; e < inclusion.size(); ++e) {
      shares[e / group_size_] += inclusion[e];
      least[e / group_size_] = std::max(least[e / group_size_], inclusion[e]);
    }
    for (std::size_t g = 0; g < limit.groups; ++g) {
      // π_e ≤ α_g, and a group gives at most all its experts; a little room keeps the weights finite.
      constexpr double kRoom = 1.02;
      least[g] = kRoom * std::max(least[g], shares[g] / static_cast<double>(std::min(k, group_size_)));
    }
    design_ = GroupDesign(shares, least, limit.per_token);
  }
  constexpr double kTolerance = 2e-4;  // far below what a million tokens could tell
  CalibratedWeights calibrated = calibrate_weights(inclusion, k, limited_ ? &design_ : nullptr, kTolerance);
  weights_ = std::move(calibrated.weights);
  worst_deviation_ = calibrated.worst_deviation;
  std::vector<ExpertIndex> plain(inclusion.size());
  std::iota(plain.begin(), plain.end(), ExpertIndex{0});
  const std::span<const ExpertIndex> everyone = order.empty() ? plain : order;
  const std::size_t tables = limited_ ? limit.groups : 1;
  const std::size_t size = inclusion.size() / tables;
  for (std::size_t g = 0; g < tables; ++g) {
    std::vector<ExpertIndex> members;
    for (const ExpertIndex expert : everyone) {
      if (expert / size == g) {
        members.push_back(static_cast<ExpertIndex>(expert - g * size));
      }
    }
    std::vector<double> weights(weights_.begin() + static_cast<std::ptrdiff_t>(g * size),
                                weights_.begin() + static_cast<std::ptrdiff_t>((g + 1) * size));
    double total = std::accumulate(weights.begin(), weights.end(), 0.0);
    if (total <= 0.0) {  // a group that is never needed still has experts, should it be drawn
      std::fill(weights.begin(), weights.end(), std::numeric_limits<double>::min());
      total = std::accumulate(weights.begin(), weights.end(), 0.0);
    }
    tables_.emplace_back(weights, members);
    group_weights_.push_back(total);
  }
}

ExpertSampler::Pool ExpertSampler::pool_at(double u) const {
  Pool pool;
  if (!limited_) {
    return pool;
  }
  double sum = 0.0;
  for (std::uint64_t groups = design_.draw(u); groups != 0; groups &= groups - 1) {
    const auto group = static_cast<std::size_t>(std::countr_zero(groups));
    sum += group_weights_[group];
    pool.group[pool.count] = static_cast<std::uint8_t>(group);
    pool.edge[++pool.count] = sum;
  }
  return pool;
}

ExpertIndex ExpertSampler::draw_another(HalfWords& random, const Pool& pool,
                                        std::span<const ExpertIndex> chosen) const {
  constexpr int kTries = 64;
  for (int i = 0; i < kTries; ++i) {
    const ExpertIndex expert = expert_at(pool, random.uniform());
    if (!contains(chosen, expert)) {
      return expert;
    }
  }
  // Little is left to choose from: the same law by one pass over the pool.
  double total = 0.0;
  std::vector<ExpertIndex> left;
  for (std::size_t i = 0; i < std::max<std::size_t>(pool.count, 1); ++i) {
    const std::size_t size = pool.count == 0 ? weights_.size() : group_size_;
    const std::size_t from = pool.count == 0 ? 0 : pool.group[i] * group_size_;
    for (std::size_t e = from; e < from + size; ++e) {
      if (!contains(chosen, static_cast<ExpertIndex>(e))) {
        left.push_back(static_cast<ExpertIndex>(e));
        total += weights_[e];
      }
    }
  }
  ensure(!left.empty(), "an expert left to choose");
  double u = random.uniform() * total;
  for (const ExpertIndex expert : left) {
    u -= weights_[expert];
    if (u < 0.0) {
      return expert;
    }
  }
  return left[static_cast<std::size_t>(random.uniform() * static_cast<double>(left.size()))];  // none has any weight
}

void ExpertSampler::draw(HalfWords& random, std::span<ExpertIndex> out) const {
  const Pool pool = limited_ ? pool_at(random.uniform()) : Pool{};
  for (std::size_t slot = 0; slot < out.size(); ++slot) {
    out[slot] = draw_another(random, pool, out.first(slot));
  }
}

std::vector<double> inclusion_from_loads(std::span<const double> loads, std::size_t k) {
  std::vector<double> inclusion(loads.begin(), loads.end());
  std::vector<std::size_t> open(loads.size());
  std::iota(open.begin(), open.end(), std::size_t{0});
  double left = static_cast<double>(k);
  while (!open.empty()) {
    double total = 0.0;
    for (const std::size_t e : open) {
      total += loads[e];
    }
    const auto full = [&](std::size_t e) { return total <= 0.0 || loads[e] * left >= total; };
    const auto kept = std::partition(open.begin(), open.end(), [&](std::size_t e) { return !full(e); });
    if (kept == open.end()) {
      for (const std::size_t e : open) {
        inclusion[e] = loads[e] * left / total;
      }
      break;
    }
    if (total <= 0.0) {  // fewer than k experts have any load: the others share the rest alike
      for (const std::size_t e : open) {
        inclusion[e] = std::min(1.0, left / static_cast<double>(open.size()));
      }
      break;
    }
    for (auto e = kept; e != open.end(); ++e) {
      inclusion[*e] = 1.0;
      left -= 1.0;
    }
    open.erase(kept, open.end());
  }
  return inclusion;
}

std::vector<double> inclusion_from_loads(const std::vector<std::vector<double>>& loads, std::size_t k) {
  std::vector<double> inclusion;
  for (const std::vector<double>& layer : loads) {
    const std::vector<double> row = inclusion_from_loads(std::span(layer), k);
    inclusion.insert(inclusion.end(), row.begin(), row.end());
  }
  return inclusion;
}

}  // namespace moesim
