#include "sim/training/chunk_costs.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <numeric>
#include <set>

#include "sim/core/error.hpp"
#include "sim/execute/attribution.hpp"

namespace moesim {

namespace {

bool are_alike(const Model& model, const Stage& a, const Stage& b) {
  if (a.layers() != b.layers() || a.ends != b.ends) {
    return false;
  }
  const auto& layers = model.layers();
  for (std::size_t i = 0; i < a.layers(); ++i) {
    if (layers[a.first_layer + i].block != layers[b.first_layer + i].block) {
      return false;
    }
  }
  return true;
}

ChunkPlan chunk_plan(const PreparedTraining& prepared, const Stage& stage, const StepRouting* routing) {
  const Training& training = prepared.training;
  ChunkPlan plan;
  plan.model = &prepared.model;
  plan.cluster = &prepared.cluster;
  plan.placement = &prepared.placement;
  plan.routing = routing;
  plan.ranks = prepared.layout.group_ranks;
  plan.tensor_parallel = training.parallelism.tensor_parallel;
  plan.first_layer = stage.first_layer;
  plan.last_layer = stage.last_layer;
  plan.ends = stage.ends;
  plan.precision = training.precision;
  plan.gradients = training.gradients;
  plan.sequences = training.batch.micro_batch;
  plan.sequence_length = training.batch.sequence_length;
  plan.dispatch = training.dispatch.protocol;
  plan.communication_units = training.dispatch.communication_units;
  plan.recompute = training.recompute;
  plan.weight_gradients = training.weight_gradients;
  plan.shared_experts = training.dispatch.shared_experts;
  plan.expert_row_tile = training.dispatch.expert_row_tile.value_or(1);
  return plan;
}

double sum_of(const std::vector<std::int64_t>& rows) {
  return static_cast<double>(std::accumulate(rows.begin(), rows.end(), std::int64_t{0}));
}

void note_loads(PassCost& cost, const std::vector<LayerTraffic>& traffic) {
  std::vector<double> of_all;
  for (const LayerTraffic& layer : traffic) {
    std::vector<double> loads;
    for (const auto& rows : layer.rows) {
      loads.push_back(sum_of(rows));
    }
    cost.imbalance.push_back(load_imbalance(loads));
    of_all.resize(loads.size(), 0.0);
    std::transform(loads.begin(), loads.end(), of_all.begin(), of_all.begin(), std::plus<>());
  }
  cost.expert_load = of_all.empty() ? 1.0 : load_imbalance(of_all);
}

/// [samples], each over all MoE layers.
std::vector<StepRouting> draw_samples(const PreparedTraining& prepared, const TaskPool& pool,
                                      std::vector<std::string>& warnings) {
  std::vector<StepRouting> samples;
  if (prepared.routing == nullptr) {
    return samples;
  }
  const auto count = static_cast<std::size_t>(prepared.training.routing_samples);
  for (std::size_t sample = 0; sample < count; ++sample) {
    samples.push_back(
        prepared.routing->draw(micro_batch_tokens(prepared, sample), prepared.training.seed + sample, pool));
    for (const std::string& warning : samples.back().warnings) {
      if (std::find(warnings.begin(), warnings.end(), warning) == warnings.end()) {
        warnings.push_back(warning);
      }
    }
    if (samples.back().router && samples.back().router->buffers) {
      throw ModelError("routing: expected a router without buffers of fixed size, which training does not have yet");
    }
  }
  return samples;
}

PassCost simulate_pass(const PreparedTraining& prepared, const PassKeys& keys, const PassKey& key,
                       const std::vector<StepRouting>& samples, const CostModel& costs) {
  const auto plan = [&](std::size_t kind, std::size_t sample) {
    const Stage& stage = prepared.layout.stages[keys.stage_of(kind, sample)];
    return chunk_plan(prepared, stage, samples.empty() ? nullptr : &samples[sample]);
  };
  const TaskPool alone(1);
  const ChunkProgram built =
      key.pass == Pass::kForwardBackward
          ? build_overlapped(plan(key.kind, key.sample), plan(key.backward_kind, key.backward_sample), alone)
          : build_pass(plan(key.kind, key.sample), key.pass, alone);
  const Execution execution =
      execute(built.program, prepared.cluster, costs, prepared.profile.communication, prepared.training.fidelity);
  PassCost cost;
  cost.time = execution.end;
  cost.parts = attribution(execution);
  cost.model_work = built.model_work;
  cost.work = execution.work;
  cost.peak_time = execution.peak_time;
  cost.bytes_intra_node = execution.bytes_intra_node;
  cost.bytes_inter_node = execution.bytes_inter_node;
  cost.warnings = execution.warnings;
  if (key.pass == Pass::kForward) {
    note_loads(cost, built.traffic);
  }
  return cost;
}

}  // namespace

StageKinds kinds_of(const Model& model, const std::vector<Stage>& stages) {
  StageKinds kinds;
  for (std::size_t stage = 0; stage < stages.size(); ++stage) {
    const auto known = std::find_if(kinds.members.begin(), kinds.members.end(), [&](const auto& members) {
      return are_alike(model, stages[members.front()], stages[stage]);
    });
    kinds.kind_of.push_back(static_cast<std::size_t>(known - kinds.members.begin()));
    if (known == kinds.members.end()) {
      kinds.members.push_back({stage});
    } else {
      known->push_back(stage);
    }
  }
  return kinds;
}

PassKey PassKeys::of(const ScheduleItem& item) const {
  PassKey key{item.pass, kinds_.kind_of[item.visit.stage], item.visit.micro_batch % samples_};
  if (item.pass == Pass::kForwardBackward) {
    key.backward_kind = kinds_.kind_of[item.backward.stage];
    key.backward_sample = item.backward.micro_batch % samples_;
  }
  return key;
}

std::vector<PassKey> PassKeys::all(const ScheduleOrder& order) const {
  std::set<PassKey> keys;
  for (const auto& rank : order) {
    for (const ScheduleItem& item : rank) {
      keys.insert(of(item));
    }
  }
  return {keys.begin(), keys.end()};
}

PassCosts simulate_passes(const PreparedTraining& prepared, const PassKeys& keys, const CostModel& costs,
                          const TaskPool& pool, std::vector<std::string>& warnings) {
  const std::vector<StepRouting> samples = draw_samples(prepared, pool, warnings);
  const std::vector<PassKey> wanted = keys.all(prepared.layout.schedule->order(prepared.layout.shape));
  std::vector<PassCost> found(wanted.size());
  pool.for_each_index(wanted.size(),
                      [&](std::size_t i) { found[i] = simulate_pass(prepared, keys, wanted[i], samples, costs); });
  PassCosts result;
  for (std::size_t i = 0; i < wanted.size(); ++i) {
    result.emplace(wanted[i], std::move(found[i]));
  }
  return result;
}

}  // namespace moesim
