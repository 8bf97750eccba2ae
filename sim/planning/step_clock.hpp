#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <vector>

#include "sim/core/task_pool.hpp"
#include "sim/execute/all_to_all.hpp"
#include "sim/placement/placement.hpp"
#include "sim/scenario/run.hpp"

namespace moesim {

/// What one MoE layer of a step did by itself.
struct LayerMeasurement {
  double time = 0.0;  ///< s
  double bytes_inter_node = 0.0;
  std::vector<double> rank_rows;  ///< [ranks]: routed copies that it computed
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

  /// What the step takes beside its MoE layers: embedding, dense layers, head.
  [[nodiscard]] double rest(const LayerPlacement& any) const;

 private:
  [[nodiscard]] StepProgram build(const Model& model, const Placement& placement, const StepRouting& routing) const;
  struct Part {
    double time;
    double bytes_inter_node;
  };
  [[nodiscard]] Part run_stage(const Program& program, std::uint32_t stage) const;

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
