#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "sim/core/error.hpp"
#include "sim/execute/all_to_all.hpp"
#include "sim/planning/rebalancing.hpp"
#include "sim/scenario/scenario.hpp"

namespace moesim {

/// A bare text: a file (.json with counts, else choices of tokens), or the name of a generator that comes with the
/// program.
struct TraceName {
  static constexpr std::string_view kTag = "";
  static constexpr bool kWrapper = true;
  FilePath value;
};
using TraceChoice = std::variant<TraceName, GeneratorRouting, TraceRouting, CountsRouting, UniformRouting,
                                 BalancedRouting, PowerLawRouting>;

/// Which strategies suit which routing, on one cluster: a PLACE.json.
struct PlacementComparisonConfig {
  std::string name;
  std::string description;
  ModelChoice model;
  ClusterChoice cluster;
  ProfileChoice kernels;
  Precision precision;
  Parallelism parallelism;
  StepChoice step;
  DispatchConfig dispatch;
  std::vector<TraceChoice> traces;
  std::size_t redundant_experts = 0;
  std::vector<std::string> strategies;
  ReplicaChoice replica_choice = ReplicaChoice::kInTurn;
  Fidelity fidelity = Fidelity::kFlow;
  double fitted_share = 0.5;
  std::optional<RebalanceConfig> rebalance;
  std::uint64_t seed = 1;

  static constexpr std::string_view kDoc = "Strategies of expert placement, compared in time";
  template <class F>
  static void describe(F& f) {
    using C = PlacementComparisonConfig;
    f.tag("schema", "moesim.placement-comparison/1");
    f.optional("name", &C::name, "What results call it");
    f.optional("description", &C::description, "For people");
    f.required("model", &C::model, "`moesim list models`, a moesim.model/1 file, or a Hugging Face config.json");
    f.required("cluster", &C::cluster, "`moesim list clusters` or a moesim.cluster/1 file");
    f.optional("kernels", &C::kernels, "Profile of kernel and communication costs");
    f.optional("precision", &C::precision, "Types of the model's tensors");
    f.required("parallelism", &C::parallelism, "How the model is spread over GPUs");
    f.required("step", &C::step, "Decode or prefill");
    f.optional("dispatch", &C::dispatch, "How tokens travel");
    f.required(
        "traces", &C::traces,
        "Routing to place experts for: a file of counts or of choices of tokens, the name of a generator, or any "
        "routing of a scenario",
        Rules::not_empty());
    f.optional("redundant_experts", &C::redundant_experts,
               "Copies of experts beyond one of each, per layer and over all ranks", Rules::between(0, 1 << 24));
    f.optional("strategies", &C::strategies, "`moesim list placements`; empty: all");
    f.optional("replica_choice", &C::replica_choice, "Which copy of an expert a token goes to");
    f.optional("fidelity", &C::fidelity, "flow: every transfer shares links; bound: the busiest link alone");
    f.optional("fitted_share", &C::fitted_share,
               "Part of a recording's tokens, from its start, that strategies see; they are judged on the rest",
               Rules::between(0.01, 0.99));
    f.optional("rebalance", &C::rebalance, "Absent: experts are placed once");
    f.optional("seed", &C::seed, "Of every random draw");
  }
};
extern template struct DescribedCodec<PlacementComparisonConfig>;

/// Comparisons that come with the program.
const Catalogue& comparison_catalogue();

/// The scenario of one trace: experts contiguous, with the copies asked for. Throws ConfigError for a bare text that
/// is neither a file nor a generator; `place` is the comparison's file.
Scenario scenario_of(const PlacementComparisonConfig& config, std::size_t trace, const Place& place);

/// Faults of that scenario, at the places where the comparison has what it was made from.
ConfigError at_comparison(const ConfigError& error, std::size_t trace);

/// What results call a trace: the file as written, or the routing's name.
std::string trace_label(const TraceChoice& trace);

}  // namespace moesim
