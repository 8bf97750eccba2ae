#include "sim/planning/step_clock.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <optional>
#include <utility>
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

LayerMeasurement StepClock::run_stage(const Program& program, std::uint32_t stage) const {
  return run(stages_of(program, stage, stage));
}

LayerMeasurement StepClock::run(const Program& part) const {
  if (fidelity_ == Fidelity::kBound) {
    BusiestLinkTime bound = busiest_link_time(part, step_.cluster, *costs_, step_.profile.communication);
    return {bound.time, bound.bytes_intra_node, bound.bytes_inter_node, std::move(bound.link_bytes), {}};
  }
  Execution execution = execute(part, step_.cluster, *costs_, step_.profile.communication);
  return {execution.end.duration().base(),
          execution.bytes_intra_node,
          execution.bytes_inter_node,
          std::move(execution.link_bytes),
          {}};
}

StepProgram StepClock::build_layer(std::size_t layer, const LayerPlacement& placement) const {
  StepRouting own;
  own.shape = routing_.shape;
  own.shape.layers = 1;
  own.router = routing_.router;
  const auto choices = routing_.layer(layer);
  own.choices.assign(choices.begin(), choices.end());
  return build(models_.at(moe_blocks_[layer]), {{placement}}, own);
}

double StepClock::lower_bound(std::size_t layer, const LayerPlacement& any, double rows) const {
  Program part = stages_of(build_layer(layer, any).program, 1, 1);
  for (Exchange& exchange : part.exchanges) {
    exchange.transfers.clear();
    exchange.starters.clear();
    exchange.orders.clear();
    exchange.local_bytes = 0.0;
    for (std::size_t rank = 0; rank < part.ranks.size(); ++rank) {
      exchange.add(RankId(rank), RankId(rank), 0.0);
    }
  }
  std::vector<bool> chosen(routing_.shape.experts, false);
  for (const ExpertIndex expert : routing_.layer(layer)) {
    if (expert != kNoExpert) {
      chosen[expert] = true;
    }
  }
  const auto awake = static_cast<std::size_t>(std::count(chosen.begin(), chosen.end(), true));
  const std::vector<std::vector<std::int64_t>> least = {
      {static_cast<std::int64_t>(std::ceil(rows * (1.0 - 1e-12)))},
      std::vector<std::int64_t>((awake + any.ranks() - 1) / any.ranks(), 1)};
  std::optional<std::uint32_t> slowest;  // of the two
  for (auto& stream : part.ranks) {
    std::erase_if(stream, [](const Instruction& instruction) {
      const auto* kernel = std::get_if<RunKernel>(&instruction);
      return kernel != nullptr && kernel->op == StepOperator::kPermute;
    });
    for (Instruction& instruction : stream) {
      auto* run = std::get_if<RunKernel>(&instruction);
      if (run == nullptr || run->op != StepOperator::kExperts) {
        continue;
      }
      if (!slowest) {
        slowest = add_slowest(part, run->kernel, least);
      }
      run->kernel = *slowest;
    }
  }
  return run(part).time;
}

LayerMeasurement StepClock::measure(std::size_t layer, const LayerPlacement& placement) const {
  const StepProgram built = build_layer(layer, placement);
  LayerMeasurement result = run_stage(built.program, 1);
  for (const auto& rows : built.traffic.front().front().rows) {
    result.rank_rows.push_back(static_cast<double>(std::accumulate(rows.begin(), rows.end(), std::int64_t{0})));
  }
  return result;
}

std::uint32_t StepClock::add_slowest(Program& program, std::uint32_t like,
                                     std::span<const std::vector<std::int64_t>> rows) const {
  Duration longest = seconds(-1.0);
  std::uint32_t slowest = like;
  for (const auto& each : rows) {
    Kernel kernel = program.kernels[like];
    std::get<Experts>(kernel).rows = each;
    if (const Duration time = costs_->cost(kernel).time; time > longest) {
      longest = time;
      slowest = static_cast<std::uint32_t>(program.kernels.size());
      program.kernels.push_back(std::move(kernel));
    }
  }
  return slowest;
}

std::vector<LayerMeasurement> StepClock::measure(const Placement& placement, const TaskPool& pool) const {
  std::vector<LayerMeasurement> layers(placement.layers.size());
  pool.for_each_index(layers.size(),
                      [&](std::size_t layer) { layers[layer] = measure(layer, placement.layers[layer]); });
  return layers;
}

double StepClock::rest(const LayerPlacement& any) const {
  const StepProgram ends = build_layer(0, any);
  double sum = run_stage(ends.program, 0).time + run_stage(ends.program, 2).time;
  std::map<const Block*, double> known;
  for (const Block* block : dense_blocks_) {
    if (!known.contains(block)) {
      known[block] = run_stage(build(models_.at(block), {}, routing_).program, 1).time;
    }
    sum += known[block];
  }
  return sum;
}

}  // namespace moesim
