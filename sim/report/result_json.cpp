#include "sim/report/result_json.hpp"

#include "sim/report/version.hpp"

namespace moesim {

namespace {

Json attribution_json(const Execution& execution) {
  Json rows = Json::array();
  const auto parts = attribution(execution);
  for (std::size_t c = 0; c < kTimeCategories; ++c) {
    rows.push_back({{"category", std::string(EnumNames<TimeCategory>::names[c].second)},
                    {"value", parts[c].duration().base()},
                    {"unit", "s"},
                    {"ticks", parts[c].ticks()}});
  }
  return rows;
}

Json layers_json(const StepResult& result) {
  Json rows = Json::array();
  std::size_t moe = 0;
  SimTime before = result.execution.stage_end.front();
  for (std::size_t layer = 0; layer < result.layers; ++layer) {
    const SimTime end = result.execution.stage_end[layer + 1];
    Json row = {{"layer", layer}};
    if (moe < result.moe_layer_index.size() && result.moe_layer_index[moe] == layer) {
      const LayerImbalance& imbalance = result.imbalance[moe++];
      row["load_imbalance"] = imbalance.recording.value_or(imbalance.step);
      row["step_load_imbalance"] = imbalance.step;
    } else {
      row["load_imbalance"] = nullptr;
      row["step_load_imbalance"] = nullptr;
    }
    row["time"] = (end - before).duration().base();
    before = end;
    rows.push_back(std::move(row));
  }
  return rows;
}

Json ranks_json(const StepResult& result) {
  Json rows = Json::array();
  for (std::size_t rank = 0; rank < result.ranks; ++rank) {
    std::array<std::int64_t, kTimeCategories> ticks{};
    for (const Segment& segment : result.execution.timeline[rank]) {
      ticks[static_cast<std::size_t>(segment.category)] += (segment.end - segment.begin).ticks();
    }
    Json row = {{"rank", rank}, {"hbm", result.memory[rank].total().base()}};
    for (std::size_t c = 0; c < kTimeCategories; ++c) {
      row[std::string(EnumNames<TimeCategory>::names[c].second)] = SimTime::from_ticks(ticks[c]).duration().base();
    }
    rows.push_back(std::move(row));
  }
  return rows;
}

/// Rows of the table of links: the busiest of what may be tens of thousands.
constexpr std::size_t kLinksShown = 64;

std::size_t links_left_out(const StepResult& result) {
  const std::size_t used = busiest_links(result).size();
  return used > kLinksShown ? used - kLinksShown : 0;
}

Json links_json(const StepResult& result) {
  Json rows = Json::array();
  for (const LinkUse& use : busiest_links(result)) {
    if (rows.size() == kLinksShown) {
      break;
    }
    rows.push_back({{"link", result.link_names[use.link]},
                    {"bytes", use.bytes},
                    {"capacity", result.link_capacity[use.link].base()},
                    {"utilisation", use.utilisation}});
  }
  return rows;
}

Json memory_json(const StepResult& result) {
  Json rows = Json::array();
  for (const auto& [part, size] : result.memory[fullest_rank(result)].parts()) {
    rows.push_back({{"part", std::string(part)}, {"value", size.base()}, {"unit", "B"}});
  }
  return rows;
}

}  // namespace

Json step_result_json(const StepResult& result, std::string_view command) {
  Json json = {{"schema", "moesim.result/1"},
               {"command", std::string(command)},
               {"version", std::string(version())},
               {"seed", result.scenario.seed},
               {"scenario", Codec<Scenario>::encode(result.scenario)},
               {"cluster", Codec<ClusterConfig>::encode(result.cluster)},
               {"routing", result.routing_provenance},
               {"inputs", Json::array()},
               {"metrics", Json::object()},
               {"attribution", attribution_json(result.execution)},
               {"warnings", result.warnings},
               {"operators", Json::array()},
               {"layers", layers_json(result)},
               {"ranks", ranks_json(result)},
               {"links", links_json(result)},
               {"links_left_out", links_left_out(result)},
               {"memory", memory_json(result)}};
  for (const InputFile& input : result.inputs) {
    json["inputs"].push_back({{"path", input.path.string()}, {"sha256", input.sha256}});
  }
  for (const Metric& metric : step_metrics(result)) {
    json["metrics"][std::string(metric.name)] = {
        {"value", metric.value}, {"unit", std::string(metric.unit)}, {"definition", std::string(metric.definition)}};
  }
  for (const OperatorTime& time : operator_times(result.execution)) {
    json["operators"].push_back(
        {{"operator", std::string(name_of(time.op))}, {"value", time.time.base()}, {"unit", "s"}});
  }
  return json;
}

}  // namespace moesim
