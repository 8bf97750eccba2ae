#include "sim/cli/kinds.hpp"

#include <fmt/format.h>

#include "models/architecture/architecture.hpp"
#include "models/hardware/hardware.hpp"
#include "models/kernels/fitted.hpp"
#include "sim/config/decode.hpp"
#include "sim/config/document.hpp"
#include "sim/core/error.hpp"
#include "sim/core/suggest.hpp"
#include "sim/core/units.hpp"
#include "sim/placement/placement.hpp"
#include "sim/planning/placement_config.hpp"
#include "sim/planning/sweep.hpp"
#include "sim/program/step.hpp"
#include "sim/report/number.hpp"
#include "sim/scenario/run.hpp"
#include "sim/training/layout.hpp"
#include "topologies/cluster.hpp"
#include "validate/cases/published.hpp"
#include "workloads/routing/generator.hpp"
#include "workloads/routing/routers/registry.hpp"

namespace moesim {

namespace {

/// One row per entry of a catalogue, summarised by `summary(decoded)`.
template <class T, class Summary>
std::vector<ListRow> catalogue_rows(const Catalogue& catalogue, Summary summary) {
  std::vector<ListRow> rows;
  for (const std::string_view name : catalogue.names()) {
    const Document document = catalogue.find(name, {});
    rows.push_back({std::string(name), summary(decode_document<T>(document)), {}});
  }
  return rows;
}

std::string model_summary(const Architecture& architecture) {
  const Model model(architecture, {});
  const MixtureOfExperts* moe = model.moe();
  return fmt::format("{}: {} layers, {} parameters, {} active{}", architecture.name, model.layers().size(),
                     short_count(total_parameters(model).total()), short_count(active_parameters(model).total()),
                     moe != nullptr ? fmt::format(", top-{} of {} experts in {} layers", moe->experts_per_token,
                                                  moe->experts, model.moe_layers())
                                    : "");
}

std::string cluster_summary(const ClusterConfig& cluster) {
  return fmt::format("{} x {} per node{}", cluster.gpus_per_node, cluster.accelerator,
                     cluster.network ? ", " + cluster.network->nic : ", no network");
}

std::vector<ListRow> model_rows() { return catalogue_rows<Architecture>(model_catalogue(), model_summary); }
std::vector<ListRow> accelerator_rows() {
  return catalogue_rows<Accelerator>(accelerator_catalogue(), [](const Accelerator& accelerator) {
    return fmt::format("{}: {} at {}", accelerator.name, to_text(accelerator.memory),
                       to_text(accelerator.memory_bandwidth));
  });
}
std::vector<ListRow> nic_rows() {
  return catalogue_rows<Nic>(
      nic_catalogue(), [](const Nic& nic) { return fmt::format("{}: {} each way", nic.name, to_text(nic.bandwidth)); });
}
std::vector<ListRow> cluster_rows() { return catalogue_rows<ClusterConfig>(cluster_catalogue(), cluster_summary); }
std::vector<ListRow> profile_rows() {
  return catalogue_rows<RooflineProfile>(profile_catalogue(), [](const RooflineProfile& profile) {
    return fmt::format("measured on {}", fmt::join(profile.measured_on, ", "));
  });
}
std::vector<ListRow> fit_rows() {
  return catalogue_rows<FittedProfile>(fitted_catalogue(), [](const FittedProfile& profile) {
    return fmt::format("{} {} on {}: {} fits", profile.framework, profile.framework_version, profile.accelerator,
                       profile.fits.size());
  });
}
std::vector<ListRow> scenario_rows() {
  return catalogue_rows<Scenario>(scenario_catalogue(), [](const Scenario& scenario) { return scenario.description; });
}
std::vector<ListRow> comparison_rows() {
  return catalogue_rows<PlacementComparisonConfig>(
      comparison_catalogue(), [](const PlacementComparisonConfig& config) { return config.description; });
}
std::vector<ListRow> sweep_rows() {
  return catalogue_rows<SweepConfig>(sweep_catalogue(), [](const SweepConfig& config) { return config.description; });
}
std::vector<ListRow> training_rows() {
  return catalogue_rows<Training>(training_catalogue(), [](const Training& training) { return training.description; });
}
std::vector<ListRow> schedule_rows() {
  std::vector<ListRow> rows;
  for (const PipelineSchedule& entry : pipeline_schedules()) {
    rows.push_back({std::string(entry.name), std::string(entry.summary), std::string(entry.source)});
  }
  return rows;
}
std::vector<ListRow> generator_rows() {
  return catalogue_rows<GeneratorParameters>(generator_catalogue(), [](const GeneratorParameters& generator) {
    return fmt::format("top-{} of {} experts, {} layers{}", generator.experts_per_token, generator.experts,
                       generator.spread.size(),
                       generator.provenance ? ", fitted on " + generator.provenance->recording : "");
  });
}
std::vector<ListRow> case_file_rows() {
  return catalogue_rows<CaseFile>(case_catalogue(), [](const CaseFile& file) {
    return fmt::format("{} figure{}: {}", file.cases.size(), file.cases.size() == 1 ? "" : "s", file.source);
  });
}
std::vector<ListRow> router_rows() {
  std::vector<ListRow> rows;
  for (const RouterEntry& entry : router_entries()) {
    const std::string also = entry.alias.empty() ? "" : fmt::format("; also {}", entry.alias);
    rows.push_back({std::string(entry.name), std::string(entry.summary) + also, std::string(entry.source)});
  }
  return rows;
}
std::vector<ListRow> placement_rows() {
  std::vector<ListRow> rows;
  for (const StrategyEntry& entry : placement_strategies()) {
    rows.push_back({std::string(entry.name), std::string(entry.summary), std::string(entry.source)});
  }
  return rows;
}

std::vector<ListRow> protocol_rows() {
  std::vector<ListRow> rows;
  for (const DispatchEntry& entry : dispatch_protocols()) {
    rows.push_back({std::string(name_of(entry.protocol)), std::string(entry.summary), std::string(entry.source)});
  }
  return rows;
}
std::vector<ListRow> collective_rows() {
  std::vector<ListRow> rows;
  for (const CollectiveAlgorithm& entry : collective_algorithms()) {
    rows.push_back({fmt::format("{} {}", name_of(entry.collective), entry.name), std::string(entry.summary),
                    std::string(entry.source)});
  }
  return rows;
}

template <class T>
void check_decodes(const Document& document) {
  static_cast<void>(decode_document<T>(document));
}
void check_model(const Document& document) {
  static_cast<void>(Model(decode_document<Architecture>(document), {document.name(), {}}));
}
void check_cluster(const Document& document) {
  static_cast<void>(build_cluster(decode_document<ClusterConfig>(document), {document.name(), {}}));
}
void check_profile_file(const Document& document) {
  check_profile(decode_document<RooflineProfile>(document), {document.name(), {}});
}
void check_fitted_profile(const Document& document) {
  static_cast<void>(FittedKernels(decode_document<FittedProfile>(document), {document.name(), {}}));
}
void check_generator(const Document& document) { static_cast<void>(decode_generator(document)); }
void check_scenario(const Document& document) {
  // All that a run does short of running: names, files, fit in memory, routing of every layer.
  static_cast<void>(prepare_step(decode_document<Scenario>(document), {document.name(), {}}));
}

void check_training(const Document& document) {
  static_cast<void>(prepare_training(decode_document<Training>(document), {document.name(), {}}, TaskPool(1)));
}

void check_comparison(const Document& document) {
  const Place place{document.name(), {}};
  const auto config = decode_document<PlacementComparisonConfig>(document);
  for (std::size_t trace = 0; trace < config.traces.size(); ++trace) {
    static_cast<void>(prepare_step(scenario_of(config, trace, place), place));
  }
  for (std::size_t i = 0; i < config.strategies.size(); ++i) {
    static_cast<void>(find_strategy(config.strategies[i], {document.name(), fmt::format("/strategies/{}", i)}));
  }
}

/// All that a sweep does short of running its points.
void check_sweep(const Document& document) {
  static_cast<void>(plan_sweep(decode_document<SweepConfig>(document), {document.name(), {}}));
}

template <class T>
Json schema_of() {
  return document_schema<T>(T::kDoc);
}

}  // namespace

std::span<const Kind> kinds() {
  static constexpr Kind kKinds[] = {
      {"models", "moesim.model/1", "shapes of models", model_rows, [] { return &model_catalogue(); },
       schema_of<Architecture>, check_model},
      {"accelerators", "moesim.accelerator/1", "GPUs and TPUs", accelerator_rows,
       [] { return &accelerator_catalogue(); }, schema_of<Accelerator>, check_decodes<Accelerator>},
      {"nics", "moesim.nic/1", "network interfaces", nic_rows, [] { return &nic_catalogue(); }, schema_of<Nic>,
       check_decodes<Nic>},
      {"clusters", "moesim.cluster/1", "nodes and the network between them", cluster_rows,
       [] { return &cluster_catalogue(); }, schema_of<ClusterConfig>, check_cluster},
      {"profiles", "moesim.profile/1", "costs of kernels and communication", profile_rows,
       [] { return &profile_catalogue(); }, schema_of<RooflineProfile>, check_profile_file},
      {"fits", "moesim.fitted-profile/1", "costs of kernels fitted to measurements", fit_rows,
       [] { return &fitted_catalogue(); }, schema_of<FittedProfile>, check_fitted_profile},
      {"scenarios", "moesim.scenario/1", "ready to run", scenario_rows, [] { return &scenario_catalogue(); },
       schema_of<Scenario>, check_scenario},
      {"comparisons", "moesim.placement-comparison/1", "strategies of expert placement, compared", comparison_rows,
       [] { return &comparison_catalogue(); }, schema_of<PlacementComparisonConfig>, check_comparison},
      {"sweeps", "moesim.sweep/1", "a scenario under all combinations of values", sweep_rows,
       [] { return &sweep_catalogue(); }, schema_of<SweepConfig>, check_sweep},
      {"trainings", "moesim.training/1", "training steps ready to run", training_rows,
       [] { return &training_catalogue(); }, schema_of<Training>, check_training},
      {"generators", "moesim.routing-generator/1", "routing like a recorded model's", generator_rows,
       [] { return &generator_catalogue(); }, schema_of<GeneratorParameters>, check_generator},
      {"cases", "moesim.cases/1", "published figures to be held against", case_file_rows,
       [] { return &case_catalogue(); }, schema_of<CaseFile>, check_decodes<CaseFile>},
      {"routers", "", "what decides which experts a token goes to", router_rows, nullptr, nullptr, nullptr},
      {"placements", "", "strategies that place experts", placement_rows, nullptr, nullptr, nullptr},
      {"protocols", "", "ways of dispatch and combine", protocol_rows, nullptr, nullptr, nullptr},
      {"collectives", "", "algorithms of collectives", collective_rows, nullptr, nullptr, nullptr},
      {"schedules", "", "orders of passes in a pipeline", schedule_rows, nullptr, nullptr, nullptr},
  };
  return kKinds;
}

const Kind& find_kind(const std::string& name) {
  std::vector<std::string_view> names;
  for (const Kind& kind : kinds()) {
    const std::string_view tag = kind.schema.substr(0, kind.schema.find('/'));  // moesim.scenario of moesim.scenario/1
    const bool is_tag = !tag.empty() && (name == kind.schema || name == tag || "moesim." + name == tag);
    if (name == kind.name || name + 's' == kind.name || is_tag) {
      return kind;
    }
    names.push_back(kind.name);
  }
  throw ConfigError({name, {}}, fmt::format("expected a kind, found \"{}\"{}", name, suggestion(name, names)));
}

std::string check_document(const Document& document) {
  const Json& root = document.root();
  std::vector<std::string_view> schemas;
  for (const Kind& kind : kinds()) {
    if (!kind.schema.empty()) {
      schemas.push_back(kind.schema);
    }
  }
  if (!root.is_object() || !root.contains("schema") || !root.at("schema").is_string()) {
    throw ConfigError({document.name(), "/schema"},
                      fmt::format("expected one of {}, found none", fmt::join(schemas, ", ")));
  }
  const std::string schema = root.at("schema").get<std::string>();
  for (const Kind& kind : kinds()) {
    if (!kind.schema.empty() && schema == kind.schema) {
      kind.check(document);
      return schema;
    }
  }
  throw ConfigError({document.name(), "/schema"},
                    fmt::format("expected one of {}, found \"{}\"{}", fmt::join(schemas, ", "), schema,
                                did_you_mean(schema, schemas)));
}

}  // namespace moesim
