#include "sim/cli/cluster_summary.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <variant>

#include "models/hardware/hardware.hpp"
#include "sim/core/units.hpp"

namespace moesim {

namespace {

std::string line(std::string_view what, const std::string& text) { return fmt::format("  {:<22} {}\n", what, text); }

std::string switches(const Cluster& cluster) {
  std::map<VertexKind, std::size_t> counts;
  for (const Vertex& vertex : cluster.vertices()) {
    ++counts[vertex.kind];
  }
  std::string text;
  for (const auto& [kind, count] : counts) {
    text += fmt::format("{}{} {}", text.empty() ? "" : ", ", count, kind_name(kind));
  }
  return text;
}

/// What the devices of a kind carry downwards over what they carry upwards, where they have both.
double ratio(const Cluster& cluster, VertexKind own, VertexKind above) {
  double up = 0.0;
  double down = 0.0;
  for (const Link& link : cluster.links()) {
    if (cluster.vertex(link.from).kind == own) {
      (cluster.vertex(link.to).kind == above ? up : down) += link.capacity.base();
    }
  }
  return up > 0.0 ? down / up : 0.0;
}

std::string oversubscription(const Cluster& cluster) {
  const double leaf = ratio(cluster, VertexKind::kLeaf, VertexKind::kSpine);
  const double spine = ratio(cluster, VertexKind::kSpine, VertexKind::kCore);
  std::string text = leaf > 0.0 ? fmt::format("{:.4g}:1 at the leaves", leaf) : "";
  return spine > 0.0 ? text + fmt::format(", {:.4g}:1 at the spines", spine) : text;
}

/// Latencies from GPU 0, lowest and highest, inside its node and beyond.
std::string latencies(const Cluster& cluster) {
  std::map<bool, std::pair<Duration, Duration>> range;
  for (std::size_t to = 1; to < cluster.gpus(); ++to) {
    const Duration latency = cluster.route(RankId(0), RankId(to)).latency;
    const auto [entry, added] = range.try_emplace(cluster.same_scale_up(RankId(0), RankId(to)), latency, latency);
    entry->second = {std::min(entry->second.first, latency), std::max(entry->second.second, latency)};
  }
  std::string text;
  for (const bool inside : {true, false}) {
    if (const auto found = range.find(inside); found != range.end()) {
      const auto [low, high] = found->second;
      text +=
          fmt::format("{}{}{} {}", text.empty() ? "" : ", ", to_text(low),
                      high > low ? fmt::format(" to {}", to_text(high)) : "", inside ? "in a node" : "between nodes");
    }
  }
  return text;
}

std::string fabric(const Cluster& cluster) {
  const ClusterConfig& config = cluster.config();
  if (config.graph) {
    return "given link by link";
  }
  return config.network
             ? std::visit([]<class F>(const F&) { return std::string(F::kTag) + ": " + std::string(F::kDoc); },
                          config.network->fabric)
             : "none: one node";
}

}  // namespace

std::string cluster_summary_text(const Cluster& cluster) {
  const ClusterConfig& config = cluster.config();
  std::string text =
      line("GPUs", fmt::format("{} × {} in {} node{} of {}", cluster.gpus(), cluster.accelerator().name,
                               cluster.nodes(), cluster.nodes() == 1 ? "" : "s", cluster.gpus_per_node()));
  if (!config.graph && config.scale_up.bandwidth) {
    text += line("scale-up", fmt::format("{}, {} a GPU each way", name_of(config.scale_up.kind),
                                         to_text(*config.scale_up.bandwidth)));
  }
  if (config.network && cluster.nic() != nullptr) {
    text += line("NICs", fmt::format("{} a node, {} of {} each way", config.network->nics_per_node.value_or(0),
                                     cluster.nic()->name, to_text(cluster.nic()->bandwidth)));
  }
  text += line("fabric", fabric(cluster));
  if (const std::string over = oversubscription(cluster); !over.empty()) {
    text += line("oversubscription", over);
  }
  text += line("devices", switches(cluster));
  text += line("bisection bandwidth", to_text(cluster.bisection_bandwidth()) + " from the first half to the second");
  text += line("routing", fmt::format("{}, other rails over the {}", name_of(*config.routing.paths),
                                      name_of(*config.routing.cross_rail)));
  text += line("latency", latencies(cluster));
  return text;
}

}  // namespace moesim
