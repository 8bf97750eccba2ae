#include "workloads/routing/inclusion.hpp"

#include <algorithm>
#include <array>
#include <cmath>

#include "sim/core/error.hpp"

namespace moesim {

namespace {

/// Coefficients of a truncated generating function Σ_n P(n arrivals) z^n, n < k.
using Law = std::vector<double>;

void add_item(Law& law, double p) {
  for (std::size_t n = law.size(); n > 1; --n) {
    law[n - 1] = law[n - 1] * (1.0 - p) + law[n - 2] * p;
  }
  law[0] *= 1.0 - p;
}

/// Gauss–Legendre nodes and weights on [−1, 1], 8 points (Abramowitz and Stegun, table 25.4).
constexpr std::array<double, 4> kNode = {0.1834346424956498, 0.5255324099163290, 0.7966664774136267,
                                         0.9602898564975363};
constexpr std::array<double, 4> kWeight = {0.3626837833783620, 0.3137066458778873, 0.2223810344533745,
                                           0.1012285362903763};

struct TimePoint {
  double time;
  double weight;
};

/// How many arrive before t, and the parts of π_e that times near t contribute.
class Integrand {
 public:
  Integrand(std::span<const double> weights, std::size_t k, const GroupDesign* design)
      : weights_(weights),
        k_(k),
        design_(design),
        groups_(design == nullptr ? 1 : design->odds().size()),
        size_(weights.size() / groups_),
        arrived_(weights.size()),
        laws_(groups_) {}

  /// The chance that fewer than k items of the chosen groups have arrived at t.
  double unfinished(double t) {
    arrive(t);
    const Law law = others(groups_);
    double sum = 0.0;
    for (const double p : law) {
      sum += p;
    }
    return sum;
  }

  /// Adds weight·w_e·e^{−w_e t}·P(e's group is chosen, at most k−1 others arrive before t) to each item's sum.
  void add(const TimePoint& point, std::span<double> sums) {
    arrive(point.time);
    Law rest(k_);
    for (std::size_t g = 0; g < groups_; ++g) {
      Law within = others(g);  // of the other groups, jointly with g being chosen
      for (std::size_t n = 1; n < k_; ++n) {
        within[n] += within[n - 1];
      }
      for (std::size_t e = g * size_; e < (g + 1) * size_; ++e) {
        if (weights_[e] <= 0.0) {
          continue;
        }
        leave_out(g, e, rest);
        double few = 0.0;
        for (std::size_t n = 0; n < k_; ++n) {
          few += rest[n] * within[k_ - 1 - n];
        }
        sums[e] += point.weight * weights_[e] * (1.0 - arrived_[e]) * few;
      }
    }
  }

 private:
  void arrive(double t) {
    for (std::size_t g = 0; g < groups_; ++g) {
      laws_[g].assign(k_, 0.0);
      laws_[g][0] = 1.0;
      for (std::size_t e = g * size_; e < (g + 1) * size_; ++e) {
        arrived_[e] = -std::expm1(-weights_[e] * t);
        if (arrived_[e] > 0.0) {
          add_item(laws_[g], arrived_[e]);
        }
      }
    }
  }

  /// Σ over sets of groups with `group` in them (any sets, where `group` is none) of the set's probability times the
  /// law of arrivals in its other groups.
  [[nodiscard]] Law others(std::size_t group) const {
    if (design_ == nullptr) {
      if (group < groups_) {
        Law none(k_, 0.0);
        none[0] = 1.0;
        return none;
      }
      return laws_[0];
    }
    const std::size_t wanted = design_->per_token() - (group < groups_ ? 1 : 0);
    std::vector<Law> sums(wanted + 1, Law(k_, 0.0));
    sums[0][0] = group < groups_ ? design_->odds()[group] : 1.0;
    for (std::size_t h = 0; h < groups_; ++h) {
      if (h == group) {
        continue;
      }
      for (std::size_t m = wanted; m > 0; --m) {
        for (std::size_t n = 0; n < k_; ++n) {
          double product = 0.0;
          for (std::size_t i = 0; i <= n; ++i) {
            product += sums[m - 1][i] * laws_[h][n - i];
          }
          sums[m][n] += design_->odds()[h] * product;
        }
      }
    }
    return sums[wanted];
  }

  /// The law of group g's arrivals without item e: division by (1−p) + p·z, which loses (p/(1−p))^n digits; where
  /// that is too many, the product is built anew.
  void leave_out(std::size_t g, std::size_t e, Law& rest) const {
    const double p = arrived_[e];
    constexpr double kLostDigits = 18.0;  // natural log: e^18 ≈ 7e7 of 1e16
    const double loss = static_cast<double>(k_ - 1) * std::log(p / (1.0 - p));
    if (p < 1.0 && !(loss > kLostDigits)) {
      rest[0] = laws_[g][0] / (1.0 - p);
      for (std::size_t n = 1; n < k_; ++n) {
        rest[n] = (laws_[g][n] - p * rest[n - 1]) / (1.0 - p);
      }
      return;
    }
    std::fill(rest.begin(), rest.end(), 0.0);
    rest[0] = 1.0;
    for (std::size_t other = g * size_; other < (g + 1) * size_; ++other) {
      if (other != e && arrived_[other] > 0.0) {
        add_item(rest, arrived_[other]);
      }
    }
  }

  std::span<const double> weights_;
  std::size_t k_;
  const GroupDesign* design_;
  std::size_t groups_;
  std::size_t size_;
  std::vector<double> arrived_;
  std::vector<Law> laws_;
};

/// The time by which about k of the items of the chosen groups have arrived in the mean: Σ_e (1 − e^{−w_e t}) over all
/// groups equal to k·groups/chosen, half an item less so that it is reached even where k is all there are.
double typical_time(std::span<const double> weights, std::size_t k, const GroupDesign* groups) {
  const double part =
      groups == nullptr ? 1.0 : static_cast<double>(groups->per_token()) / static_cast<double>(groups->odds().size());
  const auto items =
      static_cast<double>(std::count_if(weights.begin(), weights.end(), [](double w) { return w > 0.0; }));
  ensure(items > 0.0, "an item with a weight");
  const double wanted = std::min((static_cast<double>(k) - 0.5) / part, items - 0.5);
  const auto arrived = [&](double t) {
    double sum = 0.0;
    for (const double weight : weights) {
      sum -= std::expm1(-weight * t);
    }
    return sum;
  };
  double low = 0.0;
  double high = 1.0;
  constexpr int kDoublings = 200;
  for (int i = 0; i < kDoublings && arrived(high) < wanted; ++i) {
    low = high;
    high *= 2.0;
  }
  constexpr int kHalvings = 8;  // only the panels hang on it
  for (int i = 0; i < kHalvings || low == 0.0; ++i) {
    const double middle = 0.5 * (low + high);
    (arrived(middle) < wanted ? low : high) = middle;
  }
  return high;
}

/// Panels that are fine where light and heavy items differ, up to the time when k have surely arrived. `unit` is the
/// time by which that is so in the mean.
std::vector<TimePoint> time_points(Integrand& integrand, double unit) {
  constexpr double kFirst = 0.08;
  constexpr double kRatio = 3.0;
  constexpr double kFinished = 1e-7;
  constexpr int kMostPanels = 40;
  std::vector<TimePoint> points;
  double from = 0.0;
  double to = kFirst;
  for (int panel = 0; panel < kMostPanels; ++panel) {
    const double middle = 0.5 * (from + to);
    const double half = 0.5 * (to - from);
    for (std::size_t i = 0; i < kNode.size(); ++i) {
      points.push_back({unit * (middle - half * kNode[i]), unit * half * kWeight[i]});
      points.push_back({unit * (middle + half * kNode[i]), unit * half * kWeight[i]});
    }
    if (integrand.unfinished(unit * to) < kFinished) {
      break;
    }
    from = to;
    to = to < 0.5 ? to * kRatio : to + std::max(0.7, 0.5 * to);
  }
  return points;
}

}  // namespace

std::vector<double> successive_inclusion(std::span<const double> weights, std::size_t k, const GroupDesign* groups) {
  ensure(k > 0 && k <= weights.size(), "as many items to draw as there are, at most");
  Integrand integrand(weights, k, groups);
  std::vector<double> inclusion(weights.size(), 0.0);
  for (const TimePoint& point : time_points(integrand, typical_time(weights, k, groups))) {
    integrand.add(point, inclusion);
  }
  return inclusion;
}

CalibratedWeights calibrate_weights(std::span<const double> inclusion, std::size_t k, const GroupDesign* groups,
                                    double tolerance) {
  constexpr double kMost = 1.0 - 1e-9;  // keeps the weight of an item that is always drawn finite
  constexpr int kIterations = 40;
  const std::size_t group_size = groups == nullptr ? inclusion.size() : inclusion.size() / groups->odds().size();
  CalibratedWeights result;
  std::vector<double>& weights = result.weights;
  // Within a chosen group the chance is π/α; the logarithm of that starts near the solution.
  const auto rate = [&](std::size_t e, double p) {
    const double alpha = groups == nullptr ? 1.0 : groups->inclusion()[e / group_size];
    return -std::log1p(-std::min(p / alpha, kMost));
  };
  for (std::size_t e = 0; e < inclusion.size(); ++e) {
    weights.push_back(inclusion[e] > 0.0 ? rate(e, inclusion[e]) : 0.0);
  }
  std::vector<double> best;
  for (int iteration = 0; iteration < kIterations; ++iteration) {
    const std::vector<double> now = successive_inclusion(weights, k, groups);
    double worst = 0.0;
    for (std::size_t e = 0; e < inclusion.size(); ++e) {
      if (inclusion[e] > 0.0) {
        worst = std::max(worst, std::abs(now[e] / inclusion[e] - 1.0));
      }
    }
    if (best.empty() || worst < result.worst_deviation) {
      best = weights;
      result.worst_deviation = worst;
    }
    if (worst < tolerance) {
      break;
    }
    for (std::size_t e = 0; e < inclusion.size(); ++e) {
      if (inclusion[e] > 0.0) {
        weights[e] *= rate(e, inclusion[e]) / rate(e, now[e]);
      }
    }
  }
  weights = std::move(best);
  return result;
}

}  // namespace moesim
