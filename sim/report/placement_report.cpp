#include "sim/report/placement_report.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <numeric>
#include <optional>
#include <span>

#include "sim/config/describe.hpp"
#include "sim/config/document.hpp"
#include "sim/core/units.hpp"
#include "sim/report/number.hpp"
#include "sim/report/rebalancing_report.hpp"
#include "sim/report/result_frame.hpp"

namespace moesim {

namespace {

const PlacementRow* find_row(std::span<const PlacementRow> rows, std::string_view strategy) {
  const auto found =
      std::find_if(rows.begin(), rows.end(), [&](const PlacementRow& row) { return row.strategy == strategy; });
  return found == rows.end() ? nullptr : &*found;
}

std::vector<Metric> metrics(const PlacementComparison& comparison) {
  const auto rows = rows_of_trace(comparison, 0);
  std::vector<Metric> all{
      {"step_time", rows.front().step_time, "s",
       "of the fastest strategy on the first trace: sum over the MoE layers of the time of each by itself, all ranks "
       "starting together, and the time of embedding, dense layers and head"},
      {"load_imbalance_mean", rows.front().imbalance_mean, "1",
       "of that strategy: routed tokens, max over ranks / mean over ranks, mean over MoE layers; of the whole "
       "recording where counts were recorded, else of the tokens of the step"},
      {"load_imbalance_worst", rows.front().imbalance_worst, "1", "the same, largest over MoE layers"},
      {"bound_gap", rows.front().bound_gap, "1",
       "of that strategy: greatest rank load / lower bound on it for any placement - 1, copies sharing evenly, mean "
       "over MoE layers"},
      {"step_time_bound", comparison.step_time_bound.front(), "s",
       "no placement is faster on the first trace: attention, router, dispatch and combine without bytes, and experts "
       "of a rank with the least that the busiest can have, by the same costs, if more rows never cost less"}};
  if (const PlacementRow* contiguous = find_row(rows, "contiguous")) {
    all.push_back({"gain_over_contiguous", contiguous->step_time / rows.front().step_time - 1.0, "1",
                   "step time of the contiguous placement / that of the fastest - 1"});
  }
  return all;
}

/// The link that carries most; none where nothing is sent.
std::optional<std::size_t> busiest_link(const PlacementRow& row) {
  const auto busiest = std::max_element(row.link_bytes.begin(), row.link_bytes.end());
  if (busiest == row.link_bytes.end() || !(*busiest > 0.0)) {
    return std::nullopt;
  }
  return static_cast<std::size_t>(busiest - row.link_bytes.begin());
}

double busiest_link_bytes(const PlacementRow& row) {
  const auto link = busiest_link(row);
  return link ? row.link_bytes[*link] : 0.0;
}

Json link_name(const PlacementComparison& comparison, const PlacementRow& row) {
  const auto link = busiest_link(row);
  return link ? Json(comparison.link_names[*link]) : Json(nullptr);
}

/// Where the most loaded link is, with the fastest strategy and with contiguous experts.
std::string links_text(const PlacementComparison& comparison, std::span<const PlacementRow> rows) {
  std::string text;
  const PlacementRow* contiguous = find_row(rows, "contiguous");
  for (const PlacementRow* row : {&rows.front(), contiguous}) {
    if (row == nullptr || (row == contiguous && contiguous == &rows.front())) {
      continue;
    }
    if (const auto link = busiest_link(*row)) {
      text += fmt::format("  busiest link, {}: {}\n", row->strategy, comparison.link_names[*link]);
    }
  }
  return text;
}

void add_layers(Json& table, const PlacementComparison& comparison, const PlacementRow& row) {
  for (std::size_t l = 0; l < row.layers.size(); ++l) {
    table.push_back({{"strategy", row.strategy},
                     {"trace", row.trace},
                     {"layer", comparison.layer_index[l]},
                     {"time", row.layers[l].time},
                     {"load_imbalance", row.layers[l].load_imbalance},
                     {"bound_gap", row.layers[l].load_gap}});
  }
}

/// The links that carry most, and what they carry where experts are contiguous.
void add_links(Json& table, const PlacementComparison& comparison, const PlacementRow& row,
               const PlacementRow* contiguous) {
  constexpr std::size_t kShown = 8;
  std::vector<std::size_t> links(row.link_bytes.size());
  std::iota(links.begin(), links.end(), std::size_t{0});
  std::stable_sort(links.begin(), links.end(),
                   [&](std::size_t a, std::size_t b) { return row.link_bytes[a] > row.link_bytes[b]; });
  for (std::size_t i = 0; i < std::min(kShown, links.size()) && row.link_bytes[links[i]] > 0.0; ++i) {
    table.push_back(
        {{"strategy", row.strategy},
         {"trace", row.trace},
         {"link", comparison.link_names[links[i]]},
         {"bytes", row.link_bytes[links[i]]},
         {"bytes_contiguous", contiguous != nullptr ? Json(contiguous->link_bytes[links[i]]) : Json(nullptr)}});
  }
}

Json row_json(const PlacementComparison& comparison, const PlacementRow& row, double bound, ShowTiming timing) {
  Json json = {
      {"strategy", row.strategy},
      {"trace", row.trace},
      {"step_time", row.step_time},
      {"step_time_later", row.step_time_later ? Json(*row.step_time_later) : Json(nullptr)},
      {"load_imbalance_mean", row.imbalance_mean},
      {"load_imbalance_worst", row.imbalance_worst},
      {"load_imbalance_mean_later", row.imbalance_mean_later ? Json(*row.imbalance_mean_later) : Json(nullptr)},
      {"bound_gap", row.bound_gap},
      {"step_time_bound_gap", row.step_time / bound - 1.0},
      {"bytes_intra_node", row.bytes_intra_node},
      {"bytes_inter_node", row.bytes_inter_node},
      {"busiest_link", link_name(comparison, row)},
      {"busiest_link_bytes", busiest_link_bytes(row)},
      {"hbm_copies_per_rank", row.slots_per_rank},
      {"redundant_bytes_per_rank", row.redundant_bytes_per_rank}};
  if (timing == ShowTiming::kYes) {
    json["solve_time"] = row.solve_time;
  }
  return json;
}

}  // namespace

std::span<const PlacementRow> rows_of_trace(const PlacementComparison& comparison, std::size_t trace) {
  const std::size_t each = comparison.rows.size() / comparison.provenance.size();
  return std::span(comparison.rows).subspan(trace * each, each);
}

std::string placement_table(const PlacementComparison& comparison, ShowTiming timing) {
  const PlacementProblem& problem = comparison.problem;
  std::string text = fmt::format("placement of {}: {} experts and {} redundant in {} layers on {} ranks of {}\n",
                                 comparison.model_name, problem.experts, problem.redundant, problem.layers,
                                 problem.ranks, comparison.cluster.name);
  for (std::size_t trace = 0; trace < comparison.provenance.size(); ++trace) {
    const auto rows = rows_of_trace(comparison, trace);
    text += fmt::format("\n{}\n  routing: {}\n  {:<19}{:>11}{:>9}{:>11}{:>10}{:>9}{:>9}{:>13}{:>13}{}\n",
                        rows.front().trace, comparison.provenance[trace], "strategy", "step time", "slower", "later",
                        "imbalance", "worst", "over min", "inter-node", "busiest link",
                        timing == ShowTiming::kYes ? "    solved in" : "");
    for (const PlacementRow& row : rows) {
      text += fmt::format("  {:<19}{:>11}{:>9}{:>11}{:>10.4f}{:>9.4f}{:>9}{:>13}{:>13}", row.strategy,
                          to_text(seconds(row.step_time)), percent(row.step_time / rows.front().step_time - 1.0),
                          row.step_time_later ? to_text(seconds(*row.step_time_later)) : "-", row.imbalance_mean,
                          row.imbalance_worst, percent(row.bound_gap), to_text(bytes(row.bytes_inter_node)),
                          to_text(bytes(busiest_link_bytes(row))));
      text += timing == ShowTiming::kYes ? fmt::format("{:>13}\n", to_text(seconds(row.solve_time))) : "\n";
    }
    text += fmt::format("  {:<19}{:>11}   no placement is faster\n", "lower bound",
                        to_text(seconds(comparison.step_time_bound[trace])));
    text += links_text(comparison, rows);
    if (comparison.config.rebalance) {
      text += rebalancing_table(comparison, rows.front().trace);
    }
  }
  text += fmt::format(
      "\n{} slots a rank and layer; the redundant ones take {} of each GPU's memory\n"
      "step time: every MoE layer by itself, summed, with embedding, dense layers and head; {}\n"
      "later: on the recording's later tokens, which no strategy saw\n"
      "imbalance: routed tokens, max over ranks / mean over ranks, mean and worst over layers\n"
      "over min: greatest rank load above the lower bound for any placement, mean over layers\n"
      "busiest link: payload of the link that carries most, all layers\n",
      problem.slots_per_rank(), to_text(bytes(comparison.rows.front().redundant_bytes_per_rank)),
      comparison.config.fidelity == Fidelity::kFlow ? "transfers share links" : "the busiest link alone counts");
  if (comparison.config.rebalance) {
    text += rebalancing_notes();
  }
  return text;
}

Json placement_json(const PlacementComparison& comparison, ShowTiming timing) {
  const auto figures = metrics(comparison);
  Json json = result_frame({.command = "place",
                            .seed = comparison.config.seed,
                            .scenario = Codec<PlacementComparisonConfig>::encode(comparison.config),
                            .inputs = comparison.inputs,
                            .metrics = figures,
                            .warnings = comparison.warnings});
  json["cluster"] = Codec<ClusterConfig>::encode(comparison.cluster);
  json["routing"] = comparison.provenance;
  json["strategies"] = Json::array();
  json["layers"] = Json::array();
  json["links"] = Json::array();
  for (std::size_t trace = 0; trace < comparison.provenance.size(); ++trace) {
    const auto rows = rows_of_trace(comparison, trace);
    for (const PlacementRow& row : rows) {
      json["strategies"].push_back(row_json(comparison, row, comparison.step_time_bound[trace], timing));
      add_layers(json["layers"], comparison, row);
      add_links(json["links"], comparison, row, find_row(rows, "contiguous"));
    }
  }
  if (comparison.config.rebalance) {
    json["rebalancing"] = rebalancing_json(comparison);
  }
  return json;
}

}  // namespace moesim
