#include "validate/fit/domain_fit.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdlib>
#include <set>
#include <utility>

#include "sim/core/error.hpp"
#include "validate/fit/calibrate.hpp"
#include "validate/fit/normal_equations.hpp"

namespace moesim {

namespace {

/// log2 of the bytes at the points of η: every fourfold, every twofold where NCCL changes protocol and channels.
constexpr std::array kPoints = {12.0, 14.0, 16.0, 18.0, 19.0, 20.0, 21.0, 22.0, 23.0, 24.0, 26.0, 28.0};
constexpr std::size_t kUnknowns = kPoints.size() + 1;  ///< the first is log overhead
constexpr double kBendPenalty = 0.01;
constexpr double kOverheadPenalty = 0.05;  ///< on log overhead, from where it starts
constexpr int kRounds = 60;
constexpr int kReweighted = 3;        ///< every so many rounds
constexpr double kLeastError = 0.02;  ///< below this |log error| a row weighs no more
constexpr double kLargestStep = 0.7;  ///< of an unknown, in one round

using Vector = std::array<double, kUnknowns>;
using Matrix = std::array<Vector, kUnknowns>;

/// A sample, and which points its η lies between.
struct Row {
  double fixed;     ///< seconds of latency
  double transfer;  ///< seconds at the full bandwidth
  double time;
  std::size_t point;  ///< the lower one
  double share;       ///< of the upper one
  double weight = 1.0;
};

Row row_of(const DomainSample& sample, const DomainFitOptions& options) {
  Row row{sample.latency.base(), sample.port_bytes / options.bandwidth.base(), sample.time.base(), 0, 0.0};
  const double at = std::clamp(std::log2(sample.port_bytes), kPoints.front(), kPoints.back());
  while (row.point + 2 < kPoints.size() && at > kPoints[row.point + 1]) {
    ++row.point;
  }
  row.share = (at - kPoints[row.point]) / (kPoints[row.point + 1] - kPoints[row.point]);
  return row;
}

double log_efficiency(const Vector& x, const Row& row) {
  return x[1 + row.point] * (1.0 - row.share) + x[2 + row.point] * row.share;
}

struct Predicted {
  double overhead;
  double transfer;
  double error;  ///< log(predicted / measured)
};
Predicted predict(const Vector& x, const Row& row) {
  const double overhead = std::exp(x[0]);
  const double transfer = row.transfer * std::exp(-log_efficiency(x, row));
  return {overhead, transfer, std::log((row.fixed + overhead + transfer) / row.time)};
}

/// Change of log η's slope at an inner point: coefficients of its neighbours and of itself.
struct Bend {
  std::array<std::size_t, 3> at;
  std::array<double, 3> factor;
  [[nodiscard]] double of(const Vector& x) const {
    return factor[0] * x[at[0]] + factor[1] * x[at[1]] + factor[2] * x[at[2]];
  }
};
Bend bend_at(std::size_t point) {
  const double before = kPoints[point] - kPoints[point - 1];
  const double after = kPoints[point + 1] - kPoints[point];
  return {{point, point + 1, point + 2}, {1.0 / before, -1.0 / before - 1.0 / after, 1.0 / after}};
}

double cost_of(const Vector& x, double start, const std::vector<Row>& rows) {
  double cost = kOverheadPenalty * (x[0] - start) * (x[0] - start);
  for (const Row& row : rows) {
    const double error = predict(x, row).error;
    cost += row.weight * error * error;
  }
  for (std::size_t point = 1; point + 1 < kPoints.size(); ++point) {
    const double bend = bend_at(point).of(x);
    cost += kBendPenalty * bend * bend;
  }
  return cost;
}

/// Normal equations of one Gauss-Newton step.
void add_equations(const Vector& x, double start, const std::vector<Row>& rows, Matrix& normal, Vector& gradient) {
  gradient[0] += kOverheadPenalty * (x[0] - start);
  normal[0][0] += kOverheadPenalty;
  for (const Row& row : rows) {
    const Predicted at = predict(x, row);
    const double whole = row.fixed + at.overhead + at.transfer;
    const std::array<std::pair<std::size_t, double>, 3> slope{
        {{0, at.overhead / whole},
         {1 + row.point, -at.transfer / whole * (1.0 - row.share)},
         {2 + row.point, -at.transfer / whole * row.share}}};
    for (const auto& [i, a] : slope) {
      gradient[i] += row.weight * a * at.error;
      for (const auto& [j, b] : slope) {
        normal[i][j] += row.weight * a * b;
      }
    }
  }
  for (std::size_t point = 1; point + 1 < kPoints.size(); ++point) {
    const Bend bend = bend_at(point);
    for (std::size_t i = 0; i < bend.at.size(); ++i) {
      gradient[bend.at[i]] += kBendPenalty * bend.factor[i] * bend.of(x);
      for (std::size_t j = 0; j < bend.at.size(); ++j) {
        normal[bend.at[i]][bend.at[j]] += kBendPenalty * bend.factor[i] * bend.factor[j];
      }
    }
  }
}

/// What the data say without a fit: nearly all of the shortest time but its transfer is overhead, η from what is left.
Vector start_of(const std::vector<Row>& rows) {
  constexpr double kOverheadShare = 0.9;
  constexpr double kUsualEfficiency = 0.7;
  const Row& shortest =
      *std::min_element(rows.begin(), rows.end(), [](const Row& a, const Row& b) { return a.time < b.time; });
  const double left_over = shortest.time - shortest.fixed - shortest.transfer / kUsualEfficiency;
  const double overhead = std::max(kOverheadShare * left_over, 0.1 * shortest.time);
  Vector x{};
  x[0] = std::log(overhead);
  for (std::size_t point = 0; point < kPoints.size(); ++point) {
    const auto distance = [&](const Row& row) {
      const double at = row.share + static_cast<double>(row.point);
      return std::abs(at - static_cast<double>(point));
    };
    const Row& near = *std::min_element(rows.begin(), rows.end(),
                                        [&](const Row& a, const Row& b) { return distance(a) < distance(b); });
    const double left = std::max(near.time - near.fixed - overhead, 0.1 * overhead);
    x[1 + point] = std::min(std::log(near.transfer / left), 0.0);
  }
  return x;
}

void reweigh(const Vector& x, std::vector<Row>& rows) {
  double sum = 0.0;
  for (Row& row : rows) {
    row.weight = 1.0 / std::max(std::abs(predict(x, row).error), kLeastError);
    sum += row.weight;
  }
  for (Row& row : rows) {
    row.weight *= static_cast<double>(rows.size()) / sum;
  }
}

Vector minimise(std::vector<Row> rows) {
  Vector x = start_of(rows);
  const double start = x[0];
  double damping = 1e-3;
  for (int round = 0; round < kRounds; ++round) {
    Matrix normal{};
    Vector gradient{};
    add_equations(x, start, rows, normal, gradient);
    const double before = cost_of(x, start, rows);
    for (int attempt = 0; attempt < 8; ++attempt) {
      Matrix damped = normal;
      for (std::size_t i = 0; i < kUnknowns; ++i) {
        damped[i][i] += damping * (normal[i][i] + 1e-6);
      }
      const Vector step = solve_positive_definite(damped, gradient);
      Vector next = x;
      for (std::size_t i = 0; i < kUnknowns; ++i) {
        next[i] -= std::clamp(step[i], -kLargestStep, kLargestStep);
        next[i] = i > 0 ? std::min(next[i], 0.0) : next[i];  // no more than the whole bandwidth
      }
      if (cost_of(next, start, rows) <= before) {
        x = next;
        damping = std::max(damping / 5.0, 1e-7);
        break;
      }
      damping *= 5.0;
    }
    if (round % kReweighted == kReweighted - 1) {
      reweigh(x, rows);
    }
  }
  return x;
}

/// Three figures say what measurements can.
double rounded(double value) {
  const double scale = std::pow(10.0, std::floor(std::log10(value)) - 2.0);
  return std::round(value / scale) * scale;
}

/// Points that no row lies next to say nothing.
std::pair<std::size_t, std::size_t> points_of(const std::vector<Row>& rows) {
  std::size_t first = kPoints.size();
  std::size_t last = 0;
  for (const Row& row : rows) {
    first = std::min(first, row.share < 1.0 ? row.point : row.point + 1);
    last = std::max(last, row.share > 0.0 ? row.point + 1 : row.point);
  }
  return {first, last};
}

DomainTerms terms_of(const Vector& x, const std::vector<Row>& rows, int ranks, const DomainFitOptions& options) {
  DomainTerms terms{.ranks = ranks, .overhead = seconds(rounded(std::exp(x[0]))), .path_share = options.path_share};
  const auto [first, last] = points_of(rows);
  for (std::size_t point = first; point <= last; ++point) {
    double efficiency = std::exp(x[1 + point]);
    if (point > first) {  // more bytes never take less time
      const double growth = std::exp2(kPoints[point] - kPoints[point - 1]);
      efficiency = std::min(efficiency, terms.efficiency.back().efficiency * growth);
    }
    // Down, so that the rounding keeps to the bound as well.
    terms.efficiency.push_back({bytes(std::exp2(kPoints[point])), std::min(std::floor(efficiency * 1e5) / 1e5, 1.0)});
  }
  return terms;
}

std::vector<Row> rows_of(const std::vector<DomainSample>& samples, const DomainFitOptions& options) {
  std::vector<Row> rows;
  for (const DomainSample& sample : samples) {
    rows.push_back(row_of(sample, options));
  }
  return rows;
}

DomainTerms fitted(const std::vector<DomainSample>& samples, int ranks, const DomainFitOptions& options) {
  const std::vector<Row> rows = rows_of(samples, options);
  return terms_of(minimise(rows), rows, ranks, options);
}

double error_of(const DomainTerms& terms, const DomainSample& sample, const DomainFitOptions& options) {
  const double efficiency = port_efficiency(terms.efficiency, sample.port_bytes);
  const Duration transfer = seconds(sample.port_bytes / (options.bandwidth.base() * efficiency));
  return (terms.overhead + sample.latency + transfer) / sample.time - 1.0;
}

}  // namespace

DomainTerms fit_domain(const std::vector<DomainSample>& samples, int ranks, const DomainFitOptions& options) {
  ensure(samples.size() > 1, "a fit needs samples");
  DomainTerms result = fitted(samples, ranks, options);
  std::set<double> unique;
  for (const DomainSample& sample : samples) {
    unique.insert(sample.port_bytes);
  }
  const std::vector<double> sizes(unique.begin(), unique.end());
  std::vector<double> errors;
  for (std::size_t fold = 0; fold < options.folds && sizes.size() > options.folds; ++fold) {
    std::vector<DomainSample> kept;
    std::vector<DomainSample> held;
    for (const DomainSample& sample : samples) {
      const auto at = std::lower_bound(sizes.begin(), sizes.end(), sample.port_bytes) - sizes.begin();
      (static_cast<std::size_t>(at) % options.folds == fold ? held : kept).push_back(sample);
    }
    const DomainTerms terms = fitted(kept, ranks, options);
    for (const DomainSample& sample : held) {
      errors.push_back(error_of(terms, sample, options));
    }
  }
  if (!errors.empty()) {
    result.unseen_sizes = errors_of(std::move(errors));
  }
  return result;
}

}  // namespace moesim
