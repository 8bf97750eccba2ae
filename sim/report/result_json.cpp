#include "sim/report/result_json.hpp"

#include <fmt/format.h>

#include <string>
#include <string_view>

#include "sim/config/describe.hpp"
#include "sim/config/document.hpp"
#include "sim/report/result_frame.hpp"

namespace moesim {

namespace {

/// Micro-batches send and receive in kernels of their own, which nothing hides.
std::string_view definition_of(TimeCategory category, bool micro_batches) {
  switch (category) {
    case TimeCategory::kCompute:
      return "kernels whose work at the tensor cores' peak takes longer than their traffic at the HBM's; all their "
             "time "
             "beyond the fixed part, however far they stay below that peak";
    case TimeCategory::kMemory:
      return "kernels whose traffic at the HBM's bandwidth takes longer than their work; all their time beyond the "
             "fixed "
             "part, however far they stay below that bandwidth";
    case TimeCategory::kOverhead:
      return "launch and fixed times of kernels and exchanges, latency of paths";
    case TimeCategory::kExposedDispatch:
      return micro_batches ? "waiting for tokens that everybody has sent, or has ready behind the other micro-batch's; "
                             "kernels that only send or receive them (low latency)"
                           : "waiting for tokens that everybody has sent";
    case TimeCategory::kExposedCombine:
      return micro_batches
                 ? "waiting for experts' results that everybody has sent, or has ready behind the other micro-batch's; "
                   "kernels that only send or receive them (low latency)"
                 : "waiting for experts' results that everybody has sent";
    case TimeCategory::kExposedCollective:
      return "the same in collectives of tensor-parallel groups";
    case TimeCategory::kImbalanceWait:
      return "waiting for a rank that has not sent yet, or for the last rank to finish the step";
    case TimeCategory::kBubble:
      return "nothing to do in a pipeline's schedule";
  }
  return {};
}

Json attribution_json(const StepResult& result) {
  Json rows = Json::array();
  const auto parts = attribution(result.execution);
  const bool micro_batches = micro_batches_of(result.scenario.step) > 1;
  for (std::size_t c = 0; c < kTimeCategories; ++c) {
    rows.push_back({{"category", std::string(EnumNames<TimeCategory>::names[c].second)},
                    {"definition", std::string(definition_of(EnumNames<TimeCategory>::names[c].first, micro_batches))},
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

Json memory_json(const StepResult& result) {
  Json rows = Json::array();
  const MemoryFootprint& fullest = result.memory[fullest_rank(result)];
  for (const auto& [part, size] : fullest.parts()) {
    if (part == MemoryFootprint::kDraftModules && draft_tokens_of(result.scenario.step) == 0) {
      continue;
    }
    rows.push_back({{"part", std::string(part)}, {"value", size.base()}, {"unit", "B"}});
  }
  return rows;
}

}  // namespace

Json step_result_json(const StepResult& result, std::string_view command) {
  const auto metrics = step_metrics(result);
  Json json = result_frame({.command = command,
                            .seed = result.scenario.seed,
                            .scenario = Codec<Scenario>::encode(result.scenario),
                            .inputs = result.inputs,
                            .metrics = metrics,
                            .warnings = result.warnings});
  json["cluster"] = Codec<ClusterConfig>::encode(result.cluster);
  json["routing"] = result.routing_provenance;
  json["attribution"] = attribution_json(result);
  json["operators"] = Json::array();
  for (const OperatorTime& time : operator_times(result.execution, result.layers)) {
    json["operators"].push_back(
        {{"operator", fmt::format("{}{}", time.part == StepPart::kDraft ? "draft: " : "", name_of(time.op))},
         {"value", time.time.base()},
         {"unit", "s"}});
  }
  json["layers"] = layers_json(result);
  json["ranks"] = ranks_json(result);
  const auto uses = busiest_links(result.execution.link_bytes, result.link_capacity, result.execution.end.duration());
  json["links"] = links_json(uses, result.link_names, result.link_capacity, kLinksShown);
  json["links_left_out"] = uses.size() - json["links"].size();
  json["memory"] = memory_json(result);
  return json;
}

}  // namespace moesim
