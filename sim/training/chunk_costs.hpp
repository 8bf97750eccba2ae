#pragma once

#include <array>
#include <cstddef>
#include <map>
#include <optional>
#include <string>
#include <tuple>
#include <vector>

#include "sim/execute/execute.hpp"
#include "sim/training/layout.hpp"

/// What passes of the stages take, by simulating an expert-parallel group of each stage (sim/program, sim/execute).
namespace moesim {

/// Stages with the same layers and ends are one kind.
struct StageKinds {
  std::vector<std::size_t> kind_of;               ///< [stages]
  std::vector<std::vector<std::size_t>> members;  ///< [kinds]: stages, rising
};
StageKinds kinds_of(const Model& model, const std::vector<Stage>& stages);

/// A pass of one kind of stage with one sample of routing; of a kForwardBackward both.
struct PassKey {
  Pass pass = Pass::kForward;
  std::size_t kind = 0;
  std::size_t sample = 0;
  std::size_t backward_kind = 0;
  std::size_t backward_sample = 0;
  auto operator<=>(const PassKey&) const = default;
};

struct PassCost {
  SimTime time;                                  ///< until the last rank of the group is through
  std::array<SimTime, kTimeCategories> parts{};  ///< of that, mean over ranks; they add up
  Flops model_work = {};                         ///< of the group
  Flops work = {};                               ///< as executed
  Duration peak_time = {};                       ///< of that at the peak rates of the types computed in, all ranks
  double bytes_intra_node = 0.0;
  double bytes_inter_node = 0.0;
  std::vector<double> imbalance = {};  ///< [MoE layers of a forward pass]: routed tokens, max over ranks / mean
  double expert_load = 1.0;            ///< rows of the fullest rank in all layers of a forward pass / mean over ranks
  std::vector<std::string> warnings = {};
};

/// Which passes a schedule has. Micro-batch i has routing sample i mod `samples`.
class PassKeys {
 public:
  PassKeys(StageKinds kinds, std::size_t samples) : kinds_(std::move(kinds)), samples_(samples) {}
  [[nodiscard]] PassKey of(const ScheduleItem& item) const;
  /// Without repetition, in order.
  [[nodiscard]] std::vector<PassKey> all(const ScheduleOrder& order) const;
  /// The stage whose layers' routing stands for a kind in a sample: each of its stages in turn.
  [[nodiscard]] std::size_t stage_of(std::size_t kind, std::size_t sample) const {
    return kinds_.members[kind][sample % kinds_.members[kind].size()];
  }

 private:
  StageKinds kinds_;
  std::size_t samples_;
};

using PassCosts = std::map<PassKey, PassCost>;

/// Simulates them all. `warnings` of routing are appended.
PassCosts simulate_passes(const PreparedTraining& prepared, const PassKeys& keys, const CostModel& costs,
                          const TaskPool& pool, std::vector<std::string>& warnings);

}  // namespace moesim
