#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <vector>

#include "sim/core/error.hpp"
#include "sim/core/task_pool.hpp"
#include "sim/placement/placement.hpp"
#include "sim/planning/placement_config.hpp"
#include "sim/scenario/run.hpp"

namespace moesim {

/// One layer of one strategy on one trace.
struct PlacedLayer {
  double time = 0.0;            ///< s, of the layer by itself (step_clock.hpp)
  double load_imbalance = 1.0;  ///< routed tokens, max over ranks / mean over ranks
  double load_gap = 0.0;        ///< greatest rank load / its lower bound (bound.hpp) − 1, on the loads fitted to
};

/// One strategy on one trace.
struct PlacementRow {
  std::string strategy;
  std::string trace;
  double step_time = 0.0;                 ///< s, on tokens of the part that strategies were fitted on
  std::optional<double> step_time_later;  ///< the same on tokens of the later part, where there is one
  std::optional<double> imbalance_mean_later;
  double imbalance_mean = 1.0;
  double imbalance_worst = 1.0;
  double bound_gap = 0.0;  ///< mean of load_gap
  double bytes_intra_node = 0.0;
  double bytes_inter_node = 0.0;
  std::vector<double> link_bytes;  ///< [links]: payload that the MoE layers' exchanges put on each
  double slots_per_rank = 0.0;
  double redundant_bytes_per_rank = 0.0;
  double solve_time = 0.0;  ///< s of wall-clock time
  std::vector<PlacedLayer> layers;
  Placement placement;
};

struct PlacementComparison {
  PlacementComparisonConfig config;
  ClusterConfig cluster;
  std::string model_name;
  std::vector<PlacementRow> rows;           ///< trace by trace, each by rising step time
  std::vector<RebalancingRow> rebalancing;  ///< trace by trace, in the configuration's order; empty: not asked for
  std::vector<double> step_time_bound;      ///< [traces], s: no placement is faster (StepClock::lower_bound)
  std::vector<std::string> provenance;      ///< [traces]
  std::vector<std::string> link_names;      ///< [links]
  std::vector<std::size_t> layer_index;     ///< [MoE layers]: which layer of the model
  PlacementProblem problem;                 ///< without loads: for writing maps
  std::vector<std::string> warnings;
  std::vector<InputFile> inputs;
};

/// Places the experts of every trace by every strategy, and times each. `search` comes last and knows what the others
/// found, so that by this clock it is at least as fast as any of them in every layer, on the tokens fitted on.
///
/// A step's time is the sum over its MoE layers of their own time, and that of embedding, dense layers and head.
/// Throws ConfigError or ModelError.
PlacementComparison compare_placements(const PlacementComparisonConfig& config, const Place& place,
                                       const TaskPool& pool);

}  // namespace moesim
