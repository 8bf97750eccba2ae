#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <vector>

#include "sim/core/task_pool.hpp"
#include "sim/execute/all_to_all.hpp"
#include "sim/placement/placement.hpp"
#include "sim/scenario/run.hpp"

namespace moesim {

/// What one MoE layer of a step did by itself.
struct LayerMeasurement {
  double time = 0.0;  ///< s
  double bytes_intra_node = 0.0;
  double bytes_inter_node = 0.0;
  std::vector<double> link_bytes;  ///< [links]: payload carried
  std::vector<double> rank_rows;   ///< [ranks]: routed copies that it computed
};

/// Times the MoE layers of a step one by one, for any placement of their experts: attention, router, dispatch, experts
/// and combine of one layer on all ranks, which start together. A step's layers follow each other almost like that,
/// since every rank waits for all others in each dispatch and combine.
class StepClock final : public LayerClock {
 public:
  /// `step` and `routing` outlive the clock.
  StepClock(const PreparedStep& step, const StepRouting& routing, Fidelity fidelity);

  [[nodiscard]] double time(std::size_t layer, const LayerPlacement& placement) const override {
    return measure(layer, placement).time;
  }
  [[nodiscard]] LayerMeasurement measure(std::size_t layer, const LayerPlacement& placement) const;
  /// Every MoE layer of the step: [layers].
  [[nodiscard]] std::vector<LayerMeasurement> measure(const Placement& placement, const TaskPool& pool) const;

  /// What no placement of the layer beats, by the same costs if more rows never cost less, in seconds: attention and
  /// router as they are, dispatch and combine without bytes, and the experts of the busiest rank, which has at least
  /// `rows` rows (max_load_bound), or of the rank with the most experts awake, of which some rank has at least the
  /// mean. `any` has the slots.
  [[nodiscard]] double lower_bound(std::size_t layer, const LayerPlacement& any, double rows) const;

  /// What the step takes beside its MoE layers: embedding, dense layers, head.
  [[nodiscard]] double rest(const LayerPlacement& any) const;

 private:
  [[nodiscard]] StepProgram build_layer(std::size_t layer, const LayerPlacement& placement) const;
  [[nodiscard]] StepProgram build(const Model& model, const Placement& placement, const StepRouting& routing) const;
  /// Adds what `like` costs with each of `rows`, and says which takes longest.
  [[nodiscard]] std::uint32_t add_slowest(Program& program, std::uint32_t like,
                                          std::span<const std::vector<std::int64_t>> rows) const;
  /// Both without the rows of the ranks.
  [[nodiscard]] LayerMeasurement run(const Program& part) const;
  [[nodiscard]] LayerMeasurement run_stage(const Program& program, std::uint32_t stage) const;

  const PreparedStep& step_;
  const StepRouting& routing_;
  Fidelity fidelity_;
  TaskPool serial_{1};
  std::unique_ptr<CostModel> costs_;
  StepPlan plan_;                           ///< but for model, placement and routing
  std::map<const Block*, Model> models_;    ///< of one layer, by block
  std::vector<const Block*> moe_blocks_;    ///< [MoE layers]
  std::vector<const Block*> dense_blocks_;  ///< of the layers without experts that run
};

}  // namespace moesim
