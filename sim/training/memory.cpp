#include "sim/training/memory.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <string>
#include <utility>

#include "models/memory/memory.hpp"
#include "sim/core/units.hpp"
#include "sim/scenario/run.hpp"

namespace moesim {

namespace {

KeptActivations kept_with(Recompute recompute) {
  switch (recompute) {
    case Recompute::kNone:
      return KeptActivations::kAll;
    case Recompute::kSelective:
      return KeptActivations::kSelective;
    case Recompute::kFull:
      return KeptActivations::kLayerInputs;
  }
  return KeptActivations::kAll;
}

bool runs_side_by_side(const std::vector<ScheduleItem>& order) {
  return std::any_of(order.begin(), order.end(),
                     [](const ScheduleItem& item) { return item.pass == Pass::kForwardBackward; });
}

Bytes buffers_of(const Training& training, const Model& model) {
  const std::int64_t ranks = training.parallelism.expert_parallel;
  MemoryRequest request{.model = model, .precision = training.precision};
  request.expert_ranks = static_cast<int>(ranks);
  request.exchange = exchange_of(training.dispatch.protocol, ranks, model);
  request.max_dispatch_tokens =
      training.batch.micro_batch * training.batch.sequence_length / training.parallelism.tensor_parallel;
  if (const MixtureOfExperts* moe = model.moe()) {
    request.expert_slots.assign(model.moe_layers(), static_cast<std::size_t>(moe->experts / ranks));
  }
  return communication_buffer_bytes(request);
}

struct Fullest {
  std::size_t rank = 0;
  TrainingFootprint footprint;
};

Fullest fullest_of(const std::vector<TrainingMemoryRequest>& requests) {
  Fullest fullest;
  for (std::size_t rank = 0; rank < requests.size(); ++rank) {
    const TrainingFootprint footprint = training_footprint(requests[rank]);
    if (rank == 0 || footprint.total() > fullest.footprint.total()) {
      fullest = {rank, footprint};
    }
  }
  return fullest;
}

/// A change of one thing, and what to call it.
struct Remedy {
  std::string name;
  Training changed;
};

std::vector<Remedy> remedies_of(const Training& training) {
  std::vector<Remedy> remedies;
  const auto add = [&](auto&& name, auto change) {
    Training changed = training;
    change(changed);
    remedies.push_back({name(changed), std::move(changed)});
  };
  for (const Recompute recompute : {Recompute::kSelective, Recompute::kFull}) {
    if (recompute > training.recompute) {
      add([](const Training& t) { return fmt::format("recompute \"{}\"", name_of(t.recompute)); },
          [&](Training& t) { t.recompute = recompute; });
    }
  }
  if (training.optimizer.states == OptimizerSharding::kReplicated) {
    add([](const Training&) { return std::string("a distributed optimizer"); },
        [](Training& t) { t.optimizer.states = OptimizerSharding::kDistributed; });
  }
  add([](const Training& t) { return fmt::format("expert parallelism {}", t.parallelism.expert_parallel); },
      [](Training& t) { t.parallelism.expert_parallel *= 2; });
  add([](const Training& t) { return fmt::format("tensor parallelism {}", t.parallelism.tensor_parallel); },
      [](Training& t) { t.parallelism.tensor_parallel *= 2; });
  add([](const Training& t) { return fmt::format("pipelines of {}", t.parallelism.pipeline_parallel); },
      [](Training& t) { t.parallelism.pipeline_parallel *= 2; });
  add([](const Training& t) { return fmt::format("micro-batches of {}", t.batch.micro_batch); },
      [](Training& t) { t.batch.micro_batch /= 2; });
  return remedies;
}

/// Whether a training that is changed in one thing can be laid out, and fits.
bool fits(const Training& training, const PreparedTraining& prepared, double expert_load) {
  if (training.batch.micro_batch < 1) {
    return false;
  }
  try {
    const TrainingLayout layout = lay_out(training, prepared.model, prepared.cluster, {});
    const Fullest fullest = fullest_of(memory_requests(training, prepared.model, layout, expert_load));
    return fullest.footprint.total() <= training.memory.fraction * prepared.cluster.accelerator().memory;
  } catch (const ConfigError&) {
    return false;
  }
}

std::string remedy_text(const PreparedTraining& prepared, double expert_load) {
  std::vector<std::string> found;
  for (const Remedy& remedy : remedies_of(prepared.training)) {
    if (fits(remedy.changed, prepared, expert_load)) {
      found.push_back(remedy.name);
    }
  }
  for (const PipelineSchedule& schedule : pipeline_schedules()) {
    Training changed = prepared.training;
    changed.schedule = schedule.name;
    if (fits(changed, prepared, expert_load)) {  // the first will do
      found.push_back(fmt::format("schedule \"{}\"", schedule.name));
      break;
    }
  }
  return found.empty() ? "no single change of recompute, optimizer, parallelism, micro-batch or schedule makes it fit"
                       : fmt::format("it fits with {}", fmt::join(found, ", or with "));
}

}  // namespace

std::vector<TrainingMemoryRequest> memory_requests(const Training& training, const Model& model,
                                                   const TrainingLayout& layout, double expert_load) {
  const ScheduleOrder order = layout.schedule->order(layout.shape);
  const OptimizerConfig& optimizer = training.optimizer;
  std::vector<TrainingMemoryRequest> requests;
  for (std::size_t rank = 0; rank < layout.shape.ranks; ++rank) {
    TrainingMemoryRequest request{.model = model, .precision = training.precision};
    request.types = {optimizer.parameters, training.gradients.weights, optimizer.master, optimizer.first_moment,
                     optimizer.second_moment};
    request.kept = kept_with(training.recompute);
    request.kept_type = training.kept_activations;
    request.sharding = optimizer.states;
    request.tensor_parallel = training.parallelism.tensor_parallel;
    request.expert_parallel = training.parallelism.expert_parallel;
    request.data_parallel = static_cast<std::int64_t>(layout.dense_copies());
    request.expert_data_parallel = static_cast<std::int64_t>(layout.expert_copies());
    request.tokens = training.batch.micro_batch * training.batch.sequence_length;
    request.expert_load = expert_load;
    request.at_once = runs_side_by_side(order[rank]) ? 2 : 1;
    request.communication_buffers = buffers_of(training, model);
    request.reserve = training.memory.reserve;
    std::vector<double> weight(layout.stages.size(), 0.0);
    const std::vector<std::size_t> held = stages_of_rank(*layout.schedule, layout.shape, rank);
    for (const std::size_t stage : held) {
      const Stage& of = layout.stages[stage];
      const bool embeds = of.ends == ChunkEnds::kFirst || of.ends == ChunkEnds::kBoth;
      const bool has_head = of.ends == ChunkEnds::kLast || of.ends == ChunkEnds::kBoth;
      request.chunks.push_back({of.first_layer, of.last_layer, embeds, has_head, 0});
      weight[stage] = kept_bytes(request, request.chunks.back()).base();
    }
    const std::vector<InFlight> in_flight = most_in_flight(order[rank], weight);
    for (std::size_t i = 0; i < held.size(); ++i) {
      request.chunks[i].micro_batches = in_flight[held[i]].micro_batches;
      request.chunks[i].before_backward = in_flight[held[i]].before_backward;
    }
    requests.push_back(std::move(request));
  }
  return requests;
}

void check_training_fits(const PreparedTraining& prepared, double expert_load, const Place& place) {
  const Accelerator& accelerator = prepared.cluster.accelerator();
  const Bytes there = prepared.training.memory.fraction * accelerator.memory;
  const Fullest fullest = fullest_of(memory_requests(prepared.training, prepared.model, prepared.layout, expert_load));
  const Bytes needed = fullest.footprint.total();
  if (needed <= there) {
    return;
  }
  auto parts = fullest.footprint.parts();
  std::stable_sort(parts.begin(), parts.end(), [](const auto& a, const auto& b) { return a.size > b.size; });
  throw ModelError(fmt::format(
      "{}: does not fit: {} needed on pipeline rank {}, {} usable on {}, {} too much; largest: {} {}, {} {}, {} {}; {}",
      place.text(), to_text(needed), fullest.rank, to_text(there), accelerator.name, to_text(needed - there),
      parts[0].name, to_text(parts[0].size), parts[1].name, to_text(parts[1].size), parts[2].name,
      to_text(parts[2].size), remedy_text(prepared, expert_load)));
}

}  // namespace moesim
