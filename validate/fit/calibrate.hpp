#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "models/kernels/fitted.hpp"
#include "sim/core/task_pool.hpp"
#include "validate/fit/boosting.hpp"
#include "validate/fit/measurements.hpp"

namespace moesim {

struct CalibrationOptions {
  std::string name = "fitted";
  std::size_t folds = 5;            ///< of shapes, and of sizes
  ContentionTerms contention = {};  ///< of the base, for what was not measured beside other kernels
  BoostingOptions boosting;
};

struct Calibration {
  FittedProfile profile;
  std::vector<std::string> warnings;
};

/// Fits one KernelFit per family, type and variant to the tables' rows, and measures its errors by k-fold validation:
/// in grid with every k-th row of every shape held back, out of grid with every k-th shape. Throws ConfigError where
/// there is too little to fit anything, saying what is missing.
Calibration calibrate(const std::vector<MeasurementTable>& tables, const std::string& accelerator,
                      const CalibrationOptions& options, const TaskPool& pool);

/// Relative errors of predictions; see FitErrors.
FitErrors errors_of(std::vector<double> relative);

}  // namespace moesim
