#pragma once

#include <cstddef>
#include <optional>
#include <vector>

namespace moesim {

/// min Σ cost_j·x_j subject to rows a·x {≤, =, ≥} b, x ≥ 0, some x binary. Solved by CBC's branch and bound.
struct IntegerProgram {
  struct Column {
    double cost = 0.0;
    double upper = 1e30;
    bool binary = false;
  };
  struct Row {
    std::vector<int> columns;
    std::vector<double> factors;
    char sense = 'E';  ///< 'L', 'E' or 'G', as CBC has them
    double right = 0.0;
  };
  std::vector<Column> columns;
  std::vector<Row> rows;
  std::vector<double> start;  ///< a feasible point to begin with, [columns]; or empty
};

/// When to stop early. The nodes come first, so that a result does not depend on how fast the machine is.
struct ProgramLimits {
  int nodes = 50;
  double seconds = 2.0;
  double gap = 0.01;  ///< of the objective
};

struct ProgramSolution {
  std::vector<double> x;  ///< [columns]
  double objective = 0.0;
  enum class Ended { kWithinGap, kAtLimit } ended = Ended::kWithinGap;
};

/// The best point found; nothing where the program is infeasible or none was found within the limits. Not to be called
/// from several threads at once: CBC keeps state of its own.
std::optional<ProgramSolution> solve(const IntegerProgram& program, const ProgramLimits& limits);

}  // namespace moesim
