#include <fmt/format.h>

#include <algorithm>
#include <set>
#include <utility>

#include "sim/core/units.hpp"
#include "topologies/cluster.hpp"

namespace moesim {

namespace {

constexpr std::size_t kDrawnGpus = 16;

std::string_view shape_of(VertexKind kind) {
  switch (kind) {
    case VertexKind::kGpu:
      return "box";
    case VertexKind::kNic:
      return "ellipse";
    default:
      return "hexagon";
  }
}

/// How far above the GPUs a vertex between nodes stands.
int level_of(VertexKind kind) {
  switch (kind) {
    case VertexKind::kLeaf:
    case VertexKind::kRouter:
    case VertexKind::kSwitch:
      return 1;
    case VertexKind::kSpine:
      return 2;
    case VertexKind::kCore:
      return 3;
    default:
      return 0;
  }
}

/// Vertices to draw: those of the first nodes, and the switches between nodes that a drawn vertex has a link up to (the
/// leaves of the drawn NICs, then the spines of these leaves); of a graph given link by link, all.
std::vector<bool> choose_drawn(const Cluster& cluster, std::size_t nodes) {
  std::vector<bool> drawn(cluster.vertices().size());
  for (std::size_t v = 0; v < drawn.size(); ++v) {
    const auto& node = cluster.vertices()[v].node;
    drawn[v] = cluster.config().graph || (node && node->index() < nodes);
  }
  for (bool grown = true; grown;) {
    grown = false;
    for (const Link& link : cluster.links()) {
      // Upwards only: from the spine every leaf of the cluster would follow.
      if (drawn[link.from.index()] && !drawn[link.to.index()] &&
          level_of(cluster.vertex(link.to).kind) > level_of(cluster.vertex(link.from).kind)) {
        drawn[link.to.index()] = true;
        grown = true;
      }
    }
  }
  return drawn;
}

std::string draw_vertex(const Vertex& vertex) {
  return fmt::format("\"{}\" [shape={}];\n", vertex.name, shape_of(vertex.kind));
}

}  // namespace

std::string to_dot(const Cluster& cluster) {
  const std::size_t nodes = std::clamp<std::size_t>(kDrawnGpus / cluster.gpus_per_node(), 1, cluster.nodes());
  const std::vector<bool> drawn = choose_drawn(cluster, nodes);
  std::string title = fmt::format("{}: {} GPUs", cluster.config().name, cluster.gpus());
  if (nodes < cluster.nodes()) {
    title += fmt::format(" ({} of {} nodes drawn)", nodes, cluster.nodes());
  }
  std::string name;
  for (const char c : title) {
    name += c == '"' || c == '\\' ? std::string{'\\', c} : std::string(1, c);
  }
  std::string dot = fmt::format("graph \"{}\" {{\n  label=\"{}\";\n  rankdir=BT;\n", name, name);
  for (std::size_t node = 0; node < nodes; ++node) {
    dot += fmt::format("  subgraph cluster_node{} {{\n    label=\"node{}\";\n", node, node);
    for (const Vertex& vertex : cluster.vertices()) {
      dot += vertex.node == NodeId(node) ? "    " + draw_vertex(vertex) : "";
    }
    dot += "  }\n";
  }
  for (std::size_t v = 0; v < drawn.size(); ++v) {
    const Vertex& vertex = cluster.vertices()[v];
    dot += drawn[v] && !vertex.node ? "  " + draw_vertex(vertex) : "";
  }
  // The two directions of a cable are alike: one line for both.
  std::set<std::pair<VertexId, VertexId>> done;
  for (const Link& link : cluster.links()) {
    if (!drawn[link.from.index()] || !drawn[link.to.index()] || done.contains({link.to, link.from})) {
      continue;
    }
    done.insert({link.from, link.to});
    dot += fmt::format("  \"{}\" -- \"{}\" [label=\"{}\"];\n", cluster.vertex(link.from).name,
                       cluster.vertex(link.to).name, to_text(link.capacity));
  }
  return dot + "}\n";
}

}  // namespace moesim
