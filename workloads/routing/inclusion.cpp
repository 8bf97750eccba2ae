#include "workloads/routing/inclusion.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

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
        most_odds_(k > 1 ? std::exp(kLostDigits / static_cast<double>(k - 1)) : kInfinity),
        arrived_(weights.size()),
        laws_(groups_) {}

  /// The chance that fewer than k items of the chosen groups have arrived at t.
  double unfinished(double t) {
    arrive(t);
    const Law law = all();
    double sum = 0.0;
    for (const double p : law) {
      sum += p;
    }
    return sum;
  }

  /// Adds weight·w_e·e^{−w_e t}·P(e's group is chosen, at most k−1 others arrive before t) to each item's sum.
  void add(const TimePoint& point, std::span<double> sums) {
    arrive(point.time);
    Laws all_others = others();
    for (std::size_t g = 0; g < groups_; ++g) {
      Law& within = all_others[g];  // of the other groups, jointly with g being chosen
      for (std::size_t n = 1; n < k_; ++n) {
        within[n] += within[n - 1];
      }
      for (std::size_t first = g * size_; first < (g + 1) * size_; first += kLanes) {
        const std::size_t count = std::min(kLanes, (g + 1) * size_ - first);
        const Lanes few = few_others(g, first, count, within);
        for (std::size_t i = 0; i < count; ++i) {
          const std::size_t e = first + i;
          sums[e] += weights_[e] > 0.0 ? point.weight * weights_[e] * (1.0 - arrived_[e]) * few[i] : 0.0;
        }
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

  /// Laws of arrivals by the number of groups chosen so far.
  using Laws = std::vector<Law>;

  [[nodiscard]] Laws none_chosen() const {
    Laws laws(design_ == nullptr ? 1 : design_->per_token() + 1, Law(k_, 0.0));
    laws[0][0] = 1.0;
    return laws;
  }

  /// Group h is chosen or not.
  void add_group(Laws& laws, std::size_t h) const {
    for (std::size_t m = laws.size() - 1; m > 0; --m) {
      add_product(laws[m - 1], laws_[h], design_->odds()[h], laws[m]);
    }
  }

  void add_product(const Law& a, const Law& b, double factor, Law& sum) const {
    for (std::size_t n = 0; n < k_; ++n) {
      double product = 0.0;
      for (std::size_t i = 0; i <= n; ++i) {
        product += a[i] * b[n - i];
      }
      sum[n] += factor * product;
    }
  }

  /// Σ over sets of groups of the set's probability times the law of arrivals in them.
  [[nodiscard]] Law all() const {
    if (design_ == nullptr) {
      return laws_[0];
    }
    Laws laws = none_chosen();
    for (std::size_t h = 0; h < groups_; ++h) {
      add_group(laws, h);
    }
    return laws.back();
  }

  /// By group: the same over the sets with that group in them, of arrivals in their other groups. What groups before
  /// it and behind it may bring is multiplied, each found in one pass.
  [[nodiscard]] Laws others() const {
    if (design_ == nullptr) {
      Law none(k_, 0.0);
      none[0] = 1.0;
      return {none};
    }
    const std::size_t chosen = design_->per_token();
    std::vector<Laws> behind(groups_, none_chosen());
    for (std::size_t g = groups_ - 1; g > 0; --g) {
      behind[g - 1] = behind[g];
      add_group(behind[g - 1], g);
    }
    Laws before = none_chosen();
    Laws others(groups_, Law(k_, 0.0));
    for (std::size_t g = 0; g < groups_; ++g) {
      for (std::size_t m = 0; m < chosen; ++m) {
        add_product(before[m], behind[g][chosen - 1 - m], design_->odds()[g], others[g]);
      }
      add_group(before, g);
    }
    return others;
  }

  /// Items that are worked on side by side.
  static constexpr std::size_t kLanes = 8;
  using Lanes = std::array<double, kLanes>;

  /// By item of group g from `first` on: the chance that at most k−1 others arrive, of which those of other groups
  /// have the distribution `within`. The law of group g's arrivals without the item is division by (1−p) + p·z, which
  /// loses (p/(1−p))^n digits; where that is too many, the product is built anew.
  Lanes few_others(std::size_t g, std::size_t first, std::size_t count, const Law& within) const {
    Lanes p{};
    std::copy_n(arrived_.begin() + static_cast<std::ptrdiff_t>(first), count, p.begin());
    Lanes few{};
    Lanes rest{};  // that n others of the group arrive
    for (std::size_t n = 0; n < k_; ++n) {
      for (std::size_t i = 0; i < kLanes; ++i) {
        rest[i] = (laws_[g][n] - p[i] * rest[i]) / (1.0 - p[i]);
        few[i] += rest[i] * within[k_ - 1 - n];
      }
    }
    for (std::size_t i = 0; i < count; ++i) {
      if (!(p[i] < 1.0 && p[i] / (1.0 - p[i]) <= most_odds_)) {
        few[i] = few_anew(g, first + i, within);
      }
    }
    return few;
  }

  double few_anew(std::size_t g, std::size_t e, const Law& within) const {
    Law rest(k_, 0.0);
    rest[0] = 1.0;
    for (std::size_t other = g * size_; other < (g + 1) * size_; ++other) {
      if (other != e && arrived_[other] > 0.0) {
        add_item(rest, arrived_[other]);
      }
    }
    double few = 0.0;
    for (std::size_t n = 0; n < k_; ++n) {
      few += rest[n] * within[k_ - 1 - n];
    }
    return few;
  }

  static constexpr double kLostDigits = 18.0;  ///< natural log: e^18 ≈ 7e7 of 1e16
  static constexpr double kInfinity = std::numeric_limits<double>::infinity();

  std::span<const double> weights_;
  std::size_t k_;
  const GroupDesign* design_;
  std::size_t groups_;
  std::size_t size_;
  double most_odds_;  ///< p/(1−p) up to which leaving an item out loses no more than that
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
