#include "workloads/routing/point_table.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "sim/core/error.hpp"

namespace moesim {

PointTable::PointTable(std::span<const double> inclusion, std::size_t k, std::size_t points, RandomStream& random)
    : k_(k), points_(points) {
  ensure(points > 0 && inclusion.size() >= k, "points, and experts enough for each");
  std::vector<std::size_t> times(inclusion.size());
  std::vector<double> rest(inclusion.size());
  const auto n = static_cast<double>(points);
  for (std::size_t e = 0; e < inclusion.size(); ++e) {
    constexpr double kRounding = 1e-9;
    times[e] = static_cast<std::size_t>(std::min(n, std::floor(inclusion[e] * n + kRounding)));
    rest[e] = std::max(0.0, inclusion[e] * n - static_cast<double>(times[e]));
  }
  deal(times, random);
  mix(random);
  std::vector<ExpertIndex> order(inclusion.size());
  std::iota(order.begin(), order.end(), ExpertIndex{0});
  rest_ = CumulativeTable(rest_weights(rest), order);
}

/// Weights w by which free slots draw so that expert e is drawn by rest_e points in the mean. Point p, with f_p free
/// slots, draws none that it has: R_e = w_e·Σ_{p without e} f_p/(W − W_p), W all weights and W_p those of its own; as
/// if its slots were drawn one by one from all others. Iterates w_e ← w_e·rest_e/R_e.
std::vector<double> PointTable::rest_weights(std::span<const double> rest) const {
  const std::vector<double> alike(rest.size(), 1.0);  // where no slot is free, but for rounding
  std::vector<double> weights(rest.begin(), rest.end());
  constexpr int kRounds = 20;
  for (int round = 0; round < kRounds; ++round) {
    const double all = std::accumulate(weights.begin(), weights.end(), 0.0);
    if (all <= 0.0) {
      return alike;
    }
    double slots = 0.0;
    std::vector<double> own(rest.size(), 0.0);  // slots of points that have the expert already
    for (std::size_t point = 0; point < points_; ++point) {
      const auto decided = std::span(experts_).subspan(point * k_, decided_[point]);
      double of_point = 0.0;
      for (const ExpertIndex expert : decided) {
        of_point += weights[expert];
      }
      constexpr double kLeast = 1e-6;  // of all: a point that has nearly everything that is left
      const double each = static_cast<double>(k_ - decided_[point]) / std::max(all - of_point, kLeast * all);
      slots += each;
      for (const ExpertIndex expert : decided) {
        own[expert] += each;
      }
    }
    for (std::size_t e = 0; e < rest.size(); ++e) {
      const double drawn = weights[e] * (slots - own[e]);
      weights[e] = drawn > 0.0 ? weights[e] * rest[e] / drawn : 0.0;
    }
  }
  return std::accumulate(weights.begin(), weights.end(), 0.0) > 0.0 ? weights : alike;
}

/// All places of all experts in a row, expert after expert, dealt to the points in turn: as no expert has more places
/// than there are points, none comes to a point twice.
void PointTable::deal(std::span<const std::size_t> times, RandomStream& random) {
  std::vector<ExpertIndex> order(times.size());
  std::iota(order.begin(), order.end(), ExpertIndex{0});
  random.shuffle(std::span(order));
  experts_.assign(points_ * k_, 0);
  decided_.assign(points_, 0);
  std::size_t place = 0;
  for (const ExpertIndex expert : order) {
    for (std::size_t i = 0; i < times[expert] && place < points_ * k_; ++i, ++place) {
      const std::size_t point = place % points_;
      row(point)[decided_[point]++] = expert;
    }
  }
  free_share_ = 1.0 - static_cast<double>(place) / static_cast<double>(points_ * k_);
}

/// Random exchanges between points that keep how often each expert stands there, and none twice at a point: after a few
/// for each place nothing is left of the order in which they were dealt.
void PointTable::mix(RandomStream& random) {
  constexpr std::size_t kExchanges = 4;
  for (std::size_t i = 0; i < kExchanges * points_ * k_; ++i) {
    const std::size_t one = random.below(points_);
    const std::size_t other = random.below(points_);
    if (one == other || decided_[one] == 0 || decided_[other] == 0) {
      continue;
    }
    const auto mine = row(one).first(decided_[one]);
    const auto theirs = row(other).first(decided_[other]);
    ExpertIndex& a = mine[random.below(mine.size())];
    ExpertIndex& b = theirs[random.below(theirs.size())];
    if (!ExpertSampler::contains(mine, b) && !ExpertSampler::contains(theirs, a)) {
      std::swap(a, b);
    }
  }
}

void PointTable::choose(std::size_t point, double shared, const ExpertSampler& sampler, HalfWords& random,
                        std::span<ExpertIndex> out) const {
  // All slots or none: what is drawn beside some that follow would have to be distinct from them, and be more rarely
  // popular for it.
  if (shared < 1.0 && random.uniform() >= shared) {
    sampler.draw(random, out);
    return;
  }
  const auto decided = std::span(experts_).subspan(point * k_, decided_[point]);
  std::size_t count = decided.size();
  std::copy(decided.begin(), decided.end(), out.begin());
  for (; count < out.size(); ++count) {
    constexpr int kTries = 32;
    int tries = 0;
    do {
      out[count] = rest_.at(random.uniform());
    } while (ExpertSampler::contains(out.first(count), out[count]) && ++tries < kTries);
    if (tries == kTries) {
      out[count] = sampler.draw_another(random, {}, out.first(count));
    }
  }
}

}  // namespace moesim
