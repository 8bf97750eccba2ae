#include "sim/scenario/run.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <concepts>
#include <numeric>
#include <span>
#include <variant>

#include "sim/core/error.hpp"
#include "sim/core/file.hpp"
#include "sim/core/quantity.hpp"
#include "sim/execute/choose.hpp"
#include "sim/scenario/model_flops.hpp"

namespace moesim {

namespace {

using MicroBatchTraffic = std::vector<std::vector<LayerTraffic>>;  // [micro-batches][MoE layers that run]

std::int64_t sum_of(const std::vector<std::int64_t>& rows) {
  return std::accumulate(rows.begin(), rows.end(), std::int64_t{0});
}

std::vector<LayerImbalance> imbalances(const PreparedStep& step, const StepProgram& built) {
  std::vector<LayerImbalance> imbalance;
  const std::optional<CountTrace> recorded = step.routing ? step.routing->recorded_counts() : std::nullopt;
  for (std::size_t layer = 0; layer < built.moe_layers.size(); ++layer) {
    std::vector<double> loads;
    for (const std::vector<LayerTraffic>& micro_batch : built.traffic) {
      const auto& rows = micro_batch[layer].rows;
      loads.resize(rows.size(), 0.0);
      for (std::size_t rank = 0; rank < rows.size(); ++rank) {
        loads[rank] += static_cast<double>(sum_of(rows[rank]));
      }
    }
    LayerImbalance row{load_imbalance(loads), std::nullopt};
    if (recorded) {
      const std::size_t index = built.moe_layers[layer];
      row.recording = load_imbalance(rank_loads(step.placement.layers[index], recorded->layer(index)));
    }
    imbalance.push_back(row);
  }
  return imbalance;
}

/// Footprints with the expert rows that the routing brings, which are more on some ranks than balance would have.
std::vector<MemoryFootprint> footprints(const PreparedStep& step, const MicroBatchTraffic& traffic,
                                        const Place& place) {
  std::vector<MemoryFootprint> footprints;
  auto requests = step.memory_requests();
  const auto group = static_cast<std::size_t>(step.scenario.parallelism.expert_tensor_parallel);
  for (std::size_t rank = 0; rank < requests.size(); ++rank) {
    requests[rank].expert_rows = traffic.front().empty() ? std::nullopt : std::optional<std::int64_t>(0);
    for (const std::vector<LayerTraffic>& micro_batch : traffic) {
      for (const LayerTraffic& layer : micro_batch) {
        requests[rank].expert_rows =
            std::max(requests[rank].expert_rows.value_or(0), sum_of(layer.computed[rank / group]));
      }
    }
    footprints.push_back(footprint(requests[rank]));
    check_fits(requests[rank], step.cluster.accelerator(), place);
  }
  return footprints;
}

/// How the ranks of an attention group sum their terms of the hidden states; nullptr: reduce-scatter and all-gather.
const CollectiveAlgorithm* all_reduce_of(const PreparedStep& step, const CostModel& costs) {
  const Parallelism& parallelism = step.scenario.parallelism;
  if (parallelism.tensor_parallel == 1 || parallelism.all_reduce == kSplitAllReduce) {
    return nullptr;
  }
  if (parallelism.all_reduce != "auto") {
    return find_algorithm(Collective::kAllReduce, parallelism.all_reduce);
  }
  const auto group = static_cast<std::size_t>(parallelism.tensor_parallel);
  const double hidden = step.model.architecture().hidden;
  const Bytes size =
      static_cast<double>(step.batch.tokens()) * hidden * activation_element_size(step.scenario.precision.activations);
  return &fastest_algorithm(Collective::kAllReduce, {&step.cluster, static_cast<std::size_t>(parallelism.ranks), group},
                            size.base(), costs, step.profile.communication);
}

/// Measured experts are whole operators but in our own measurements: what they were timed with includes permuting rows
/// there and back (aiconfigurator's collectors time fused MoE layers, from hidden states and router scores to hidden
/// states).
Permutation permutation_of(const PreparedStep& step) {
  const DataType type = step.scenario.precision.expert_weights(step.model.architecture().released());
  const ExpertLayout layout = layout_of(step.scenario.dispatch.protocol);
  const auto fit = step.profile.choose_on(step.cluster.accelerator(), Experts{.weight = type, .layout = layout});
  return fit && fit->from->profile().has_whole_experts() ? Permutation::kInExperts : Permutation::kApart;
}

/// Of the tokens that a step computes, those that lead to new ones of their sequences.
void count_new_tokens(StepResult& result) {
  result.new_tokens = static_cast<double>(result.tokens);
  const auto* decode = std::get_if<DecodeStep>(&result.scenario.step);
  if (decode != nullptr && decode->draft_tokens() > 0) {
    result.tokens_per_step = tokens_per_step(*decode->speculative);
    result.new_tokens *= result.tokens_per_step / (1.0 + decode->draft_tokens());
  }
}

/// Buffers of fixed size are laid out for all tokens of a step.
void check_buffers(const PreparedStep& step, const StepRouting& routing, const Place& place) {
  if (const int drafts = draft_tokens_of(step.scenario.step); drafts > 0 && routing.router && routing.router->buffers) {
    throw ConfigError(
        below(place, "/step/decode/speculative/draft_tokens"),
        fmt::format("expected 0, since this router fills buffers of fixed size with all tokens of a step; found {}",
                    drafts));
  }
  if (step.micro_batches > 1 && routing.router && routing.router->buffers) {
    throw ConfigError(
        place_of_micro_batches(step.scenario.step, place),
        fmt::format("expected 1, since this router fills buffers of fixed size with all tokens of a step; found {}",
                    step.micro_batches));
  }
}

/// [MoE layers that run]: over all ranks.
std::vector<double> routed_rows(const MicroBatchTraffic& traffic) {
  std::vector<double> rows(traffic.front().size(), 0.0);
  for (const std::vector<LayerTraffic>& micro_batch : traffic) {
    for (std::size_t layer = 0; layer < micro_batch.size(); ++layer) {
      for (const std::vector<std::int64_t>& of_rank : micro_batch[layer].rows) {
        rows[layer] += static_cast<double>(sum_of(of_rank));
      }
    }
  }
  return rows;
}

/// Rows over all layers and ranks.
RowCounts padding_of(const MicroBatchTraffic& traffic) {
  RowCounts counts;
  for (const std::vector<LayerTraffic>& micro_batch : traffic) {
    for (const LayerTraffic& layer : micro_batch) {
      for (std::size_t rank = 0; rank < layer.ranks; ++rank) {
        counts.routed += static_cast<double>(sum_of(layer.rows[rank]));
        counts.computed += static_cast<double>(sum_of(layer.computed[rank]));
      }
    }
  }
  return counts;
}

}  // namespace

std::vector<InputFile> hashed(std::span<const std::filesystem::path> paths) {
  std::vector<InputFile> inputs;
  for (const auto& path : paths) {
    inputs.push_back({path, sha256_of_file(path)});
  }
  return inputs;
}

std::vector<InputFile> input_files(const ModelChoice& model, const ClusterChoice& cluster, const ProfileChoice& kernels,
                                   const RoutingConfig& routing, const PlacementConfig& placement) {
  std::vector<std::filesystem::path> paths;
  std::visit(
      [&]<class M>(const M& choice) {
        if constexpr (std::same_as<decltype(choice.value), FilePath>) {
          paths.push_back(choice.value.resolved);
        }
        if constexpr (std::same_as<M, HuggingFaceConfig>) {
          if (auto beside = quantization_file_beside(choice.value.resolved)) {
            paths.push_back(std::move(*beside));
          }
        }
      },
      model);
  if (const auto* file = std::get_if<ClusterFile>(&cluster)) {
    paths.push_back(file->value.resolved);
  }
  if (const auto* file = std::get_if<ProfileFile>(&kernels)) {
    paths.push_back(file->value.resolved);
  }
  for (auto& path : files_of(routing)) {
    paths.push_back(std::move(path));
  }
  if (placement.file) {
    paths.push_back(placement.file->resolved);
  }
  return hashed(paths);
}

std::vector<InputFile> input_files(const Scenario& scenario) {
  return input_files(scenario.model, scenario.cluster, scenario.kernels, scenario.routing, scenario.placement);
}

TokenBatch token_batch(const PreparedStep& step) {
  const std::int64_t groups = step.scenario.parallelism.ranks / step.scenario.parallelism.tensor_parallel;
  TokenBatch batch;
  batch.tokens.reserve(static_cast<std::size_t>(groups * step.batch.tokens()));
  for (std::int64_t sequence = 0; sequence < groups * step.batch.sequences; ++sequence) {
    for (std::int64_t position = step.batch.keys - step.batch.query; position < step.batch.keys; ++position) {
      batch.tokens.push_back({static_cast<std::uint32_t>(sequence), static_cast<std::uint32_t>(position)});
    }
  }
  return batch;
}

std::vector<double> loads_of(const StepRouting& routing) {
  std::vector<double> loads(routing.shape.layers * routing.shape.experts, 0.0);
  for (std::size_t layer = 0; layer < routing.shape.layers; ++layer) {
    for (const ExpertIndex expert : routing.layer(layer)) {
      if (expert != kNoExpert) {
        loads[layer * routing.shape.experts + expert] += 1.0;
      }
    }
  }
  return loads;
}

StepPlan step_plan(const PreparedStep& step, const CostModel& costs) {
  const Scenario& scenario = step.scenario;
  return {.model = &step.model,
          .cluster = &step.cluster,
          .placement = &step.placement,
          .ranks = static_cast<std::size_t>(scenario.parallelism.ranks),
          .tensor_parallel = scenario.parallelism.tensor_parallel,
          .expert_tensor_parallel = scenario.parallelism.expert_tensor_parallel,
          .precision = scenario.precision,
          .batch = step.batch,
          .dispatch = scenario.dispatch.protocol,
          .communication_units = scenario.dispatch.communication_units,
          .all_reduce = all_reduce_of(step, costs),
          .permutation = permutation_of(step),
          .shared_experts = scenario.dispatch.shared_experts,
          .micro_batches = step.micro_batches,
          .draft_tokens = draft_tokens_of(scenario.step),
          .replica_choice = scenario.placement.replica_choice,
          .seed = scenario.seed,
          .expert_row_tile = scenario.dispatch.expert_row_tile.value_or(1)};
}

StepResult run_step(const Scenario& scenario, const Place& place, const TaskPool& pool) {
  const PreparedStep step = prepare_step(scenario, place);
  StepResult result;
  result.scenario = scenario;
  result.cluster = step.cluster.config();
  result.model_name = step.model.architecture().name;
  result.accelerator = step.cluster.accelerator();
  result.parameters_total = total_parameters(step.model);
  result.parameters_active = active_parameters(step.model);
  const std::int64_t groups = scenario.parallelism.ranks / scenario.parallelism.tensor_parallel;
  const ReleasedTypes released = step.model.architecture().released();
  result.weights = scenario.precision.matrix_weights(released);
  result.expert_weights = scenario.precision.expert_weights(released);
  result.attention_weights = scenario.precision.attention_weights(released);
  result.ranks = static_cast<std::size_t>(scenario.parallelism.ranks);
  result.layers = step.model.layers().size();
  result.tokens = step.batch.tokens() * groups;
  count_new_tokens(result);
  for (const Layer& layer : step.model.layers()) {
    if (layer.moe_index && layer_runs(step.model, layer, step.batch.phase)) {
      result.moe_layer_index.push_back(layer.index);
    }
  }

  const auto costs = make_cost_model(step.profile, step.cluster.accelerator());
  result.warnings = step.model.architecture().remarks;
  StepRouting routing;
  StepPlan plan = step_plan(step, *costs);
  if (step.routing) {
    routing = step.routing->draw(token_batch(step), scenario.seed, pool);
    plan.routing = &routing;
    check_buffers(step, routing, place);
    result.routing_provenance = step.routing->provenance();
    result.warnings.insert(result.warnings.end(), routing.warnings.begin(), routing.warnings.end());
  } else {
    result.routing_provenance = "none: the model has no experts";
  }
  const StepProgram built = build_step(plan, pool);
  if (step.micro_batches > 1 && runs_collectives(scenario.dispatch.protocol)) {
    result.warnings.push_back(beside_collectives_warning(scenario.dispatch.protocol, "micro-batches"));
  }
  result.padding = padding_of(built.traffic);
  const ModelWork needed = model_work(step.model, step.batch, groups, routed_rows(built.traffic));
  const double accepted = result.new_tokens / static_cast<double>(result.tokens);  // the model needs no others
  result.model_work = accepted * (needed.attention + needed.rest + needed.experts);
  result.model_time = accepted * (needed.attention / reference_peak(result.accelerator, result.attention_weights) +
                                  needed.rest / reference_peak(result.accelerator, result.weights) +
                                  needed.experts / reference_peak(result.accelerator, result.expert_weights));
  result.router = std::move(routing.router);
  result.imbalance = imbalances(step, built);
  result.memory = footprints(step, built.traffic, place);
  result.execution = execute(built.program, step.cluster, *costs, step.profile.communication, scenario.fidelity);
  result.warnings.insert(result.warnings.end(), result.execution.warnings.begin(), result.execution.warnings.end());
  for (std::size_t link = 0; link < step.cluster.links().size(); ++link) {
    result.link_names.push_back(step.cluster.link_name(LinkId(link)));
    result.link_capacity.push_back(step.cluster.links()[link].capacity);
  }
  constexpr double kNoticed = 1e-3;
  if (const double extra = total_parameters(step.model).extra; extra > kNoticed * result.parameters_total.total()) {
    result.warnings.push_back(
        fmt::format("{:.4g} parameters of {} belong to parts that its blocks do not say: they take "
                    "memory, and no time",
                    extra, result.model_name));
  }
  result.inputs = input_files(scenario);
  return result;
}

}  // namespace moesim
