#include "sim/report/trace_report.hpp"

#include <fmt/format.h>

#include <cmath>
#include <iterator>

#include "sim/config/document.hpp"
#include "sim/report/number.hpp"
#include "sim/report/result_frame.hpp"

namespace moesim {

namespace {

using Out = std::back_insert_iterator<std::string>;

std::string whole(double value) {
  constexpr double kMost = 1e15;  // beyond that the digits mean nothing
  return value < kMost ? grouped(std::llround(value)) : fmt::format("{:.4g}", value);
}

/// What a step is, in words.
std::string step_text(const TraceReport& report) {
  if (report.tokens > 0) {
    return fmt::format("{} equal stretches of tokens", report.statistics.steps.size());
  }
  return fmt::format("{} recorded steps", report.statistics.steps.size());
}

std::string batch_text(const TraceReport& report) {
  if (report.batch_tokens) {
    return fmt::format("batches of {} tokens", grouped(static_cast<std::int64_t>(*report.batch_tokens)));
  }
  std::string text = report.statistics.steps.empty() ? "the whole recording as one batch"
                                                     : "each of " + step_text(report) + " a batch";
  if (report.statistics.tokens_per_step > 0.0) {
    text += fmt::format(" of {} tokens", whole(report.statistics.tokens_per_step));
  }
  return text;
}

void layers_table(Out out, const TraceReport& report) {
  const bool drift = !report.statistics.steps.empty();
  fmt::format_to(out, "layer         choices  max/mean   MaxVio      CV    gini  entropy (bits)  unused{}\n",
                 drift ? "   drift  by chance" : "");
  for (const LayerStatistics& layer : report.statistics.layers) {
    fmt::format_to(out, "{:>5}  {:>14}  {:>8.3f}  {:>7.3f}  {:>6.3f}  {:>6.3f}  {:>14.3f}  {:>6}", layer.layer,
                   whole(layer.choices), layer.max_over_mean, layer.max_violation, layer.cv, layer.gini, layer.entropy,
                   layer.unused);
    if (drift) {
      fmt::format_to(out, "  {:>6.3f}  {:>9.3f}", layer.drift, layer.drift_by_chance);
    }
    fmt::format_to(out, "\n");
  }
}

void ranks_table(Out out, const TraceReport& report) {
  fmt::format_to(out,
                 "\nload of ranks when experts are placed in contiguous blocks, max/mean\nranks    mean over layers    "
                 "worst layer\n");
  for (const RankStatistics& ranks : report.statistics.ranks) {
    fmt::format_to(out, "{:>5}  {:>18.3f}  {:>13.3f}\n", ranks.ranks, ranks.max_over_mean_mean,
                   ranks.max_over_mean_worst);
  }
}

void steps_table(Out out, const TraceReport& report) {
  constexpr std::size_t kMostRows = 32;
  const auto& steps = report.statistics.steps;
  if (steps.empty()) {
    return;
  }
  fmt::format_to(
      out,
      "\ndrift over {}, mean over layers: share of choices that lie elsewhere than in the whole\n step         "
      "choices  max/mean  distance  by chance\n",
      step_text(report));
  for (std::size_t i = 0; i < std::min(kMostRows, steps.size()); ++i) {
    fmt::format_to(out, "{:>5}  {:>14}  {:>8.3f}  {:>8.3f}  {:>9.3f}\n", steps[i].step, whole(steps[i].choices),
                   steps[i].max_over_mean, steps[i].distance, steps[i].by_chance);
  }
  if (steps.size() > kMostRows) {
    fmt::format_to(out, "  … and {} more (--format json has them all)\n", steps.size() - kMostRows);
  }
}

void capacity_table(Out out, const TraceReport& report) {
  fmt::format_to(
      out,
      "\nchoices dropped with a capacity of each expert of factor · choices/experts, {}\nfactor  dropped, mean "
      "over layers  worst layer  padding\n",
      batch_text(report));
  for (const CapacityStatistics& entry : report.statistics.capacity) {
    fmt::format_to(out, "{:>6.2f}  {:>25}  {:>11}  {:>7.3f}\n", entry.capacity_factor, percent(entry.dropped_mean),
                   percent(entry.dropped_worst), entry.padding);
  }
}

void pair_rows(Out out, const char* title, std::span<const ExpertPair> pairs, const TraceReport& report) {
  constexpr std::size_t kMostRows = 12;
  fmt::format_to(out, "\n{}\nlayer  expert  other   tokens  times what independent choices give\n", title);
  for (const ExpertPair& pair : pairs.first(std::min(kMostRows, pairs.size()))) {
    fmt::format_to(out, "{:>5}  {:>6}  {:>5}  {:>7}  {:>6.2f}\n", report.statistics.layers[pair.layer].layer,
                   pair.expert, pair.other, whole(pair.tokens), pair.lift);
  }
}

void pairs_table(Out out, const TraceReport& report) {
  if (report.pairs) {
    fmt::format_to(
        out,
        "\npairs of experts of the same tokens, {} tokens looked at; 0: independent\nlayer  in the layer  with "
        "the next\n",
        grouped(static_cast<std::int64_t>(report.pairs->tokens)));
    for (const PairAssociation& layer : report.pairs->layers) {
      fmt::format_to(out, "{:>5}  {:>12.3f}  {:>13.3f}\n", report.statistics.layers[layer.layer].layer, layer.within,
                     layer.to_next);
    }
    pair_rows(out, "strongest pairs within a layer", report.pairs->within, report);
    pair_rows(out, "strongest pairs of a layer and the next", report.pairs->to_next, report);
  }
  if (report.correlation) {
    fmt::format_to(out, "\nexperts in common at a distance in tokens (0: independent, 1: the same)\n");
    for (const auto& entry : report.correlation->overlap) {
      fmt::format_to(out, "{:>5}  {:>6.3f}\n", entry.distance, entry.value);
    }
    fmt::format_to(out, "\nassociation at a distance in layers (0: independent)\n");
    for (const auto& entry : report.correlation->association) {
      fmt::format_to(out, "{:>5}  {:>6.3f}\n", entry.distance, entry.value);
    }
  }
}

Json pair_json(std::span<const ExpertPair> pairs, const TraceReport& report) {
  Json rows = Json::array();
  for (const ExpertPair& pair : pairs) {
    rows.push_back({{"layer", report.statistics.layers[pair.layer].layer},
                    {"expert", pair.expert},
                    {"other", pair.other},
                    {"tokens", pair.tokens},
                    {"lift", pair.lift}});
  }
  return rows;
}

Json distances_json(std::span<const CorrelationStatistics::Entry> entries) {
  Json rows = Json::array();
  for (const auto& entry : entries) {
    rows.push_back({{"distance", entry.distance}, {"value", entry.value}});
  }
  return rows;
}

void add_pairs(Json& json, const TraceReport& report) {
  if (report.pairs) {
    Json layers = Json::array();
    for (const PairAssociation& layer : report.pairs->layers) {
      layers.push_back({{"layer", report.statistics.layers[layer.layer].layer},
                        {"within", layer.within},
                        {"to_next", layer.to_next}});
    }
    json["pairs"] = {{"tokens", report.pairs->tokens},
                     {"layers", std::move(layers)},
                     {"within", pair_json(report.pairs->within, report)},
                     {"to_next", pair_json(report.pairs->to_next, report)}};
  }
  if (report.correlation) {
    json["correlation"] = {{"tokens", distances_json(report.correlation->overlap)},
                           {"layers", distances_json(report.correlation->association)}};
  }
}

Json layer_json(const LayerStatistics& layer) {
  return {{"layer", layer.layer},
          {"experts", layer.experts},
          {"tokens", layer.tokens ? Json(*layer.tokens) : Json(nullptr)},
          {"choices", layer.choices},
          {"max_over_mean", layer.max_over_mean},
          {"gini", layer.gini},
          {"entropy", layer.entropy},
          {"cv", layer.cv},
          {"max_violation", layer.max_violation},
          {"unused", layer.unused},
          {"drift", layer.drift},
          {"drift_by_chance", layer.drift_by_chance}};
}

}  // namespace

std::string trace_table(const TraceReport& report) {
  std::string text = fmt::format(
      "{} ({}): {} MoE layers of {} experts{}{}\n", report.file, report.format, report.statistics.layers.size(),
      report.experts, report.k ? fmt::format(", top-{}", *report.k) : "",
      report.tokens > 0 ? fmt::format(", {} tokens", grouped(static_cast<std::int64_t>(report.tokens))) : "");
  for (const std::string& note : report.notes) {
    text += "note: " + note + "\n";
  }
  text += '\n';
  const Out out(text);
  layers_table(out, report);
  ranks_table(out, report);
  steps_table(out, report);
  capacity_table(out, report);
  pairs_table(out, report);
  return text;
}

Json trace_json(const TraceReport& report) {
  Json json = result_frame({.command = "trace info",
                            .seed = {},
                            .scenario = {},
                            .inputs = report.inputs,
                            .metrics = {},
                            .warnings = report.notes});
  json["format"] = report.format;
  json["tokens"] = report.tokens > 0 ? Json(report.tokens) : Json(nullptr);
  json["experts"] = report.experts;
  json["experts_per_token"] = report.k ? Json(*report.k) : Json(nullptr);
  for (const char* table : {"layers", "ranks", "steps"}) {
    json[table] = Json::array();
  }
  json["capacity"] = {{"batch", batch_text(report)}, {"factors", Json::array()}};
  for (const LayerStatistics& layer : report.statistics.layers) {
    json["layers"].push_back(layer_json(layer));
  }
  for (const RankStatistics& ranks : report.statistics.ranks) {
    json["ranks"].push_back({{"ranks", ranks.ranks},
                             {"max_over_mean_mean", ranks.max_over_mean_mean},
                             {"max_over_mean_worst", ranks.max_over_mean_worst}});
  }
  for (const StepStatistics& step : report.statistics.steps) {
    json["steps"].push_back({{"step", step.step},
                             {"choices", step.choices},
                             {"max_over_mean", step.max_over_mean},
                             {"distance", step.distance},
                             {"by_chance", step.by_chance}});
  }
  for (const CapacityStatistics& entry : report.statistics.capacity) {
    json["capacity"]["factors"].push_back({{"capacity_factor", entry.capacity_factor},
                                           {"dropped_mean", entry.dropped_mean},
                                           {"dropped_worst", entry.dropped_worst},
                                           {"padding", entry.padding}});
  }
  add_pairs(json, report);
  return json;
}

}  // namespace moesim
