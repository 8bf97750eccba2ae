#include <fmt/format.h>

#include <unordered_map>

#include "sim/core/quantity.hpp"
#include "sim/core/suggest.hpp"
#include "sim/core/units.hpp"
#include "topologies/build.hpp"

namespace moesim {

namespace {

using Names = std::unordered_map<std::string_view, std::size_t>;

Names check_vertices(const GraphConfig& graph, FaultList& faults) {
  Names names;
  for (std::size_t i = 0; i < graph.vertices.size(); ++i) {
    const auto [first, added] = names.emplace(graph.vertices[i].name, i);
    if (!added) {
      faults.add(fmt::format("/graph/vertices/{}/name", i),
                 fmt::format("expected a name of its own, found \"{}\", which vertex {} has too", first->first,
                             first->second));
    }
  }
  return names;
}

void check_links(const GraphConfig& graph, const Names& names, FaultList& faults) {
  std::vector<std::string_view> known;
  for (const GraphVertex& vertex : graph.vertices) {
    known.push_back(vertex.name);
  }
  for (std::size_t i = 0; i < graph.links.size(); ++i) {
    const GraphLink& link = graph.links[i];
    const auto check = [&](std::string_view end, const std::string& name) {
      if (!names.contains(name)) {
        faults.add(fmt::format("/graph/links/{}/{}", i, end),
                   fmt::format("expected the name of a vertex, found \"{}\"{}", name, suggestion(name, known)));
      }
    };
    check("from", link.from);
    check("to", link.to);
    if (link.from == link.to) {
      faults.add(fmt::format("/graph/links/{}", i),
                 fmt::format("expected two different vertices, found \"{}\" twice", link.from));
    }
    if (!(link.bandwidth > Bandwidth{})) {
      faults.add(fmt::format("/graph/links/{}/bandwidth", i),
                 fmt::format("expected a bandwidth above zero, found {}", to_text(link.bandwidth)));
    }
  }
}

}  // namespace

void resolve_graph(ClusterConfig& config, FaultList& faults) {
  const GraphConfig& graph = *config.graph;
  if (config.network) {
    faults.add("/network", "expected no network beside a graph, found one");
  }
  check_links(graph, check_vertices(graph, faults), faults);
  std::size_t gpus = 0;
  for (const GraphVertex& vertex : graph.vertices) {
    gpus += vertex.kind == VertexKind::kGpu ? 1 : 0;
  }
  if (gpus == 0) {
    faults.add("/graph/vertices", "expected at least one vertex of the kind gpu, found none");
    return;
  }
  if (config.gpus_per_node == 0 || gpus % config.gpus_per_node != 0) {
    faults.add("/gpus_per_node",
               fmt::format("expected a divisor of the graph's {} GPUs, found {}", gpus, config.gpus_per_node));
    return;
  }
  if (config.nodes && *config.nodes != gpus / config.gpus_per_node) {
    faults.add("/nodes", fmt::format("expected {} ({} GPUs of the graph, {} to a node) or none, found {}",
                                     gpus / config.gpus_per_node, gpus, config.gpus_per_node, *config.nodes));
  }
  config.nodes = gpus / config.gpus_per_node;
}

ClusterGraph make_custom_graph(const ClusterConfig& config) {
  const GraphConfig& described = *config.graph;
  ClusterGraph graph;
  std::unordered_map<std::string_view, VertexId> ids;
  for (const GraphVertex& vertex : described.vertices) {
    if (vertex.kind == VertexKind::kGpu) {
      const NodeId node(graph.vertices.size() / config.gpus_per_node);
      ids[vertex.name] = graph.add({vertex.kind, vertex.name, node});
    }
  }
  for (const GraphVertex& vertex : described.vertices) {
    if (vertex.kind != VertexKind::kGpu) {
      ids[vertex.name] = graph.add({vertex.kind, vertex.name, std::nullopt});
    }
  }
  for (const GraphLink& link : described.links) {
    const VertexId from = ids.at(link.from);
    const VertexId to = ids.at(link.to);
    if (link.direction == LinkDirection::kBoth) {
      graph.connect(from, to, link.bandwidth, link.latency, link.kind, link.weight);
    } else {
      graph.links.push_back({from, to, link.bandwidth, link.latency, link.kind, link.weight});
    }
  }
  return graph;
}

}  // namespace moesim
