#pragma once

#include <cstddef>
#include <map>
#include <utility>

#include "models/kernels/kernel.hpp"
#include "sim/core/time.hpp"
#include "sim/program/collective.hpp"
#include "sim/training/layout.hpp"
#include "sim/training/pipeline.hpp"

/// What training sends beside the passes: activations between pipeline ranks, gradients and parameters between ranks
/// that have the same.
namespace moesim {

/// Activations (or gradients) of a micro-batch from each GPU of a pipeline rank to its like of another, all at once,
/// over the cluster's real paths; a rank of a tensor-parallel group has its part of the sequence.
class StageSends {
 public:
  StageSends(const PreparedTraining& prepared, const CostModel& costs);
  [[nodiscard]] SimTime time(std::size_t from, std::size_t to) const { return times_.at({from, to}); }
  [[nodiscard]] SimTime longest() const;
  /// As run_pipeline wants it. Refers to this.
  [[nodiscard]] SendTime as_function() const {
    return [this](std::size_t from, std::size_t to, SendWay) { return time(from, to); };
  }

 private:
  std::map<std::pair<std::size_t, std::size_t>, SimTime> times_;
};

/// Collectives of ranks that have the same parameters. Those of one pipeline rank are run (of two, where weights are
/// there twice), all its groups at once: pipeline ranks share no link but the spine.
class ParameterSync {
 public:
  ParameterSync(const PreparedTraining& prepared, const CostModel& costs);

  /// Of what is no routed expert, and of routed experts; `elements` of a rank.
  [[nodiscard]] SimTime dense(Collective collective, double elements, DataType type);
  [[nodiscard]] SimTime experts(Collective collective, double elements, DataType type);
  /// The norm of all gradients: one number of every rank of the training.
  [[nodiscard]] SimTime norm();

 private:
  SimTime run(Collective collective, const CollectiveGroups& groups, double bytes);

  const PreparedTraining& prepared_;
  const CostModel& costs_;
  std::map<std::tuple<Collective, std::size_t, double>, SimTime> known_;
};

}  // namespace moesim
