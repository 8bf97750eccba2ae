#include "workloads/routing/point_table.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "sim/core/error.hpp"

namespace moesim {

PointTable::PointTable(std::span<const double> inclusion, std::size_t k, std::size_t points, double shared,
                       RandomStream& random)
    : k_(k), points_(points), shared_(shared) {
  ensure(points > 0 && inclusion.size() >= k, "points, and experts enough for each");
  std::vector<std::size_t> times(inclusion.size());
  std::vector<double> rest(inclusion.size());
  const auto n = static_cast<double>(points);
  for (std::size_t e = 0; e < inclusion.size(); ++e) {
    constexpr double kRounding = 1e-9;
    times[e] = static_cast<std::size_t>(std::min(n, std::floor(inclusion[e] * n + kRounding)));
    rest[e] = std::max(0.0, inclusion[e] * n - shared * static_cast<double>(times[e]));
  }
  deal(times, random);
  mix(random);
  std::vector<ExpertIndex> order(inclusion.size());
  std::iota(order.begin(), order.end(), ExpertIndex{0});
  rest_ = CumulativeTable(rest_weights(rest), order);
}

/// Weights w by which free slots draw so that expert e is drawn by rest_e points in the mean. A token on point p keeps
/// |D_p|·s of p's experts D_p in the mean and draws f_p = k − s·|D_p| others, from what weighs W_p = W − s·Σ_{D_p} w;
/// where e ∈ D_p is not kept, f_p + s others from W_p + s·w_e. As if experts came after exponential times of rate w
/// until the slots are full (inclusion.hpp), one that may be drawn is with probability 1 − e^{−w·t}, t = c·f/W, so that
/// it is drawn by
///   R_e = Σ_{p: e ∉ D_p} (1 − e^{−w_e·t_p}) + (1 − s)·Σ_{p: e ∈ D_p} (1 − e^{−w_e·t_p})
/// points, of which the means over p of t are taken. Iterates w_e ← w_e·rest_e/R_e and c ← c·Σ rest/Σ R.
std::vector<double> PointTable::rest_weights(std::span<const double> rest) const {
  const std::vector<double> alike(rest.size(), 1.0);  // where no slot is free, but for rounding
  std::vector<double> weights(rest.begin(), rest.end());
  const double target = std::accumulate(rest.begin(), rest.end(), 0.0);
  double c = 1.0;
  constexpr int kRounds = 20;
  for (int round = 0; round < kRounds; ++round) {
    const double all = std::accumulate(weights.begin(), weights.end(), 0.0);
    if (all <= 0.0) {
      return alike;
    }
    const double least = 1e-6 * all;  // a point that has nearly everything that is left
    double times = 0.0;
    std::vector<double> own(rest.size(), 0.0);     // Σ t over points that have the expert
    std::vector<double> anew(rest.size(), 0.0);    // the same where it is not kept
    std::vector<double> having(rest.size(), 0.0);  // those points
    for (std::size_t point = 0; point < points_; ++point) {
      const auto decided = std::span(experts_).subspan(point * k_, decided_[point]);
      double of_point = 0.0;
      for (const ExpertIndex expert : decided) {
        of_point += weights[expert];
      }
      const double slots = static_cast<double>(k_) - shared_ * static_cast<double>(decided.size());
      const double left = std::max(all - shared_ * of_point, least);
      times += slots / left;
      for (const ExpertIndex expert : decided) {
        own[expert] += slots / left;
        anew[expert] += (slots + shared_) / (left + shared_ * weights[expert]);
        having[expert] += 1.0;
      }
    }
    const auto drawn = [&](double weight, double sum_of_times, double points) {
      return points > 0.0 ? -points * std::expm1(-weight * c * sum_of_times / points) : 0.0;
    };
    double sum = 0.0;
    for (std::size_t e = 0; e < rest.size(); ++e) {
      const double found = drawn(weights[e], times - own[e], static_cast<double>(points_) - having[e]) +
                           (1.0 - shared_) * drawn(weights[e], anew[e], having[e]);
      sum += found;
      weights[e] = found > 0.0 ? weights[e] * rest[e] / found : 0.0;
    }
    c *= sum > 0.0 ? target / sum : 1.0;
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

void PointTable::choose(std::size_t point, const ExpertSampler& sampler, HalfWords& random,
                        std::span<ExpertIndex> out) const {
  if (shared_ <= 0.0) {
    sampler.draw(random, out);
    return;
  }
  // One number for the slots up to the first that is not kept: the next i all are with probability s^i.
  std::size_t count = 0;
  const auto decided = std::span(experts_).subspan(point * k_, decided_[point]);
  for (std::size_t slot = 0; slot < decided.size(); ++slot) {
    const double u = shared_ < 1.0 ? random.uniform() : 0.0;
    for (double kept = shared_; slot < decided.size() && u < kept; ++slot, kept *= shared_) {
      out[count++] = decided[slot];
    }
  }
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
