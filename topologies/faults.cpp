#include "topologies/faults.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <boost/graph/adjacency_list.hpp>
#include <boost/graph/connected_components.hpp>
#include <unordered_map>
#include <variant>

#include "sim/core/suggest.hpp"

namespace moesim {

namespace {

using VertexNames = std::unordered_map<std::string_view, VertexId>;

/// What is left of each link, and of each vertex.
class Damage {
 public:
  Damage(const ClusterGraph& graph, FaultList& list) : graph_(graph), list_(list), left_(graph.links.size(), 1.0) {
    for (std::size_t v = 0; v < graph.vertices.size(); ++v) {
      names_.emplace(graph.vertices[v].name, VertexId(v));
    }
    dead_.assign(graph.vertices.size(), false);
  }

  void add(const LinkFault& fault, const std::string& at) {
    const auto from = find(fault.from, at + "/link/from");
    const auto to = find(fault.to, at + "/link/to");
    if (!from || !to) {
      return;
    }
    bool found = false;
    for (std::size_t id = 0; id < graph_.links.size(); ++id) {
      const Link& link = graph_.links[id];
      const bool there = link.from == *from && link.to == *to;
      const bool back = link.from == *to && link.to == *from && fault.direction == LinkDirection::kBoth;
      if (there || back) {
        left_[id] *= fault.capacity;
        found = true;
      }
    }
    if (!found) {
      list_.add(at + "/link", fmt::format("expected two vertices with a link between them, found \"{}\" and \"{}\"",
                                          fault.from, fault.to));
    }
  }

  void add(const VertexFault& fault, const std::string& at) {
    const auto vertex = find(fault.name, at + "/vertex/name");
    if (!vertex) {
      return;
    }
    dead_[vertex->index()] = dead_[vertex->index()] || fault.capacity == 0.0;
    for (std::size_t id = 0; id < graph_.links.size(); ++id) {
      if (graph_.links[id].from == *vertex || graph_.links[id].to == *vertex) {
        left_[id] *= fault.capacity;
      }
    }
  }

  [[nodiscard]] const std::vector<double>& left() const { return left_; }
  [[nodiscard]] std::vector<bool> dead() const { return dead_; }

 private:
  std::optional<VertexId> find(const std::string& name, const std::string& at) {
    const auto found = names_.find(name);
    if (found != names_.end()) {
      return found->second;
    }
    std::vector<std::string_view> known;
    for (const Vertex& vertex : graph_.vertices) {
      known.push_back(vertex.name);
    }
    list_.add(at, fmt::format("expected the name of a vertex, found \"{}\"{}", name, suggestion(name, known)));
    return std::nullopt;
  }

  const ClusterGraph& graph_;
  FaultList& list_;
  VertexNames names_;
  std::vector<double> left_;
  std::vector<bool> dead_;
};

std::string list_names(const ClusterGraph& graph, const std::vector<std::size_t>& gpus) {
  constexpr std::size_t kShown = 4;
  std::string text;
  for (std::size_t i = 0; i < std::min(gpus.size(), kShown); ++i) {
    text += (i > 0 ? ", " : "") + graph.vertices[gpus[i]].name;
  }
  return gpus.size() > kShown ? fmt::format("{} and {} more", text, gpus.size() - kShown) : text;
}

}  // namespace

std::vector<bool> apply_faults(ClusterGraph& graph, const std::vector<Fault>& faults, FaultList& list) {
  Damage damage(graph, list);
  for (std::size_t i = 0; i < faults.size(); ++i) {
    std::visit([&](const auto& fault) { damage.add(fault, fmt::format("/faults/{}", i)); }, faults[i]);
  }
  std::vector<Link> alive;
  alive.reserve(graph.links.size());
  for (std::size_t id = 0; id < graph.links.size(); ++id) {
    if (damage.left()[id] > 0.0) {
      alive.push_back(graph.links[id]);
      alive.back().capacity *= damage.left()[id];
    }
  }
  graph.links = std::move(alive);
  return damage.dead();
}

std::string separate_parts(const ClusterGraph& graph, const std::vector<bool>& dead) {
  boost::adjacency_list<boost::vecS, boost::vecS, boost::undirectedS> links(graph.vertices.size());
  for (const Link& link : graph.links) {
    boost::add_edge(link.from.index(), link.to.index(), links);
  }
  std::vector<std::size_t> component(graph.vertices.size());
  boost::connected_components(links, component.data());
  std::vector<std::size_t> here;
  std::vector<std::size_t> there;
  for (std::size_t v = 0; v < graph.vertices.size(); ++v) {
    if (graph.vertices[v].kind == VertexKind::kGpu && !dead[v]) {
      (here.empty() || component[v] == component[here.front()] ? here : there).push_back(v);
    }
  }
  if (there.empty()) {
    return {};
  }
  return fmt::format("{{{}}} and {{{}}}", list_names(graph, here), list_names(graph, there));
}

}  // namespace moesim
