#include "sim/training/run.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <numeric>

#include "sim/core/error.hpp"
#include "sim/core/quantity.hpp"
#include "sim/scenario/model_flops.hpp"
#include "sim/training/stage_network.hpp"
#include "sim/training/step_ends.hpp"

namespace moesim {

namespace {

SimTime& part(PipelineRankTime& rank, TrainingTime time) { return rank.parts[static_cast<std::size_t>(time)]; }

/// Where a pipeline rank's time went in the passes themselves.
PipelineRankTime time_in_passes(const std::vector<PlacedItem>& items, const PassKeys& keys, const PassCosts& costs) {
  PipelineRankTime rank;
  for (const PlacedItem& placed : items) {
    const PassCost& cost = costs.at(keys.of(placed.item));
    for (std::size_t c = 0; c < kTimeCategories; ++c) {
      rank.parts[c] += cost.parts[c];
    }
    rank.passes[static_cast<std::size_t>(placed.item.pass)] += cost.time;
  }
  return rank;
}

/// Puts the step together: its end, and for each rank what is no pass.
void add_ends(const PreparedTraining& prepared, const CostModel& costs,
              const std::vector<TrainingMemoryRequest>& requests, TrainingResult& result) {
  const OptimizerConfig& optimizer = prepared.training.optimizer;
  ParameterSync sync(prepared, costs);
  const std::vector<StageBuckets> buckets = stage_buckets(prepared, sync, requests);
  const std::vector<SimTime> ready = gradients_ready(prepared, result.pipeline, buckets);
  const SimTime synced = std::max(result.pipeline.end, *std::max_element(ready.begin(), ready.end()));
  StepEnds& ends = result.ends;
  ends.reduce_after = synced - result.pipeline.end;
  ends.norm = sync.norm();
  const bool beside = optimizer.parameter_gather == Overlap::kOverlapped;
  ends.gather_before = beside ? gather_delay(prepared, result.pipeline, buckets) : SimTime();
  std::vector<SimTime> update;
  std::vector<SimTime> gather;
  for (std::size_t rank = 0; rank < requests.size(); ++rank) {
    update.push_back(optimizer_time(prepared, requests[rank], costs));
    SimTime all;
    for (const std::size_t stage : stages_of_rank(*prepared.layout.schedule, prepared.layout.shape, rank)) {
      all += buckets[stage].all_gathers();
    }
    gather.push_back(beside ? SimTime() : all);
    ends.optimizer = std::max(ends.optimizer, update.back());
  }
  SimTime last;
  for (std::size_t rank = 0; rank < requests.size(); ++rank) {
    last = std::max(last, update[rank] + gather[rank]);
  }
  ends.gather_after = last - ends.optimizer;
  result.step = ends.gather_before + synced + ends.norm + last;
  for (std::size_t rank = 0; rank < requests.size(); ++rank) {
    PipelineRankTime& time = result.ranks[rank];
    const SimTime end = result.pipeline.ranks[rank].back().end;
    const SimTime reducing = std::max(ready[rank], end) - end;
    time.gradients_ready = ready[rank];
    part(time, TrainingTime::kParameterGather) += ends.gather_before + gather[rank];
    part(time, TrainingTime::kGradientReduce) += reducing + ends.norm;
    part(time, TrainingTime::kOptimizer) += update[rank];
    // What is left: gaps between passes, and waiting for ranks that take longer with the same.
    const SimTime known = std::accumulate(time.parts.begin(), time.parts.end(), SimTime());
    ensure(known <= result.step, "a rank does more than the step has time for");
    const SimTime after = last - update[rank] - gather[rank];
    part(time, TrainingTime::kImbalanceWait) += after;
    part(time, TrainingTime::kBubble) += result.step - known - after;
  }
}

/// Passes of all pipeline ranks and expert-parallel groups.
void add_work(const PassKeys& keys, TrainingResult& result) {
  const std::size_t all_groups = result.layout.stage_ranks / result.layout.group_ranks;
  const auto groups = static_cast<double>(all_groups);
  for (const auto& rank : result.pipeline.ranks) {
    for (const PlacedItem& placed : rank) {
      const PassCost& cost = result.costs.at(keys.of(placed.item));
      result.model_work += groups * cost.model_work;
      result.work += groups * cost.work;
      result.peak_time += groups * cost.peak_time;
      result.bytes_intra_node += groups * cost.bytes_intra_node;
      result.bytes_inter_node += groups * cost.bytes_inter_node;
    }
  }
}

void add_imbalance(TrainingResult& result) {
  double sum = 0.0;
  double count = 0.0;
  for (const auto& [key, cost] : result.costs) {
    for (const double imbalance : cost.imbalance) {
      sum += imbalance;
      count += 1.0;
      result.imbalance_worst = std::max(result.imbalance_worst, imbalance);
    }
    for (const std::string& warning : cost.warnings) {
      if (std::find(result.warnings.begin(), result.warnings.end(), warning) == result.warnings.end()) {
        result.warnings.push_back(warning);
      }
    }
  }
  result.imbalance_mean = count > 0.0 ? sum / count : 1.0;
}

double fullest_load(const PassCosts& costs) {
  double most = 1.0;
  for (const auto& [key, cost] : costs) {
    most = std::max(most, cost.expert_load);
  }
  return most;
}

/// Whether tokens are on their way while kernels run: of another micro-batch, or of gradients of weights.
bool exchanges_beside_kernels(const PreparedTraining& prepared, const PipelineRun& pipeline) {
  if (prepared.model.moe() == nullptr || prepared.layout.group_ranks == 1) {
    return false;
  }
  return std::any_of(pipeline.ranks.begin(), pipeline.ranks.end(), [&](const auto& placed) {
    return std::any_of(placed.begin(), placed.end(), [&](const PlacedItem& of) {
      const bool puts_off = prepared.training.weight_gradients == WeightGradients::kBesideExchange;
      return of.item.pass == Pass::kForwardBackward || (of.item.pass == Pass::kBackward && puts_off);
    });
  });
}

/// What of attention's products with all keys a causal mask spares, forward and twice backward.
Flops spared_by_mask(const PreparedTraining& prepared, std::int64_t sequences) {
  const std::int64_t length = prepared.training.batch.sequence_length;
  const BatchShape batch{sequences, length, length, StepPhase::kPrefill};
  Flops sum;
  for (const Layer& layer : prepared.model.layers()) {
    sum += 3.0 * masked_attention_work(layer.block->mixer, batch);
  }
  return sum;
}

}  // namespace

TrainingResult run_training(const Training& training, const Place& place, const TaskPool& pool) {
  const PreparedTraining prepared = prepare_training(training, place, pool);
  const auto costs = make_cost_model(prepared.profile, prepared.cluster.accelerator());
  TrainingResult result;
  result.training = training;
  result.cluster = prepared.cluster.config();
  result.accelerator = prepared.cluster.accelerator();
  result.model_name = prepared.model.architecture().name;
  result.parameters_total = total_parameters(prepared.model);
  result.parameters_active = active_parameters(prepared.model);
  result.layout = prepared.layout;
  result.warnings = prepared.model.architecture().remarks;
  result.routing_provenance = prepared.routing ? prepared.routing->provenance() : "none: the model has no experts";
  result.tokens = training.batch.global_batch * training.batch.sequence_length;

  StageKinds kinds = kinds_of(prepared.model, prepared.layout.stages);
  result.kind_of_stage = kinds.kind_of;
  const auto micro_batches = prepared.layout.shape.micro_batches;
  const PassKeys keys(std::move(kinds),
                      std::min<std::size_t>(static_cast<std::size_t>(training.routing_samples), micro_batches));
  result.costs = simulate_passes(prepared, keys, *costs, pool, result.warnings);
  const StageSends sends(prepared, *costs);
  result.longest_send = sends.longest();
  result.pipeline = run_pipeline(
      *prepared.layout.schedule, prepared.layout.shape,
      [&](const ScheduleItem& item) { return result.costs.at(keys.of(item)).time; }, sends.as_function());
  if (runs_collectives(training.dispatch.protocol) && exchanges_beside_kernels(prepared, result.pipeline)) {
    result.warnings.push_back(beside_collectives_warning(training.dispatch.protocol, "passes"));
  }
  for (const auto& items : result.pipeline.ranks) {
    result.ranks.push_back(time_in_passes(items, keys, result.costs));
  }
  const auto requests = memory_requests(training, prepared.model, prepared.layout, fullest_load(result.costs));
  for (const TrainingMemoryRequest& request : requests) {
    result.memory.push_back(training_footprint(request));
    result.in_flight.push_back(request.chunks);
  }
  check_training_fits(prepared, fullest_load(result.costs), place);
  add_ends(prepared, *costs, requests, result);
  add_work(keys, result);
  add_imbalance(result);
  result.masked_work = spared_by_mask(prepared, training.batch.global_batch);
  result.inputs = input_files(training.model, training.cluster, training.kernels, training.routing, training.placement);
  return result;
}

}  // namespace moesim
