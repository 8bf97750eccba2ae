#include "sim/training/layout.hpp"

#include <fmt/format.h>

#include <numeric>

#include "sim/scenario/run.hpp"

namespace moesim {

namespace {

/// Collects what is wrong with a training's numbers.
class LayoutCheck {
 public:
  LayoutCheck(const Training& training, const Model& model, const Cluster& cluster, const Place& place)
      : training_(training), model_(model), cluster_(cluster), place_(place) {}

  void ranks() {
    const TrainingParallelism& p = training_.parallelism;
    expect(p.ranks % p.pipeline_parallel == 0, "/parallelism/pipeline_parallel",
           fmt::format("expected a divisor of the {} ranks, found {}", p.ranks, p.pipeline_parallel));
    stop();
    for (Diagnostic& fault : tensor_parallel_faults(model_, cluster_, p.ranks_per_stage(), p.tensor_parallel,
                                                    below(place_, "/parallelism/tensor_parallel"))) {
      faults_.push_back(std::move(fault));
    }
    expect(p.ranks_per_stage() % p.expert_parallel == 0, "/parallelism/expert_parallel",
           fmt::format("expected a divisor of the {} ranks of a pipeline rank, found {}", p.ranks_per_stage(),
                       p.expert_parallel));
    if (const MixtureOfExperts* moe = model_.moe()) {
      expect(p.expert_parallel % p.tensor_parallel == 0, "/parallelism/expert_parallel",
             fmt::format("expected a multiple of tensor_parallel = {}, since experts are whole on each rank; found {}",
                         p.tensor_parallel, p.expert_parallel));
      expect(moe->experts % p.expert_parallel == 0, "/parallelism/expert_parallel",
             fmt::format("expected a divisor of the {} experts, found {}", moe->experts, p.expert_parallel));
    } else {
      expect(p.expert_parallel == 1, "/parallelism/expert_parallel",
             fmt::format("expected 1, since the model has no experts; found {}", p.expert_parallel));
    }
    expect(training_.placement.redundant_experts == 0, "/placement/redundant_experts",
           fmt::format("expected 0, since in training every copy would have gradients of its own; found {}",
                       training_.placement.redundant_experts));
    stop();
  }

  void batch() {
    const BatchConfig& batch = training_.batch;
    const std::int64_t at_once = training_.parallelism.data_parallel() * batch.micro_batch;
    expect(
        batch.global_batch % at_once == 0, "/batch/global_batch",
        fmt::format("expected a multiple of {}, the {} sequences of a micro-batch of each of {} data-parallel ranks; "
                    "found {}",
                    at_once, batch.micro_batch, training_.parallelism.data_parallel(), batch.global_batch));
    const std::int64_t tokens = batch.micro_batch * batch.sequence_length;
    const int tensor_parallel = training_.parallelism.tensor_parallel;
    expect(tokens % tensor_parallel == 0, "/batch/sequence_length",
           fmt::format("expected a multiple of {} tokens in a micro-batch, one part for each of the tensor-parallel "
                       "ranks (sequence parallelism); found {}",
                       tensor_parallel, tokens));
    stop();
  }

  void pipeline(const PipelineSchedule& schedule, const PipelineShape& shape) {
    const std::string obstacle = schedule.obstacle(shape);
    expect(obstacle.empty(), "/schedule",
           fmt::format("expected a schedule that runs here, found \"{}\": {}", schedule.name, obstacle));
    stop();
    const std::size_t stages = schedule.stages(shape);
    const std::size_t layers = model_.layers().size();
    expect(stages <= layers, "/parallelism/pipeline_parallel",
           fmt::format("expected at most as many stages as the {} layers, found {}", layers, stages));
    const auto& given = training_.parallelism.layers_per_stage;
    const auto sum = static_cast<std::size_t>(std::accumulate(given.begin(), given.end(), std::int64_t{0}));
    if (!given.empty()) {
      expect(given.size() == stages, "/parallelism/layers_per_stage",
             fmt::format("expected one for each of {} stages, found {}", stages, given.size()));
      expect(sum == layers, "/parallelism/layers_per_stage",
             fmt::format("expected {} layers in all, found {}", layers, sum));
    }
    stop();
  }

  void dispatch() {
    const TrainingParallelism& p = training_.parallelism;
    const DispatchProtocol protocol = training_.dispatch.protocol;
    if (model_.moe() != nullptr && p.expert_parallel > 1) {
      const auto obstacle = dispatch_obstacle(protocol, cluster_, static_cast<std::size_t>(p.expert_parallel));
      expect(
          obstacle.empty() || stays_in_place(protocol), "/dispatch/protocol",
          fmt::format("expected a protocol that runs on these ranks, found \"{}\": {}", name_of(protocol), obstacle));
    }
    expect(!stays_in_place(protocol), "/dispatch/protocol",
           fmt::format("expected a protocol that sends tokens, found \"{}\"", name_of(protocol)));
    for (Diagnostic& fault : communication_unit_faults(protocol, training_.dispatch.communication_units, cluster_,
                                                       below(place_, "/dispatch/communication_units"))) {
      faults_.push_back(std::move(fault));
    }
    stop();
  }

 private:
  void expect(bool good, std::string_view pointer, std::string message) {
    if (!good) {
      faults_.push_back({below(place_, pointer), std::move(message)});
    }
  }
  void stop() {
    if (!faults_.empty()) {
      throw ConfigError(std::move(faults_));
    }
  }

  const Training& training_;
  const Model& model_;
  const Cluster& cluster_;
  const Place& place_;
  std::vector<Diagnostic> faults_;
};

ChunkEnds ends_of(std::size_t stage, std::size_t stages) {
  if (stages == 1) {
    return ChunkEnds::kBoth;
  }
  return stage == 0 ? ChunkEnds::kFirst : stage + 1 == stages ? ChunkEnds::kLast : ChunkEnds::kInner;
}

std::vector<Stage> stages_of(const Training& training, const Model& model, std::size_t count) {
  std::vector<std::size_t> layers(training.parallelism.layers_per_stage.begin(),
                                  training.parallelism.layers_per_stage.end());
  if (layers.empty()) {
    layers = even_stages(model.layers().size(), count);
  }
  std::vector<Stage> stages;
  std::size_t first = 0;
  for (std::size_t stage = 0; stage < count; ++stage) {
    stages.push_back({first, first + layers[stage], ends_of(stage, count)});
    first += layers[stage];
  }
  return stages;
}

}  // namespace

std::vector<std::size_t> even_stages(std::size_t layers, std::size_t stages) {
  std::vector<std::size_t> result(stages, layers / stages);
  std::size_t left = layers % stages;
  for (std::size_t stage = 1; stage + 1 < stages && left > 0; ++stage, --left) {
    ++result[stage];
  }
  result.front() += left > 0 ? 1 : 0;
  return result;
}

TrainingLayout lay_out(const Training& training, const Model& model, const Cluster& cluster, const Place& place) {
  const PipelineSchedule& schedule = find_schedule(training.schedule, below(place, "/schedule"));
  LayoutCheck check(training, model, cluster, place);
  check.ranks();
  check.batch();
  const TrainingParallelism& p = training.parallelism;
  const std::int64_t micro_batches = training.batch.global_batch / (p.data_parallel() * training.batch.micro_batch);
  TrainingLayout layout;
  layout.schedule = &schedule;
  layout.shape = {static_cast<std::size_t>(p.pipeline_parallel), static_cast<std::size_t>(p.virtual_stages),
                  static_cast<std::size_t>(micro_batches)};
  check.pipeline(schedule, layout.shape);
  check.dispatch();
  layout.stages = stages_of(training, model, schedule.stages(layout.shape));
  layout.stage_ranks = static_cast<std::size_t>(p.ranks_per_stage());
  layout.group_ranks = static_cast<std::size_t>(model.moe() != nullptr ? p.expert_parallel : p.tensor_parallel);
  layout.data_parallel = static_cast<std::size_t>(p.data_parallel());
  return layout;
}

}  // namespace moesim
