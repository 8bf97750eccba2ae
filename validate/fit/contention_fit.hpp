#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "models/hardware/hardware.hpp"
#include "models/kernels/contention.hpp"
#include "models/kernels/fitted.hpp"
#include "validate/fit/table_file.hpp"

/// What a kernel takes longer for beside one that holds SMs, or holds them and streams through the HBM, as kernels of
/// communication do (validate/kernels/contention_case.cpp measures it).
namespace moesim {

/// One measured kernel beside such a rival.
struct ContentionRow {
  Bound bound = Bound::kCompute;  ///< what holds the kernel back by itself
  std::int64_t units = 0;         ///< compute units that the rival holds
  double work_rate = 0.0;         ///< bytes a second that the kernel moves by itself
  double rival_rate = 0.0;        ///< and the rival beside it
  double slowdown = 1.0;          ///< time beside the rival / time by itself
  std::size_t row = 0;
};

/// The row of a table of our own measurements. Throws ConfigError by line.
ContentionRow contention_row(const TableFile& table, std::size_t row);

/// Predicted / measured slowdown − 1. What the rival holds is shares of the accelerator's compute units and peak
/// bandwidth, not all of them (check_units).
double contention_error(const ContentionTerms& terms, const ContentionRow& row, const Accelerator& accelerator);

/// Fits what kernels held back by the tensor cores and by the HBM need of the compute units: the least sum of squared
/// contention_error. Of several that are as good, the largest: what the measurements did not tell apart is not taken
/// for granted. Kinds with fewer than three numbers of units held keep the `base`'s; where none has more, std::nullopt.
/// Errors are those of rows held back, every `folds`-th number of units at a time.
struct ContentionFitting {
  std::optional<ContentionFit> fit;
  std::vector<std::string> warnings;
};
ContentionFitting fit_contention(std::span<const ContentionRow> rows, const ContentionTerms& base,
                                 const Accelerator& accelerator, std::size_t folds);

}  // namespace moesim
