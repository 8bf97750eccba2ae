#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "models/kernels/trees.hpp"

namespace moesim {

/// Rows of features and the value to be predicted, column by column.
struct Samples {
  std::vector<std::vector<double>> columns;  ///< [features][rows]
  std::vector<double> target;                ///< [rows]
};

struct BoostingOptions {
  std::size_t trees = 240;
  std::size_t leaves = 60;        ///< at most, per tree
  double rate = 0.1;              ///< share of each tree's correction that is applied
  double row_share = 0.8;         ///< drawn anew for each tree
  double feature_share = 0.8;     ///< likewise
  std::size_t smallest_leaf = 3;  ///< rows
  double penalty = 1.0;           ///< L2, on leaf values, in rows
  double clip = 0.25;             ///< a row pulls by at most so much: Huber's loss, for measurements that are off
  std::size_t bins = 96;          ///< at most, per feature
};

/// Gradient boosting with squared error (Friedman 2001, "Greedy function approximation", algorithm 2), trees grown
/// leaf by leaf on histograms of quantile bins (Ke et al. 2017, "LightGBM", sections 2 and 3): of all leaves the one
/// whose best split gains most, gain = G_l²/(n_l + λ) + G_r²/(n_r + λ) − G²/(n + λ) with G the sum of residuals and λ
/// the penalty, is split next. `rows` are those to learn from. The same input gives the same trees on every machine.
TreeSum boost(const Samples& samples, std::span<const std::uint32_t> rows, const BoostingOptions& options);

}  // namespace moesim
