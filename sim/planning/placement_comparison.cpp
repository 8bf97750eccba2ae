#include "sim/planning/placement_comparison.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <numeric>
#include <set>
#include <span>
#include <variant>

#include "sim/core/error.hpp"
#include "sim/placement/bound.hpp"
#include "sim/planning/migration.hpp"
#include "sim/planning/step_clock.hpp"
#include "sim/planning/trace_parts.hpp"

namespace moesim {

namespace {

/// The last to be asked: it starts from what the others found.
constexpr std::string_view kSearch = "search";

std::vector<const StrategyEntry*> chosen_strategies(const PlacementComparisonConfig& config, const Place& place) {
  std::vector<const StrategyEntry*> chosen;
  if (config.strategies.empty()) {
    for (const StrategyEntry& entry : placement_strategies()) {
      chosen.push_back(&entry);
    }
  }
  for (std::size_t i = 0; i < config.strategies.size(); ++i) {
    chosen.push_back(
        &find_strategy(config.strategies[i], {place.file, fmt::format("{}/strategies/{}", place.pointer, i)}));
  }
  std::stable_sort(chosen.begin(), chosen.end(), [](const StrategyEntry* a, const StrategyEntry* b) {
    return (a->name == kSearch ? 1 : 0) < (b->name == kSearch ? 1 : 0);
  });
  chosen.erase(std::unique(chosen.begin(), chosen.end()), chosen.end());
  return chosen;
}

/// What strategies may look at, and what they are judged on.
struct TraceData {
  std::vector<double> loads;         ///< [layers, experts]: fitted on
  StepRouting step;                  ///< a step of the tokens fitted on
  std::optional<StepRouting> later;  ///< a step of tokens that came after them
  bool counted = false;              ///< loads are a recording's, not those of the step
  std::string provenance;
};

TraceData read_trace(const PlacementComparisonConfig& config, const PreparedStep& step, const TaskPool& pool) {
  TraceData data;
  data.provenance = step.routing->provenance();
  if (const auto* recorded = std::get_if<TraceRouting>(&step.scenario.routing)) {
    const TokenTrace trace = open_trace(*recorded, routing_needs(step.model));
    const TraceParts parts = split_in_time(trace, config.fitted_share);
    const std::size_t tokens = token_batch(step).tokens.size();
    const TakeTokens how = step.batch.phase == StepPhase::kDecode ? TakeTokens::kSpread : TakeTokens::kTogether;
    data.loads = loads_of_part(trace, parts.earlier);
    data.step = take_step(trace, parts.earlier, tokens, how);
    data.later = take_step(trace, parts.later, tokens, how);
    data.provenance += fmt::format("; fitted on tokens 0 to {}, judged on {} to {}", parts.earlier.end - 1,
                                   parts.later.begin, parts.later.end - 1);
    return data;
  }
  data.step = step.routing->draw(token_batch(step), step.scenario.seed, pool);
  const auto counts = step.routing->recorded_counts();
  data.counted = counts.has_value();
  data.loads = counts ? counts->counts : loads_of(data.step);
  return data;
}

class TraceComparison {
 public:
  TraceComparison(const PlacementComparisonConfig& config, const PreparedStep& step, TraceData data, std::string label,
                  const TaskPool& pool)
      : step_(step),
        data_(std::move(data)),
        label_(std::move(label)),
        pool_(pool),
        clock_(step, data_.step, config.fidelity),
        problem_(placement_problem(step)) {
    problem_.loads = data_.loads;
    problem_.tokens = &data_.step;
    problem_.pool = &pool_;
    problem_.clock = &clock_;
    if (data_.later) {
      later_clock_.emplace(step, *data_.later, config.fidelity);
    }
    rest_ = clock_.rest(step.placement.layers.front());
    for (std::size_t layer = 0; layer < problem_.layers; ++layer) {
      bounds_.push_back(max_load_bound(problem_.loads.subspan(layer * problem_.experts, problem_.experts),
                                       problem_.slots(), problem_.ranks));
    }
  }

  std::vector<PlacementRow> run(std::span<const StrategyEntry* const> strategies, std::vector<std::string>& warnings) {
    std::vector<PlacementRow> rows;
    for (const StrategyEntry* entry : strategies) {
      problem_.known = known_;
      const auto begin = std::chrono::steady_clock::now();
      const auto strategy = entry->make();
      Placement placement = strategy->place(problem_);
      const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begin;
      for (const std::string& warning : strategy->warnings()) {
        warnings.push_back(fmt::format("{}, {}: {}", label_, entry->name, warning));
      }
      rows.push_back(measure(std::string(entry->name), std::move(placement)));
      rows.back().solve_time = took.count();
    }
    std::stable_sort(rows.begin(), rows.end(),
                     [](const PlacementRow& a, const PlacementRow& b) { return a.step_time < b.step_time; });
    return rows;
  }

  /// Of all placements, s.
  [[nodiscard]] double step_time_bound() const {
    const std::vector<double> loads = loads_of(data_.step);
    std::vector<double> times(problem_.layers);
    pool_.for_each_index(times.size(), [&](std::size_t layer) {
      const auto own = std::span(loads).subspan(layer * problem_.experts, problem_.experts);
      times[layer] = clock_.lower_bound(layer, step_.placement.layers[layer],
                                        max_load_bound(own, problem_.slots(), problem_.ranks));
    });
    return std::accumulate(times.begin(), times.end(), rest_);
  }

 private:
  PlacementRow measure(std::string strategy, Placement placement) {
    const std::vector<LayerMeasurement> measured = clock_.measure(placement, pool_);
    PlacementRow row;
    row.strategy = std::move(strategy);
    row.trace = label_;
    row.step_time = rest_;
    row.imbalance_mean = 0.0;
    row.imbalance_worst = 0.0;
    row.link_bytes.assign(step_.cluster.links().size(), 0.0);
    TimedPlacement timed;
    for (std::size_t l = 0; l < problem_.layers; ++l) {
      const auto loads = problem_.loads.subspan(l * problem_.experts, problem_.experts);
      const std::vector<double> ranks = rank_loads(placement.layers[l], loads);
      PlacedLayer layer;
      layer.time = measured[l].time;
      layer.load_imbalance = load_imbalance(data_.counted ? ranks : measured[l].rank_rows);
      layer.load_gap = bounds_[l] > 0.0 ? *std::max_element(ranks.begin(), ranks.end()) / bounds_[l] - 1.0 : 0.0;
      row.step_time += layer.time;
      row.bytes_intra_node += measured[l].bytes_intra_node;
      row.bytes_inter_node += measured[l].bytes_inter_node;
      for (std::size_t link = 0; link < row.link_bytes.size(); ++link) {
        row.link_bytes[link] += measured[l].link_bytes[link];
      }
      row.imbalance_mean += layer.load_imbalance / static_cast<double>(problem_.layers);
      row.imbalance_worst = std::max(row.imbalance_worst, layer.load_imbalance);
      row.bound_gap += layer.load_gap / static_cast<double>(problem_.layers);
      timed.layer_time.push_back(layer.time);
      row.layers.push_back(layer);
    }
    if (later_clock_) {
      row.step_time_later = rest_;
      row.imbalance_mean_later = 0.0;
      for (const LayerMeasurement& layer : later_clock_->measure(placement, pool_)) {
        *row.step_time_later += layer.time;
        *row.imbalance_mean_later += load_imbalance(layer.rank_rows) / static_cast<double>(problem_.layers);
      }
    }
    add_memory(row, placement);
    row.placement = placement;
    timed.placement = std::move(placement);
    known_.push_back(std::move(timed));
    return row;
  }

  void add_memory(PlacementRow& row, const Placement& placement) const {
    std::size_t slots = 0;
    for (const LayerPlacement& layer : placement.layers) {
      for (std::size_t rank = 0; rank < problem_.ranks; ++rank) {
        slots += layer.slots_of(RankId(rank)).size();
      }
    }
    const auto rank_layers = static_cast<double>(problem_.ranks * problem_.layers);
    row.slots_per_rank = static_cast<double>(slots) / rank_layers;
    const ExpertWeights weights = expert_weights(step_);
    const double one_each = static_cast<double>(problem_.experts) / static_cast<double>(problem_.ranks);
    row.redundant_bytes_per_rank = weights.expert.base() / static_cast<double>(weights.split) *
                                   static_cast<double>(problem_.layers) * (row.slots_per_rank - one_each);
  }

  const PreparedStep& step_;
  TraceData data_;
  std::string label_;
  const TaskPool& pool_;
  StepClock clock_;
  std::optional<StepClock> later_clock_;
  PlacementProblem problem_;
  double rest_ = 0.0;
  std::vector<double> bounds_;  // [layers]
  std::vector<TimedPlacement> known_;
};

/// Placements are timed layer by layer: micro-batches overlap from one layer to the next, and what drafts tokens is
/// none of the model's layers.
void check_undivided(const Scenario& scenario, const Place& place) {
  if (const int drafts = draft_tokens_of(scenario.step); drafts > 0) {
    throw ConfigError(
        below(place, "/step/decode/speculative/draft_tokens"),
        fmt::format("expected 0, since placements are compared by the model's own layers; found {}", drafts));
  }
  if (const int micro_batches = micro_batches_of(scenario.step); micro_batches > 1) {
    throw ConfigError(place_of_micro_batches(scenario.step, place),
                      fmt::format("expected 1, since placements are compared layer by layer, whereas "
                                  "micro-batches overlap across layers; found {}",
                                  micro_batches));
  }
}

PreparedStep prepare(const Scenario& scenario, std::size_t trace, const Place& place) {
  try {
    check_undivided(scenario, place);
    return prepare_step(scenario, place);
  } catch (const ConfigError& error) {
    throw at_comparison(error, trace);
  }
}

}  // namespace

PlacementComparison compare_placements(const PlacementComparisonConfig& config, const Place& place,
                                       const TaskPool& pool) {
  PlacementComparison result;
  result.config = config;
  const auto strategies = chosen_strategies(config, place);
  for (std::size_t t = 0; t < config.traces.size(); ++t) {
    const Scenario scenario = scenario_of(config, t, place);
    const PreparedStep step = prepare(scenario, t, place);
    if (step.routing == nullptr) {
      throw ConfigError(
          {place.file, place.pointer + "/model"},
          fmt::format("expected a model with experts, found {}, which has none", step.model.architecture().name));
    }
    TraceData data = read_trace(config, step, pool);
    result.warnings.insert(result.warnings.end(), data.step.warnings.begin(), data.step.warnings.end());
    result.provenance.push_back(data.provenance);
    result.model_name = step.model.architecture().name;
    result.cluster = step.cluster.config();
    if (result.link_names.empty()) {
      for (std::size_t link = 0; link < step.cluster.links().size(); ++link) {
        result.link_names.push_back(step.cluster.link_name(LinkId(link)));
      }
    }
    result.problem = placement_problem(step);
    result.layer_index = result.problem.model_layers;
    for (InputFile& file : input_files(scenario)) {
      const bool known = std::any_of(result.inputs.begin(), result.inputs.end(),
                                     [&](const InputFile& other) { return other.path == file.path; });
      if (!known) {
        result.inputs.push_back(std::move(file));
      }
    }
    TraceComparison comparison(config, step, std::move(data), trace_label(config.traces[t]), pool);
    auto rows = comparison.run(strategies, result.warnings);
    result.step_time_bound.push_back(comparison.step_time_bound());
    std::move(rows.begin(), rows.end(), std::back_inserter(result.rows));
    if (config.rebalance) {
      auto over_time = compare_rebalancing(*config.rebalance, step, config.fidelity, trace_label(config.traces[t]),
                                           place, pool, result.warnings);
      std::move(over_time.begin(), over_time.end(), std::back_inserter(result.rebalancing));
    }
  }
  return result;
}

}  // namespace moesim
