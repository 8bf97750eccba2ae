#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "workloads/routing/types.hpp"

namespace moesim {

/// How often tokens of a sample chose two experts of a layer together: symmetric, [experts · experts], zero where an
/// expert meets itself.
class CoActivation {
 public:
  CoActivation(const StepRouting& sample, std::size_t layer);
  [[nodiscard]] double operator()(std::size_t a, std::size_t b) const { return count_[a * experts_ + b]; }
  [[nodiscard]] std::size_t experts() const { return experts_; }

 private:
  std::size_t experts_;
  std::vector<float> count_;
};

/// Copies of experts to be divided into equal groups that share many tokens.
struct GroupingProblem {
  std::vector<std::uint16_t> expert;  ///< [copies]
  std::vector<double> load;           ///< [copies]
  std::vector<double> affinity;       ///< [copies · copies], symmetric
  std::size_t groups = 1;             ///< divides the copies
  double load_tolerance = 1.05;       ///< heaviest group over the mean that the partition may reach
};

/// Group of each copy: METIS's partition of the graph of affinities by recursive
/// bisection, with number and load of copies as two
/// constraints, then mended to exactly equal numbers by moves that cost the least affinity.
/// Source: Karypis and Kumar, "Multilevel algorithms for multi-constraint graph partitioning", SC'98.
std::vector<std::uint32_t> group_by_affinity(const GroupingProblem& problem, std::uint64_t seed);

}  // namespace moesim
