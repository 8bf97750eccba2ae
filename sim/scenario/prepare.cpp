#include <fmt/format.h>

#include <algorithm>
#include <variant>

#include "sim/core/error.hpp"
#include "sim/core/suggest.hpp"
#include "sim/scenario/placing.hpp"
#include "sim/scenario/run.hpp"

namespace moesim {

namespace {

/// What a step may hold in memory while it is simulated: the routing has tokens × layers × k entries.
constexpr double kMaxStepTokens = 1 << 24;
constexpr double kMaxRoutingEntries = 4e9;

BatchShape batch_of(const StepChoice& step) {
  if (const auto* decode = std::get_if<DecodeStep>(&step)) {
    const int drafts = decode->draft_tokens();
    return {decode->sequences_per_dp_rank, 1 + drafts, decode->context + drafts, StepPhase::kDecode};
  }
  const auto& prefill = std::get<PrefillStep>(step);
  return {prefill.sequences_per_dp_rank, prefill.prompt, prefill.prompt + prefill.cached_prefix, StepPhase::kPrefill};
}

/// How many parts a layer's mixer can be split into: a divisor of each of these, except that key-value heads may be
/// copied once there is less than one per rank.
struct Heads {
  std::string what;
  int count;
  bool may_be_copied;
};

std::vector<Heads> heads_of(const Block& block) {
  std::vector<Heads> heads;
  const auto grouped = [&](const GroupedQueryAttention& attention, const char* prefix) {
    heads.push_back({std::string(prefix) + "heads", attention.heads, false});
    heads.push_back({std::string(prefix) + "key-value heads", attention.kv_heads, true});
  };
  if (const auto* attention = std::get_if<GroupedQueryAttention>(&block.mixer)) {
    grouped(*attention, "");
  } else if (const auto* latent = std::get_if<LatentAttention>(&block.mixer)) {
    heads.push_back({"heads", latent->heads, false});
  } else if (const auto* linear = std::get_if<LinearAttention>(&block.mixer)) {
    heads.push_back({"value heads", linear->value_heads, false});
    heads.push_back({"key heads", linear->key_heads, true});
  } else {
    heads.push_back({"recurrent layer, which is not split,", 1, false});
  }
  if (block.cross_attention) {
    grouped(*block.cross_attention, "cross-attention ");
  }
  return heads;
}

bool splits(const Heads& heads, int parts) {
  return heads.count % parts == 0 || (heads.may_be_copied && parts % heads.count == 0);
}

/// Groups of so many neighbours lie in one node each, or over whole nodes.
bool keeps_to_nodes(const Cluster& cluster, int group) {
  const auto size = static_cast<std::size_t>(group);
  return cluster.gpus_per_node() % size == 0 || size % cluster.gpus_per_node() == 0;
}

/// Whether a model can be spread like that at all, with as many experts on every rank.
bool divides(const Model& model, const Cluster& cluster, const Scenario& scenario, int expert_ranks,
             int tensor_parallel) {
  const int ranks = expert_ranks * scenario.parallelism.expert_tensor_parallel;
  bool good =
      ranks % tensor_parallel == 0 && (!stays_in_place(scenario.dispatch.protocol) || ranks == tensor_parallel) &&
      keeps_to_nodes(cluster, tensor_parallel) && (model.moe() == nullptr || model.moe()->experts % expert_ranks == 0);
  for (const auto& [name, block] : model.architecture().blocks) {
    for (const Heads& heads : heads_of(block)) {
      good = good && splits(heads, tensor_parallel);
    }
  }
  return good;
}

/// Experts that are split, and tokens that stay where they are.
void check_expert_parallelism(const Scenario& scenario, const Model& model, const Place& place,
                              std::vector<Diagnostic>& faults) {
  const Parallelism& parallelism = scenario.parallelism;
  const int ways = parallelism.expert_tensor_parallel;
  const bool in_place = stays_in_place(scenario.dispatch.protocol);
  if (in_place && parallelism.ranks != parallelism.tensor_parallel) {
    faults.push_back({below(place, "/dispatch/protocol"),
                      fmt::format("expected a protocol that sends tokens, or /parallelism/tensor_parallel = {}, since "
                                  "with \"all-reduce\" every rank has all tokens; found tensor_parallel = {}",
                                  parallelism.ranks, parallelism.tensor_parallel)});
  }
  const Place where = below(place, "/parallelism/expert_tensor_parallel");
  if (ways > 1 && !in_place) {
    faults.push_back({where, fmt::format("expected 1, or dispatch protocol \"all-reduce\"; found {} and \"{}\"", ways,
                                         name_of(scenario.dispatch.protocol))});
  }
  if (parallelism.ranks % ways != 0) {
    faults.push_back({where, fmt::format("expected a divisor of the {} ranks, found {}", parallelism.ranks, ways)});
  }
  if (model.moe() != nullptr && model.moe()->intermediate % ways != 0) {
    faults.push_back({where, fmt::format("expected a divisor of the experts' inner width {}, found {}",
                                         model.moe()->intermediate, ways)});
  }
}

void check_parallelism(const Scenario& scenario, const Model& model, const Cluster& cluster, const Place& place) {
  std::vector<Diagnostic> faults =
      tensor_parallel_faults(model, cluster, scenario.parallelism.ranks, scenario.parallelism.tensor_parallel,
                             below(place, "/parallelism/tensor_parallel"));
  check_expert_parallelism(scenario, model, place, faults);
  if (!faults.empty()) {
    throw ConfigError(std::move(faults));
  }
}

/// Protocols and algorithms that the ranks cannot run.
void check_communication(const Scenario& scenario, const Cluster& cluster, const Place& place) {
  const Parallelism& parallelism = scenario.parallelism;
  const auto ranks = static_cast<std::size_t>(parallelism.ranks);
  std::vector<Diagnostic> faults;
  if (const auto obstacle = dispatch_obstacle(scenario.dispatch.protocol, cluster, ranks);
      !obstacle.empty() && !stays_in_place(scenario.dispatch.protocol)) {
    faults.push_back({below(place, "/dispatch/protocol"),
                      fmt::format("expected a protocol that runs on these ranks, found \"{}\": {}",
                                  name_of(scenario.dispatch.protocol), obstacle)});
  }
  for (Diagnostic& fault : communication_unit_faults(scenario.dispatch.protocol, scenario.dispatch.communication_units,
                                                     cluster, below(place, "/dispatch/communication_units"))) {
    faults.push_back(std::move(fault));
  }
  const std::string& wanted = parallelism.all_reduce;
  if (wanted != "auto" && wanted != kSplitAllReduce) {
    std::vector<std::string_view> known{"auto", kSplitAllReduce};
    for (const CollectiveAlgorithm& algorithm : collective_algorithms()) {
      if (algorithm.collective == Collective::kAllReduce) {
        known.push_back(algorithm.name);
      }
    }
    const auto group = static_cast<std::size_t>(parallelism.tensor_parallel);
    const Place where = below(place, "/parallelism/all_reduce");
    if (const auto* algorithm = find_algorithm(Collective::kAllReduce, wanted); algorithm == nullptr) {
      faults.push_back(
          {where, fmt::format("expected an algorithm, found \"{}\"{}", wanted, suggestion(wanted, known))});
    } else if (const auto obstacle = algorithm->obstacle({&cluster, group, group}); !obstacle.empty()) {
      faults.push_back({where, fmt::format("expected an algorithm that runs on groups of {}, found \"{}\": {}", group,
                                           wanted, obstacle)});
    }
  }
  if (!faults.empty()) {
    throw ConfigError(std::move(faults));
  }
}

/// A model of encoder layers alone has nothing to generate.
void check_phase(const Scenario& scenario, const Model& model, const Place& place) {
  const auto& layers = model.layers();
  const bool decodes =
      std::any_of(layers.begin(), layers.end(), [](const Layer& layer) { return layer.stack == Stack::kDecoder; });
  if (!decodes && std::holds_alternative<DecodeStep>(scenario.step)) {
    throw ConfigError(below(place, "/step"),
                      fmt::format("expected a prefill step, since {} has encoder layers only; found a decode step",
                                  model.architecture().name));
  }
}

/// What cannot be split in micro-batches, and where nothing would be hidden.
void check_micro_batches(const PreparedStep& step, const Place& place) {
  if (step.micro_batches == 1) {
    return;
  }
  const Scenario& scenario = step.scenario;
  std::string_view because;
  if (step.model.moe() == nullptr) {
    because = "the model has no experts, so that nothing is dispatched";
  } else if (std::none_of(step.model.layers().begin(), step.model.layers().end(), [&](const Layer& layer) {
               return layer.moe_index && layer_runs(step.model, layer, step.batch.phase);
             })) {
    because = "no layer with experts runs in this phase, so that nothing is dispatched";
  } else if (scenario.parallelism.ranks == 1) {
    because = "one rank dispatches nothing";
  } else if (stays_in_place(scenario.dispatch.protocol)) {
    because = "dispatch protocol \"all-reduce\" sends no tokens that computation could hide";
  } else {
    because = split_obstacle(step.model, step.batch);
  }
  if (!because.empty()) {
    throw ConfigError(place_of_micro_batches(scenario.step, place),
                      fmt::format("expected 1, since {}; found {}", because, step.micro_batches));
  }
}

/// Tokens are drafted by modules of the model's own, and accepted with a probability for each.
void check_speculation(const Scenario& scenario, const Model& model, const Place& place) {
  const auto* decode = std::get_if<DecodeStep>(&scenario.step);
  if (decode == nullptr || !decode->speculative) {
    return;
  }
  const int drafts = decode->draft_tokens();
  const Place where = below(place, "/step/decode/speculative");
  std::vector<Diagnostic> faults;
  if (drafts > 0 && draft_layer(model) == nullptr) {
    faults.push_back({below(where, "/draft_tokens"),
                      fmt::format("expected 0, since {} has no modules of multi-token prediction (\"multi_token_"
                                  "prediction_layers\" of a moesim.model/1 file), and draft models of their own are "
                                  "not modelled; found {}",
                                  model.architecture().name, drafts)});
  }
  const auto* by_position = std::get_if<std::vector<double>>(&decode->speculative->acceptance.probability);
  if (by_position != nullptr && by_position->size() != static_cast<std::size_t>(drafts)) {
    faults.push_back({below(where, "/acceptance"),
                      fmt::format("expected a number, or one for each of the {} draft tokens, found {} of them", drafts,
                                  by_position->size())});
  }
  if (!faults.empty()) {
    throw ConfigError(std::move(faults));
  }
}

void check_size(const Scenario& scenario, const Model& model, const BatchShape& batch, const Place& place) {
  const double groups = static_cast<double>(scenario.parallelism.ranks) / scenario.parallelism.tensor_parallel;
  const double tokens = static_cast<double>(batch.sequences) * static_cast<double>(batch.query) * groups;
  const double k = model.moe() != nullptr ? model.moe()->experts_per_token : 0;
  const double entries = tokens * static_cast<double>(model.moe_layers()) * k;
  if (tokens > kMaxStepTokens || entries > kMaxRoutingEntries) {
    throw ModelError(fmt::format(
        "{}: a step of {:.4g} tokens is more than can be simulated at once (at most {:.4g} tokens, and {:.4g} choices "
        "of experts; found {:.4g})",
        below(place, "/step").text(), tokens, kMaxStepTokens, kMaxRoutingEntries, entries));
  }
}

}  // namespace

ExpertExchange exchange_of(DispatchProtocol protocol, std::int64_t ranks, const Model& model) {
  if (ranks == 1 || model.moe() == nullptr || stays_in_place(protocol)) {
    return ExpertExchange::kNone;
  }
  switch (protocol) {
    case DispatchProtocol::kDeepEpLowLatency:
      return ExpertExchange::kLowLatency;
    case DispatchProtocol::kAllGather:
      return ExpertExchange::kGathered;
    default:
      return ExpertExchange::kHighThroughput;
  }
}

std::vector<Diagnostic> tensor_parallel_faults(const Model& model, const Cluster& cluster, std::int64_t ranks,
                                               int tensor_parallel, const Place& where) {
  std::vector<Diagnostic> faults;
  if (ranks % tensor_parallel != 0) {
    faults.push_back({where, fmt::format("expected a divisor of the {} ranks, found {}", ranks, tensor_parallel)});
  }
  if (!keeps_to_nodes(cluster, tensor_parallel)) {
    faults.push_back({where, fmt::format("expected a divisor or a multiple of the {} GPUs of a node, found {}",
                                         cluster.gpus_per_node(), tensor_parallel)});
  }
  for (const auto& [name, block] : model.architecture().blocks) {
    for (const Heads& heads : heads_of(block)) {
      if (!splits(heads, tensor_parallel)) {
        faults.push_back({where, fmt::format("expected a divisor of the {} {} of the layers \"{}\", found {}",
                                             heads.count, heads.what, name, tensor_parallel)});
      }
    }
  }
  return faults;
}

std::vector<Diagnostic> communication_unit_faults(DispatchProtocol protocol, std::optional<int> units,
                                                  const Cluster& cluster, const Place& where) {
  std::vector<Diagnostic> faults;
  if (!units) {
    return faults;
  }
  if (*units >= cluster.accelerator().compute_units) {
    faults.push_back({where, fmt::format("expected fewer than the {} of {}, found {}",
                                         cluster.accelerator().compute_units, cluster.accelerator().name, *units)});
  }
  if (runs_collectives(protocol) || stays_in_place(protocol)) {
    faults.push_back({where, fmt::format("expected none, since dispatch protocol \"{}\" runs collectives, whose "
                                         "kernels are the library's; found {}",
                                         name_of(protocol), *units)});
  }
  return faults;
}

std::string beside_collectives_warning(DispatchProtocol protocol, std::string_view what) {
  return fmt::format(
      "nothing tells what the collectives of dispatch protocol \"{}\" take from kernels beside them: {} gain at most "
      "what this step says",
      name_of(protocol), what);
}

std::vector<MemoryRequest> PreparedStep::memory_requests() const {
  const auto ranks = static_cast<std::size_t>(scenario.parallelism.ranks);
  const std::int64_t tensor_parallel = scenario.parallelism.tensor_parallel;
  const bool in_place = stays_in_place(scenario.dispatch.protocol);
  std::vector<MemoryRequest> requests;
  for (std::size_t rank = 0; rank < ranks; ++rank) {
    MemoryRequest request{.model = model, .precision = scenario.precision};
    request.tensor_parallel = scenario.parallelism.tensor_parallel;
    request.memory_fraction = scenario.memory.fraction;
    request.kv_block = scenario.memory.kv_block;
    request.expert_tensor_parallel = scenario.parallelism.expert_tensor_parallel;
    request.expert_ranks = static_cast<int>(scenario.parallelism.expert_parallel());
    request.shared_tensor_parallel = in_place ? scenario.parallelism.tensor_parallel : 1;
    const auto group = static_cast<std::size_t>(scenario.parallelism.expert_tensor_parallel);
    for (const LayerPlacement& layer : placement.layers) {
      request.expert_slots.push_back(layer.slots_of(RankId(rank / group)).size());
    }
    request.phase = batch.phase == StepPhase::kDecode ? ServingPhase::kGeneration : ServingPhase::kContext;
    request.sequences = batch.sequences;
    request.tokens_per_sequence = batch.keys;
    request.encoder_tokens = batch.keys;
    request.step_tokens = batch.tokens();
    request.exchange = exchange_of(scenario.dispatch.protocol, scenario.parallelism.ranks, model);
    request.micro_batches = micro_batches;
    request.draft_tokens = draft_tokens_of(scenario.step);
    const std::int64_t at_once = split_batch(batch, micro_batches).back().batch.tokens();  // the last is the largest
    request.max_dispatch_tokens = (at_once + tensor_parallel - 1) / tensor_parallel;
    if (const MixtureOfExperts* moe = model.moe()) {  // balanced, until the routing is drawn
      const std::int64_t sharers = in_place ? scenario.parallelism.expert_parallel() : tensor_parallel;
      request.expert_rows = (at_once * moe->experts_per_token + sharers - 1) / sharers;
    }
    request.allowed = [this](int expert_ranks, int groups_of) {
      return divides(model, cluster, scenario, expert_ranks, groups_of);
    };
    requests.push_back(std::move(request));
  }
  return requests;
}

Place place_of_micro_batches(const StepChoice& step, const Place& place) {
  return below(place,
               std::holds_alternative<DecodeStep>(step) ? "/step/decode/micro_batches" : "/step/prefill/micro_batches");
}

RoutingNeeds routing_needs(const Model& model) {
  const MixtureOfExperts& moe = *model.moe();
  RoutingNeeds needs;
  needs.moe_layers = model.moe_layers();
  needs.all_layers = model.layers().size();
  needs.k = static_cast<std::size_t>(moe.experts_per_token);
  needs.experts = static_cast<std::size_t>(moe.experts);
  needs.groups = static_cast<std::size_t>(moe.groups);
  needs.groups_per_token = static_cast<std::size_t>(moe.groups_per_token);
  needs.router = moe.router;
  needs.capacity_factor = moe.capacity_factor;
  for (const Layer& layer : model.layers()) {
    if (layer.moe_index) {
      needs.moe_layer_indices.push_back(layer.index);
    }
  }
  return needs;
}

PlacementProblem placement_problem(const PreparedStep& step) {
  const Parallelism& parallelism = step.scenario.parallelism;
  const auto split = static_cast<std::size_t>(parallelism.expert_tensor_parallel);
  PlacementProblem problem =
      placement_problem(step.model, static_cast<std::size_t>(parallelism.expert_parallel()),
                        std::max<std::size_t>(1, step.cluster.gpus_per_node() / split), step.scenario.seed);
  problem.redundant = step.scenario.placement.redundant_experts;
  return problem;
}

namespace {

void place_step(PreparedStep& step, const Place& place) {
  const auto look = [&] {
    step.routing = make_routing_source(step.scenario.routing, routing_needs(step.model), below(place, "/routing"));
    return look_at(*step.routing, token_batch(step), step.scenario.seed, TaskPool(1));
  };
  step.placement = place_as(step.scenario.placement, placement_problem(step), look, below(place, "/placement"));
}

}  // namespace

PreparedStep prepare_step(const Scenario& scenario, const Place& place) {
  const auto ranks = static_cast<std::size_t>(scenario.parallelism.ranks);
  PreparedStep step{.scenario = scenario,
                    .model = load_model(scenario.model, below(place, "/model")),
                    .cluster = load_cluster(scenario.cluster, ranks, below(place, "/cluster")),
                    .profile = load_kernel_profile(scenario.kernels, below(place, "/kernels")),
                    .routing = nullptr,
                    .placement = {},
                    .batch = batch_of(scenario.step),
                    .micro_batches = micro_batches_of(scenario.step)};
  check_parallelism(scenario, step.model, step.cluster, place);
  check_communication(scenario, step.cluster, place);
  check_phase(scenario, step.model, place);
  check_speculation(scenario, step.model, place);
  check_micro_batches(step, place);
  check_size(scenario, step.model, step.batch, place);
  if (step.model.moe() != nullptr) {
    place_step(step, place);
  }
  const auto requests = step.memory_requests();
  const auto fullest = std::max_element(
      requests.begin(), requests.end(),
      [](const MemoryRequest& a, const MemoryRequest& b) { return footprint(a).total() < footprint(b).total(); });
  check_fits(*fullest, step.cluster.accelerator(), place);
  if (step.model.moe() != nullptr && step.routing == nullptr) {
    step.routing = make_routing_source(scenario.routing, routing_needs(step.model), below(place, "/routing"));
  }
  return step;
}

}  // namespace moesim
