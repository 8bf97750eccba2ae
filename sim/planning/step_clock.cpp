#include "sim/planning/step_clock.hpp"

#include <algorithm>
#include <numeric>
#include <variant>

#include "sim/core/error.hpp"
#include "sim/planning/busiest_link.hpp"

namespace moesim {

namespace {

/// The model with one layer only.
Model one_layer(const Architecture& architecture, const Layer& layer) {
  Architecture small = architecture;
  const auto found = std::find_if(architecture.blocks.begin(), architecture.blocks.end(),
                                  [&](const auto& entry) { return &entry.second == layer.block; });
  ensure(found != architecture.blocks.end(), "a layer's block is one of its model's");
  small.blocks = {*found};
  small.layers = {{{found->first}, 1, layer.stack}};
  return {std::move(small), {"a layer by itself", {}}};
}

/// What a program does in one stage.
Program slice(const Program& program, std::uint32_t stage) {
  Program part;
  part.kernels = program.kernels;
  part.exchanges = program.exchanges;
  part.stages = program.stages;
  for (const auto& stream : program.ranks) {
    auto& out = part.ranks.emplace_back();
    for (const Instruction& instruction : stream) {
      const auto* kernel = std::get_if<RunKernel>(&instruction);
      const auto* send = std::get_if<Send>(&instruction);
      const std::uint32_t of = kernel != nullptr ? kernel->stage
                               : send != nullptr ? program.exchanges[send->exchange].stage
                                                 : program.exchanges[std::get<Receive>(instruction).exchange].stage;
      if (of == stage) {
        out.push_back(instruction);
      }
    }
  }
  return part;
}

}  // namespace

StepClock::StepClock(const PreparedStep& step, const StepRouting& routing, Fidelity fidelity)
    : step_(step),
      routing_(routing),
      fidelity_(fidelity),
      costs_(make_cost_model(step.profile, step.cluster.accelerator())),
      plan_(step_plan(step, *costs_)) {
  for (const Layer& layer : step.model.layers()) {
    if (layer.moe_index) {
      moe_blocks_.push_back(layer.block);
    } else if (layer_runs(step.model, layer, step.batch.phase)) {
      dense_blocks_.push_back(layer.block);
    } else {
      continue;
    }
    if (!models_.contains(layer.block)) {
      models_.emplace(layer.block, one_layer(step.model.architecture(), layer));
    }
  }
}

StepProgram StepClock::build(const Model& model, const Placement& placement, const StepRouting& routing) const {
  StepPlan plan = plan_;
  plan.model = &model;
  plan.placement = &placement;
  plan.routing = &routing;
  return build_step(plan, serial_);
}

StepClock::Part StepClock::run_stage(const Program& program, std::uint32_t stage) const {
  const Program part = slice(program, stage);
  if (fidelity_ == Fidelity::kBound) {
    const BusiestLinkTime bound = busiest_link_time(part, step_.cluster, *costs_, step_.profile.communication);
    return {bound.time, bound.bytes_inter_node};
  }
  const Execution execution = execute(part, step_.cluster, *costs_, step_.profile.communication);
  return {execution.end.duration().base(), execution.bytes_inter_node};
}

LayerMeasurement StepClock::measure(std::size_t layer, const LayerPlacement& placement) const {
  StepRouting own;
  own.shape = routing_.shape;
  own.shape.layers = 1;
  own.router = routing_.router;
  const auto choices = routing_.layer(layer);
  own.choices.assign(choices.begin(), choices.end());
  const StepProgram built = build(models_.at(moe_blocks_[layer]), {{placement}}, own);
  const Part part = run_stage(built.program, 1);
  LayerMeasurement result{part.time, part.bytes_inter_node, {}};
  for (const auto& rows : built.traffic.front().rows) {
    result.rank_rows.push_back(static_cast<double>(std::accumulate(rows.begin(), rows.end(), std::int64_t{0})));
  }
  return result;
}

double StepClock::rest(const LayerPlacement& any) const {
  StepRouting own;
  own.shape = routing_.shape;
  own.shape.layers = 1;
  own.router = routing_.router;
  const auto choices = routing_.layer(0);
  own.choices.assign(choices.begin(), choices.end());
  const StepProgram ends = build(models_.at(moe_blocks_.front()), {{any}}, own);
  double sum = run_stage(ends.program, 0).time + run_stage(ends.program, 2).time;
  std::map<const Block*, double> known;
  for (const Block* block : dense_blocks_) {
    if (!known.contains(block)) {
      known[block] = run_stage(build(models_.at(block), {}, own).program, 1).time;
    }
    sum += known[block];
  }
  return sum;
}

}  // namespace moesim
