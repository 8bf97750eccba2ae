#include "sim/report/network_report.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>

#include "sim/config/describe.hpp"
#include "sim/config/document.hpp"
#include "sim/core/units.hpp"
#include "sim/report/number.hpp"
#include "sim/report/result_frame.hpp"
#include "sim/scenario/metrics.hpp"

namespace moesim {

namespace {

double gap(const AllToAllResult& result) {
  return result.bound.ticks() > 0 ? result.completion.duration() / result.bound.duration() : 1.0;
}

std::vector<Metric> metrics(const NetworkReport& report) {
  const AllToAllResult& result = report.result;
  const double time = result.completion.duration().base();
  const double moved = result.bytes_intra_node + result.bytes_inter_node;
  return {
      {"completion_time", time, "s",
       result.fidelity == Fidelity::kFlow
           ? "from the start of all transfers to the arrival of the last byte, max-min fair sharing of every link"
           : "the bound (fidelity bound): no sharing is looked at"},
      {"bound", result.bound.duration().base(), "s",
       "max over links of least path latency + bytes / capacity; no schedule is faster"},
      {"bound_ratio", gap(result), "1", "completion_time / bound"},
      {"transfers", static_cast<double>(result.transfers), "1", "pairs of different ranks that send something"},
      {"bytes_intra_node", result.bytes_intra_node, "B", "between GPUs that reach each other without the network"},
      {"bytes_inter_node", result.bytes_inter_node, "B", "between GPUs of different scale-up domains"},
      {"bytes_local", result.bytes_local, "B", "from a rank to itself: takes no link and no time"},
      {"throughput_per_rank", time > 0.0 ? moved / time / static_cast<double>(report.ranks) : 0.0, "B/s",
       "bytes between different ranks / ranks / completion_time"},
  };
}

std::string labelled(std::string_view label, const std::string& value) {
  return fmt::format("  {:<22}{}\n", label, value);
}

}  // namespace

std::vector<LinkUse> busiest_links(const Cluster& cluster, const AllToAllResult& result) {
  std::vector<Bandwidth> capacity;
  for (const Link& link : cluster.links()) {
    capacity.push_back(link.capacity);
  }
  return busiest_links(result.link_bytes, capacity, result.completion.duration());
}

std::string network_table(const NetworkReport& report, const Cluster& cluster) {
  const AllToAllResult& result = report.result;
  std::string text = fmt::format("all-to-all of {} ranks on {} ({} node{} of {} x {})\n", report.ranks,
                                 cluster.config().name, cluster.nodes(), cluster.nodes() == 1 ? "" : "s",
                                 cluster.gpus_per_node(), cluster.accelerator().name);
  text += fmt::format("traffic: {}\n\n", report.traffic);
  text += labelled("completion time", to_text(result.completion.duration()) +
                                          (result.fidelity == Fidelity::kBound ? " (bound only)" : ""));
  if (result.fidelity == Fidelity::kFlow) {
    text += labelled("bound",
                     fmt::format("{}, completion is {:.3f} times it", to_text(result.bound.duration()), gap(result)));
  }
  if (result.bound_link) {
    text += labelled("bound by", cluster.link_name(*result.bound_link));
  }
  text += labelled("transfers", grouped(static_cast<std::int64_t>(result.transfers)));
  text += labelled("sent inside nodes", to_text(bytes(result.bytes_intra_node)));
  text += labelled("sent across nodes", to_text(bytes(result.bytes_inter_node)));
  if (result.bytes_local > 0.0) {
    text += labelled("kept local", to_text(bytes(result.bytes_local)) + " (from ranks to themselves: takes no time)");
  }
  const auto uses = busiest_links(cluster, result);
  if (!uses.empty()) {
    text += fmt::format("\nbusiest links\n  {:<36}{:>12}{:>12}{:>9}  {}\n", "link", "bytes", "capacity", "use",
                        report.loaders.empty() ? "" : "heaviest senders");
  }
  for (std::size_t i = 0; i < std::min(uses.size(), NetworkReport::kLinksShown); ++i) {
    const LinkId link(uses[i].link);
    std::string senders;
    for (const LinkLoader& loader : report.loaders.empty() ? std::vector<LinkLoader>{} : report.loaders[i]) {
      senders += fmt::format("{}rank {} ({})", senders.empty() ? "" : ", ", loader.from.index(),
                             percent(loader.bytes / uses[i].bytes));
    }
    text += fmt::format("  {:<36}{:>12}{:>12}{:>9}  {}\n", cluster.link_name(link), to_text(bytes(uses[i].bytes)),
                        to_text(cluster.link(link).capacity), percent(uses[i].utilisation), senders);
  }
  return text;
}

Json network_json(const NetworkReport& report, const Cluster& cluster) {
  const AllToAllResult& result = report.result;
  const auto figures = metrics(report);
  Json json = result_frame({.command = "network",
                            .seed = nullptr,
                            .scenario = {{"ranks", report.ranks},
                                         {"traffic", report.traffic},
                                         {"fidelity", std::string(name_of(result.fidelity))},
                                         {"epsilon", report.epsilon},
                                         {"cluster", Codec<ClusterConfig>::encode(cluster.config())}},
                            .inputs = report.inputs,
                            .metrics = figures,
                            .warnings = report.warnings});
  json["bound_link"] = result.bound_link ? Json(cluster.link_name(*result.bound_link)) : Json(nullptr);
  json["links"] = Json::array();
  for (const LinkUse& use : busiest_links(cluster, result)) {
    const Link& link = cluster.links()[use.link];
    Json row = {{"link", cluster.link_name(LinkId(use.link))},
                {"kind", std::string(kind_name(link.kind))},
                {"bytes", use.bytes},
                {"capacity", link.capacity.base()},
                {"utilisation", use.utilisation}};
    if (!result.link_busy.empty()) {
      row["busy"] = result.link_busy[use.link];
    }
    if (const std::size_t place = json["links"].size(); place < report.loaders.size()) {
      row["senders"] = Json::array();
      for (const LinkLoader& loader : report.loaders[place]) {
        row["senders"].push_back({{"rank", loader.from.index()}, {"bytes", loader.bytes}});
      }
    }
    json["links"].push_back(std::move(row));
  }
  return json;
}

std::string flow_times_csv(const AllToAllResult& result) {
  std::string text = "src,dst,bytes,finish_s\n";
  for (const FlowFinish& flow : result.flows) {
    fmt::format_to(std::back_inserter(text), "{},{},{},{:.12f}\n", flow.pair.from.index(), flow.pair.to.index(),
                   flow.pair.bytes, flow.finish.duration().base());
  }
  return text;
}

std::string link_use_csv(const AllToAllResult& result, const Cluster& cluster) {
  std::string text = "link,begin_s,end_s,use\n";
  for (std::size_t link = 0; link < result.link_bytes.size(); ++link) {
    if (!(result.link_bytes[link] > 0.0)) {
      continue;
    }
    SimTime begin;
    for (const std::vector<double>& slot : result.use_over_time) {
      const SimTime end = std::min(begin + result.slot, result.completion);
      fmt::format_to(std::back_inserter(text), "{},{:.12f},{:.12f},{:.6f}\n", cluster.link_name(LinkId(link)),
                     begin.duration().base(), end.duration().base(), slot[link]);
      begin = end;
    }
  }
  return text;
}

}  // namespace moesim
