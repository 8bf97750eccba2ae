#include "sim/placement/coactivation.hpp"

#include <metis.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <mutex>
#include <numeric>

#include "sim/core/error.hpp"

namespace moesim {

CoActivation::CoActivation(const StepRouting& sample, std::size_t layer)
    : experts_(sample.shape.experts), count_(experts_ * experts_, 0.0F) {
  for (std::size_t token = 0; token < sample.shape.tokens; ++token) {
    const auto chosen = sample.token(layer, token);
    for (std::size_t a = 0; a < chosen.size(); ++a) {
      for (std::size_t b = a + 1; b < chosen.size(); ++b) {
        if (chosen[a] != chosen[b] && chosen[a] != kNoExpert && chosen[b] != kNoExpert) {
          count_[chosen[a] * experts_ + chosen[b]] += 1.0F;
          count_[chosen[b] * experts_ + chosen[a]] += 1.0F;
        }
      }
    }
  }
}

namespace {

/// METIS takes whole numbers: the largest becomes this.
constexpr double kScale = 10000.0;

idx_t whole(double value, double largest) {
  return largest > 0.0 ? static_cast<idx_t>(std::lround(value / largest * kScale)) : 0;
}

/// Edges that METIS sees of each vertex, at least: of a dense graph the strongest say it all, and it is ten times
/// quicker with them.
constexpr std::size_t kStrongest = 24;

/// For each copy the affinity that its strongest ties have at least.
std::vector<double> least_strong(const GroupingProblem& problem) {
  const std::size_t copies = problem.expert.size();
  std::vector<double> least(copies, 0.0);
  for (std::size_t a = 0; a < copies && copies > kStrongest; ++a) {
    const auto row = problem.affinity.begin() + static_cast<std::ptrdiff_t>(a * copies);
    std::vector<double> ties(row, row + static_cast<std::ptrdiff_t>(copies));
    const auto last = ties.begin() + static_cast<std::ptrdiff_t>(kStrongest - 1);
    std::nth_element(ties.begin(), last, ties.end(), std::greater<>());
    least[a] = *last;
  }
  return least;
}

std::vector<std::uint32_t> partition(const GroupingProblem& problem, std::uint64_t seed) {
  const std::size_t copies = problem.expert.size();
  const double most_affinity = *std::max_element(problem.affinity.begin(), problem.affinity.end());
  const double most_load = *std::max_element(problem.load.begin(), problem.load.end());
  const std::vector<double> least = least_strong(problem);
  std::vector<idx_t> begin{0};
  std::vector<idx_t> neighbour;
  std::vector<idx_t> weight;
  std::vector<idx_t> vertex;
  for (std::size_t a = 0; a < copies; ++a) {
    for (std::size_t b = 0; b < copies; ++b) {
      const double tie = problem.affinity[a * copies + b];
      const bool strong = a != b && tie >= std::min(least[a], least[b]);
      const idx_t edge = strong ? whole(tie, most_affinity) : 0;
      if (edge > 0) {
        neighbour.push_back(static_cast<idx_t>(b));
        weight.push_back(edge);
      }
    }
    begin.push_back(static_cast<idx_t>(neighbour.size()));
    vertex.push_back(1);
    vertex.push_back(whole(problem.load[a], most_load) + 1);
  }
  std::vector<idx_t> part(copies, 0);
  if (neighbour.empty()) {
    for (std::size_t i = 0; i < copies; ++i) {
      part[i] = static_cast<idx_t>(i % problem.groups);
    }
  } else {
    idx_t options[METIS_NOPTIONS];
    METIS_SetDefaultOptions(options);
    options[METIS_OPTION_SEED] = static_cast<idx_t>(seed % 1000000);
    auto vertices = static_cast<idx_t>(copies);
    auto parts = static_cast<idx_t>(problem.groups);
    idx_t constraints = 2;
    idx_t cut = 0;
    // METIS seeds and uses the C library's rand(), which threads share: one partition at a time is repeatable.
    static std::mutex one_at_a_time;
    const std::lock_guard lock(one_at_a_time);
    std::vector<real_t> tolerance{1.01F, static_cast<real_t>(problem.load_tolerance)};
    const int status =
        METIS_PartGraphRecursive(&vertices, &constraints, begin.data(), neighbour.data(), vertex.data(), nullptr,
                                 weight.data(), &parts, nullptr, tolerance.data(), options, &cut, part.data());
    ensure(status == METIS_OK, "METIS could not partition the experts");
  }
  return {part.begin(), part.end()};
}

/// Moves copies from groups with too many to groups with too few, each time the one that loses least affinity.
void equalise(const GroupingProblem& problem, std::vector<std::uint32_t>& group) {
  const std::size_t copies = group.size();
  const std::size_t room = copies / problem.groups;
  std::vector<std::size_t> size(problem.groups, 0);
  for (const std::uint32_t g : group) {
    ++size[g];
  }
  std::vector<double> ties(copies * problem.groups, 0.0);  // affinity of each copy to each group
  for (std::size_t a = 0; a < copies; ++a) {
    for (std::size_t b = 0; b < copies; ++b) {
      ties[a * problem.groups + group[b]] += problem.affinity[a * copies + b];
    }
  }
  while (true) {
    std::size_t best = copies;
    std::uint32_t target = 0;
    double least = std::numeric_limits<double>::infinity();
    for (std::size_t a = 0; a < copies; ++a) {
      for (std::uint32_t g = 0; size[group[a]] > room && g < problem.groups; ++g) {
        const double loss = ties[a * problem.groups + group[a]] - ties[a * problem.groups + g];
        if (size[g] < room && loss < least) {
          least = loss;
          best = a;
          target = g;
        }
      }
    }
    if (best == copies) {
      return;
    }
    for (std::size_t b = 0; b < copies; ++b) {
      ties[b * problem.groups + group[best]] -= problem.affinity[b * copies + best];
      ties[b * problem.groups + target] += problem.affinity[b * copies + best];
    }
    --size[group[best]];
    ++size[target];
    group[best] = target;
  }
}

}  // namespace

std::vector<std::uint32_t> group_by_affinity(const GroupingProblem& problem, std::uint64_t seed) {
  ensure(problem.expert.size() % problem.groups == 0, "groups that divide the copies");
  if (problem.groups == 1) {
    return std::vector<std::uint32_t>(problem.expert.size(), 0);
  }
  std::vector<std::uint32_t> group = partition(problem, seed);
  equalise(problem, group);
  return group;
}

}  // namespace moesim
