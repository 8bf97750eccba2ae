#include "sim/scenario/collective.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <numeric>
#include <variant>

#include "sim/core/error.hpp"
#include "sim/core/quantity.hpp"
#include "sim/core/suggest.hpp"
#include "sim/execute/choose.hpp"
#include "sim/execute/network_terms.hpp"
#include "sim/program/torus_box.hpp"
#include "workloads/routing/token_trace.hpp"

namespace moesim {

namespace {

constexpr double kMaxChoices = 2.0e9;

bool moves_tokens(CollectiveOperation operation) {
  return operation == CollectiveOperation::kDispatch || operation == CollectiveOperation::kCombine;
}

Collective collective_of(CollectiveOperation operation) {
  for (const auto& [collective, name] : EnumNames<Collective>::names) {
    if (name == name_of(operation)) {
      return collective;
    }
  }
  throw_internal("an operation that is no collective", std::source_location::current());
}

/// What runs, and what it is called.
struct Built {
  CollectivePhases phases;
  std::string protocol;
};

struct Parts {
  const CollectiveScenario& scenario;
  const Place& place;
  const Cluster& cluster;
  const KernelProfile& profile;
  const CostModel& costs;
  std::size_t ranks;
};

/// Always throws ConfigError, with a suggestion from those that there are.
[[noreturn]] void unknown_protocol(const Parts& parts, const std::vector<std::string_view>& known) {
  const std::string& given = parts.scenario.protocol;
  throw ConfigError(below(parts.place, "/protocol"),
                    fmt::format("expected a protocol of {}, found \"{}\"{}", name_of(parts.scenario.operation), given,
                                suggestion(given, known)));
}

[[noreturn]] void cannot_run(const Parts& parts, std::string_view obstacle) {
  throw ConfigError(
      below(parts.place, "/protocol"),
      fmt::format("expected a protocol that runs on these ranks, found \"{}\": {}", parts.scenario.protocol, obstacle));
}

[[noreturn]] void too_many_pairs(const Parts& parts) {
  throw ModelError(fmt::format("{}: {} ranks that all send to each other are more than can be simulated at once",
                               below(parts.place, "/ranks").text(), parts.ranks));
}

Built build_sized(const Parts& parts) {
  const Collective collective = collective_of(parts.scenario.operation);
  if (!parts.scenario.size) {
    throw ConfigError(below(parts.place, "/size"), "expected a size, such as \"1 MiB\" (--bytes), found none");
  }
  if (parts.scenario.load) {
    throw ConfigError(below(parts.place, "/load"),
                      fmt::format("expected none, since {} has a size in bytes", name_of(parts.scenario.operation)));
  }
  const double size = parts.scenario.size->base();
  const CollectiveGroups groups{&parts.cluster, parts.ranks, parts.ranks};
  const CollectiveAlgorithm* algorithm = nullptr;
  std::vector<std::string_view> known{"auto"};
  for (const CollectiveAlgorithm& entry : collective_algorithms()) {
    if (entry.collective == collective) {
      known.push_back(entry.name);
      algorithm = entry.name == parts.scenario.protocol ? &entry : algorithm;
    }
  }
  if (parts.scenario.protocol == "auto") {
    const auto algorithms = collective_algorithms();
    const bool any = std::any_of(algorithms.begin(), algorithms.end(), [&](const CollectiveAlgorithm& entry) {
      return entry.collective == collective && entry.eligible(groups, size);
    });
    if (!any) {
      too_many_pairs(parts);
    }
    algorithm = &fastest_algorithm(collective, groups, size, parts.costs, parts.profile.communication);
  } else if (algorithm == nullptr) {
    unknown_protocol(parts, known);
  } else if (const auto obstacle = algorithm->obstacle(groups); !obstacle.empty()) {
    cannot_run(parts, obstacle);
  }
  return {algorithm->build(groups, size), std::string(algorithm->name)};
}

/// The choices of all ranks' tokens in the one layer looked at.
StepRouting draw_routing(const Parts& parts, const TokenLoad& load, CollectiveResult& result, const TaskPool& pool) {
  RoutingNeeds needs{.moe_layers = 1, .all_layers = 1};
  needs.k = static_cast<std::size_t>(load.experts_per_token);
  needs.experts = static_cast<std::size_t>(load.experts);
  needs.groups = static_cast<std::size_t>(load.groups);
  needs.groups_per_token = static_cast<std::size_t>(load.groups_per_token);
  if (const auto* trace = std::get_if<TraceRouting>(&parts.scenario.routing)) {
    needs.moe_layers = open_trace(*trace, std::nullopt).shape().layers;
    needs.all_layers = needs.moe_layers;
  }
  if (static_cast<std::size_t>(load.layer) >= needs.moe_layers) {
    throw ConfigError(below(parts.place, "/load/layer"),
                      fmt::format("expected a layer below {}, found {}", needs.moe_layers, load.layer));
  }
  const auto source = make_routing_source(parts.scenario.routing, needs, below(parts.place, "/routing"));
  TokenBatch batch;
  for (std::size_t token = 0; token < parts.ranks * static_cast<std::size_t>(load.tokens); ++token) {
    batch.tokens.push_back({static_cast<std::uint32_t>(token), 0});
  }
  StepRouting routing = source->draw(batch, parts.scenario.seed, pool);
  result.routing_provenance = source->provenance();
  result.warnings = routing.warnings;
  return routing;
}

void check_load(const Parts& parts, const TokenLoad& load) {
  std::vector<Diagnostic> faults;
  const auto expect = [&](bool good, std::string_view pointer, const std::string& message) {
    if (!good) {
      faults.push_back({below(parts.place, pointer), message});
    }
  };
  expect(load.experts_per_token <= load.experts, "/load/experts_per_token",
         fmt::format("expected at most the {} experts, found {}", load.experts, load.experts_per_token));
  expect(load.experts % load.groups == 0, "/load/groups",
         fmt::format("expected a divisor of the {} experts, found {}", load.experts, load.groups));
  expect(load.groups_per_token <= load.groups, "/load/groups_per_token",
         fmt::format("expected at most the {} groups, found {}", load.groups, load.groups_per_token));
  expect(load.groups_per_token * (load.experts / std::max<std::int64_t>(load.groups, 1)) >= load.experts_per_token,
         "/load/groups_per_token",
         fmt::format("expected groups that hold the {} experts of a token, found {} groups of {}",
                     load.experts_per_token, load.groups_per_token, load.experts / load.groups));
  if (!faults.empty()) {
    throw ConfigError(std::move(faults));
  }
  const double choices =
      static_cast<double>(parts.ranks) * static_cast<double>(load.tokens) * static_cast<double>(load.experts_per_token);
  if (choices > kMaxChoices) {
    throw ModelError(
        fmt::format("{}: {:.4g} choices of experts are more than can be simulated at once (at most {:.4g})",
                    below(parts.place, "/load").text(), choices, kMaxChoices));
  }
}

Built build_tokens(const Parts& parts, CollectiveResult& result, const TaskPool& pool) {
  if (!parts.scenario.load) {
    throw ConfigError(below(parts.place, "/load"),
                      "expected tokens (--tokens, --hidden, --experts and --top-k), found none");
  }
  if (parts.scenario.size) {
    throw ConfigError(
        below(parts.place, "/size"),
        fmt::format("expected none, since the bytes of {} follow from tokens", name_of(parts.scenario.operation)));
  }
  const TokenLoad& load = *parts.scenario.load;
  check_load(parts, load);
  std::vector<std::string_view> known{"auto"};
  std::optional<DispatchProtocol> protocol;
  for (const auto& [value, name] : EnumNames<DispatchProtocol>::names) {
    known.push_back(name);
    protocol = name == parts.scenario.protocol ? std::optional(value) : protocol;
  }
  if (!protocol && parts.scenario.protocol != "auto") {
    unknown_protocol(parts, known);
  }
  if (protocol && !dispatch_obstacle(*protocol, parts.cluster, parts.ranks).empty()) {
    cannot_run(parts, dispatch_obstacle(*protocol, parts.cluster, parts.ranks));
  }
  const Placement placement = place_experts(parts.scenario.placement,
                                            {.layers = 1,
                                             .experts = static_cast<std::size_t>(load.experts),
                                             .ranks = parts.ranks,
                                             .seed = parts.scenario.seed},
                                            below(parts.place, "/placement"));
  const StepRouting routing = draw_routing(parts, load, result, pool);
  std::vector<std::size_t> first_token{0};
  while (first_token.size() <= parts.ranks) {
    first_token.push_back(first_token.back() + static_cast<std::size_t>(load.tokens));
  }
  RowPadding padding;
  if (routing.router && routing.router->buffers) {
    padding.buffers = &*routing.router->buffers;
  }
  const LayerTraffic traffic =
      count_traffic(placement.layers.front(), parts.cluster, routing.layer(static_cast<std::size_t>(load.layer)),
                    routing.shape.k, first_token, {}, padding);
  const bool one_domain = parts.cluster.same_scale_up(RankId(0), RankId(parts.ranks - 1));
  const auto& rows = one_domain ? traffic.tokens : traffic.node_tokens;
  result.rows_per_rank = std::accumulate(rows.begin(), rows.end(), 0.0) / static_cast<double>(parts.ranks);
  const bool dispatch = parts.scenario.operation == CollectiveOperation::kDispatch;
  const auto build = [&](DispatchProtocol chosen) {
    const DataType type = dispatch ? load.dispatch : load.combine;
    const DispatchPlan plan{&parts.cluster, chosen, parts.scenario.communication_units,
                            (static_cast<double>(load.hidden) * activation_element_size(type)).base()};
    return dispatch ? dispatch_phases(traffic, plan) : combine_phases(traffic, plan);
  };
  if (protocol) {
    return {build(*protocol), parts.scenario.protocol};
  }
  std::vector<CollectivePhases> candidates;
  std::vector<std::string_view> names;
  for (const auto& [value, name] : EnumNames<DispatchProtocol>::names) {
    if (dispatch_obstacle(value, parts.cluster, parts.ranks).empty()) {
      candidates.push_back(build(value));
      names.push_back(name);
    }
  }
  const std::size_t best = fastest_of(candidates, parts.ranks, parts.cluster, parts.costs, parts.profile.communication);
  return {std::move(candidates[best]), std::string(names[best])};
}

/// Splits the time of the rank that ends last (the first of those) by what it waited for.
void attribute(const Program& program, NetworkTerms& network, CollectiveResult& result) {
  const auto& timelines = result.execution.timeline;
  const auto own_end = [](const std::vector<Segment>& timeline) {
    return !timeline.empty() && timeline.back().category == TimeCategory::kImbalanceWait ? timeline.back().begin
           : timeline.empty()                                                            ? SimTime()
                                                                                         : timeline.back().end;
  };
  const auto last = std::max_element(timelines.begin(), timelines.end(),
                                     [&](const auto& a, const auto& b) { return own_end(a) < own_end(b); });
  Duration fixed_and_latency;
  for (const Segment& segment : *last) {
    const Duration length = (segment.end - segment.begin).duration();
    if (segment.op == StepOperator::kPermute) {
      result.local += length;
    } else if (segment.category == TimeCategory::kOverhead) {
      fixed_and_latency += length;
    } else if (segment.category == TimeCategory::kImbalanceWait) {
      result.wait += length;
    } else {
      result.transfer += length;
    }
  }
  const auto take = [&](Duration wanted) {
    const Duration taken = std::min(wanted, fixed_and_latency);
    fixed_and_latency -= taken;
    return taken;
  };
  for (const Exchange& exchange : program.exchanges) {
    const ExchangeTerms terms = network.terms(exchange);
    result.launch += take(terms.launch);
    result.notify += take(terms.notify);
    result.local += take(terms.local);
    result.variant = result.variant.empty() ? terms.variant : result.variant;
  }
  result.latency = fixed_and_latency;
}

/// Whether the terms of all that ran come from measurements on this accelerator: of so many ranks where they are
/// within one scale-up domain, else of paths over the network. Of dispatches, which no table tells of by accelerator,
/// those of its all-to-alls.
bool was_measured(const Program& program, const KernelProfile& profile, const Cluster& cluster) {
  const std::string& accelerator = cluster.accelerator().name;
  const auto& own = profile.base.measured_on;
  if (std::find(own.begin(), own.end(), accelerator) != own.end()) {
    return true;
  }
  const auto entry = [&](const auto& tables, const Exchange& exchange) {
    const auto table = tables.find(accelerator);
    using Entry = decltype(&table->second.at(exchange.collective));
    if (table == tables.end() || !table->second.contains(exchange.collective)) {
      return Entry(nullptr);
    }
    return &table->second.at(exchange.collective);
  };
  return std::all_of(program.exchanges.begin(), program.exchanges.end(), [&](const Exchange& exchange) {
    if (program.ranks.size() > cluster.gpus_per_node()) {
      return entry(profile.communication.collective_on, exchange) != nullptr;
    }
    const auto* terms = entry(profile.communication.in_domain_on, exchange);
    return terms != nullptr && static_cast<int>(exchange.group_size) >= terms->front().ranks &&
           static_cast<int>(exchange.group_size) <= terms->back().ranks;
  });
}

/// Neighbouring ranks of a larger torus are seldom the slice that a job would get. Empty where they are all of it.
std::string part_of_torus(const Cluster& cluster, std::size_t ranks) {
  const ScaleUp& fabric = cluster.config().scale_up;
  if (fabric.kind != ScaleUpKind::kTorus || ranks >= cluster.gpus_per_node()) {
    return {};
  }
  std::vector<std::size_t> sides;
  for (const BoxSide& side : box_of({&cluster, ranks, ranks})) {
    sides.insert(sides.begin(), side.chips);
  }
  return fmt::format("{} ranks are {} of the torus {}; a slice of its own has \"shape\" in \"catalogue\"", ranks,
                     sides.empty() ? "a part" : fmt::format("the box {}", fmt::join(sides, " x ")),
                     fmt::join(fabric.torus->shape, " x "));
}

/// nccl-tests doc/PERFORMANCE.md.
double bus_factor(CollectiveOperation operation, double ranks) {
  switch (operation) {
    case CollectiveOperation::kAllReduce:
      return 2.0 * (ranks - 1.0) / ranks;
    case CollectiveOperation::kAllGather:
    case CollectiveOperation::kReduceScatter:
    case CollectiveOperation::kAllToAll:
      return (ranks - 1.0) / ranks;
    default:
      return 1.0;
  }
}

std::vector<InputFile> input_files(const CollectiveScenario& scenario) {
  std::vector<std::filesystem::path> paths = files_of(scenario.routing);
  if (const auto* file = std::get_if<ClusterFile>(&scenario.cluster)) {
    paths.push_back(file->value.resolved);
  }
  if (const auto* file = std::get_if<ProfileFile>(&scenario.kernels)) {
    paths.push_back(file->value.resolved);
  }
  if (scenario.placement.file) {
    paths.push_back(scenario.placement.file->resolved);
  }
  return hashed(paths);
}

}  // namespace

CollectiveResult run_collective(const CollectiveScenario& scenario, const Place& place, const TaskPool& pool) {
  const auto ranks = static_cast<std::size_t>(scenario.ranks);
  const Cluster cluster = load_cluster(scenario.cluster, ranks, below(place, "/cluster"));
  const KernelProfile profile = load_kernel_profile(scenario.kernels, below(place, "/kernels"));
  const auto costs = make_cost_model(profile, cluster.accelerator());
  if (const int units = scenario.communication_units.value_or(1); units > cluster.accelerator().compute_units) {
    throw ConfigError(below(place, "/communication_units"),
                      fmt::format("expected at most the {} of {}, found {}", cluster.accelerator().compute_units,
                                  cluster.accelerator().name, units));
  }
  CollectiveResult result;
  result.scenario = scenario;
  result.cluster = cluster.config();
  result.accelerator = cluster.accelerator().name;
  const Parts parts{scenario, place, cluster, profile, *costs, ranks};
  if (moves_tokens(scenario.operation) && static_cast<double>(ranks) * static_cast<double>(ranks) > kMostTransfers) {
    too_many_pairs(parts);
  }
  Built built = moves_tokens(scenario.operation) ? build_tokens(parts, result, pool) : build_sized(parts);
  result.protocol = built.protocol;
  const Program program = collective_program(std::move(built.phases), ranks);
  result.execution = execute(program, cluster, *costs, profile.communication);
  result.time = result.execution.end.duration();
  NetworkTerms network(cluster, profile.communication, ranks);
  attribute(program, network, result);
  const double sent = result.execution.bytes_intra_node + result.execution.bytes_inter_node;
  result.size = moves_tokens(scenario.operation) ? bytes(sent / static_cast<double>(ranks)) : *scenario.size;
  result.bus_factor = bus_factor(scenario.operation, static_cast<double>(ranks));
  result.warnings.insert(result.warnings.end(), result.execution.warnings.begin(), result.execution.warnings.end());
  if (!was_measured(program, profile, cluster)) {
    result.warnings.push_back(fmt::format("communication on {} is extrapolated from {}", result.accelerator,
                                          fmt::join(profile.base.measured_on, ", ")));
  }
  if (std::string part = part_of_torus(cluster, ranks); !part.empty()) {
    result.warnings.push_back(std::move(part));
  }
  for (std::size_t link = 0; link < cluster.links().size(); ++link) {
    result.link_names.push_back(cluster.link_name(LinkId(link)));
    result.link_capacity.push_back(cluster.links()[link].capacity);
  }
  result.inputs = input_files(scenario);
  return result;
}

}  // namespace moesim
