#include <fmt/format.h>

#include <algorithm>
#include <boost/graph/adjacency_list.hpp>
#include <boost/graph/connected_components.hpp>
#include <limits>
#include <queue>
#include <span>

#include "sim/core/error.hpp"
#include "topologies/routing.hpp"

namespace moesim {

namespace {

constexpr std::uint32_t kMaxWeight = 64;

/// The transit vertices and who is next to whom, for connected components.
using Neighbours = boost::adjacency_list<boost::vecS, boost::vecS, boost::undirectedS>;

}  // namespace

/// Fills a router's tables.
class Router::Builder {
 public:
  Builder(Router& router, const ClusterGraph& graph)
      : router_(router), graph_(graph), incident_(graph.vertices.size()) {
    for (std::size_t id = 0; id < graph.links.size(); ++id) {
      const Link& link = graph.links[id];
      ensure(link.weight > 0 && link.weight <= kMaxWeight, "a link's weight is 1 to 64");
      if (transit(link.from) && transit(link.to)) {
        incident_[link.from.index()].push_back(LinkId(id));
        incident_[link.to.index()].push_back(LinkId(id));
      }
    }
  }

  void attach() {
    attach_side(router_.leaving_offsets_, router_.leaving_, &Link::from, &Link::to);
    attach_side(router_.arriving_offsets_, router_.arriving_, &Link::to, &Link::from);
  }

  /// Hangs each vertex with one neighbour left below that neighbour; `order_` lists parents after their children.
  void peel() {
    const std::size_t count = graph_.vertices.size();
    router_.stations_.resize(count);
    peeled_.assign(count, false);
    std::vector<std::size_t> left(count);
    std::queue<VertexId> thin;
    for (std::size_t v = 0; v < count; ++v) {
      router_.stations_[v].parent = VertexId(v);
      left[v] = neighbours(VertexId(v)).size();
      if (left[v] == 1) {
        thin.push(VertexId(v));
      }
    }
    for (; !thin.empty(); thin.pop()) {
      const VertexId v = thin.front();
      if (left[v.index()] == 1 && hang(v)) {
        const std::size_t parent = router_.station(v).parent.index();
        left[v.index()] = 0;
        if (--left[parent] == 1) {
          thin.push(VertexId(parent));
        }
      }
    }
    for (auto v = order_.rbegin(); v != order_.rend(); ++v) {
      Station& station = router_.stations_[v->index()];
      station.depth = router_.station(station.parent).depth + 1;
    }
  }

  void tabulate_cores() {
    Neighbours graph(graph_.vertices.size());
    for (const Link& link : graph_.links) {
      if (transit(link.from) && transit(link.to)) {
        boost::add_edge(link.from.index(), link.to.index(), graph);
      }
    }
    std::vector<std::uint32_t> component(graph_.vertices.size());
    const auto components = boost::connected_components(graph, component.data());
    std::vector<std::vector<VertexId>> members(components);
    for (std::size_t v = 0; v < component.size(); ++v) {
      Station& station = router_.stations_[v];
      station.core = component[v];
      if (!peeled_[v]) {
        station.position = static_cast<std::uint32_t>(members[component[v]].size());
        members[component[v]].push_back(VertexId(v));
      }
    }
    router_.cores_.resize(components);
    for (std::size_t c = 0; c < members.size(); ++c) {
      if (members[c].size() > kMaxCore) {
        throw ModelError(
            fmt::format("routes: expected at most {} switches between which there is more than one way, found {}",
                        kMaxCore, members[c].size()));
      }
      if (members[c].size() > 1) {
        tabulate(router_.cores_[c], members[c]);
      }
    }
  }

 private:
  [[nodiscard]] bool transit(VertexId id) const {
    return router_.options_.forwarding == Forwarding::kSwitchesAndGpus || is_transit(graph_.vertices[id.index()].kind);
  }

  [[nodiscard]] VertexId other_end(LinkId id, VertexId v) const {
    const Link& link = graph_.links[id.index()];
    return link.from == v ? link.to : link.from;
  }

  [[nodiscard]] std::vector<VertexId> neighbours(VertexId v) const {
    std::vector<VertexId> all;
    for (const LinkId id : incident_[v.index()]) {
      all.push_back(other_end(id, v));
    }
    std::sort(all.begin(), all.end());
    all.erase(std::unique(all.begin(), all.end()), all.end());
    return all;
  }

  /// Below its last neighbour; not where the two are joined by one-way or parallel links, which are left to the core.
  bool hang(VertexId v) {
    std::optional<LinkId> up;
    std::optional<LinkId> down;
    std::size_t links = 0;
    for (const LinkId id : incident_[v.index()]) {
      if (!peeled_[other_end(id, v).index()]) {
        (graph_.links[id.index()].from == v ? up : down) = id;
        ++links;
      }
    }
    if (!up || !down || links != 2) {
      return false;
    }
    Station& station = router_.stations_[v.index()];
    station.parent = graph_.links[up->index()].to;
    station.up = *up;
    station.down = *down;
    peeled_[v.index()] = true;
    order_.push_back(v);
    return true;
  }

  /// Sorts the links at one end of the GPUs by GPU (a counting sort, so that ids stay in order). A GPU that passes
  /// traffic on is its own first vertex.
  void attach_side(std::vector<std::size_t>& offsets, std::vector<Attachment>& all, VertexId Link::* own,
                   VertexId Link::* peer) const {
    offsets.assign(graph_.vertices.size() + 1, 0);
    for (const Link& link : graph_.links) {
      offsets[(link.*own).index() + 1] += transit(link.*own) ? 0 : 1;
    }
    for (std::size_t v = 0; v < graph_.vertices.size(); ++v) {
      offsets[v + 1] += offsets[v] + (transit(VertexId(v)) ? 1 : 0);
    }
    all.resize(offsets.back());
    std::vector<std::size_t> next(offsets);
    for (std::size_t v = 0; v < graph_.vertices.size(); ++v) {
      if (transit(VertexId(v))) {
        all[next[v]] = {std::nullopt, VertexId(v), true};
      }
    }
    for (std::size_t id = 0; id < graph_.links.size(); ++id) {
      const Link& link = graph_.links[id];
      if (!transit(link.*own)) {
        all[next[(link.*own).index()]++] = {LinkId(id), link.*peer, transit(link.*peer)};
      }
    }
  }

  /// Links of a core by the vertex they leave (or, for the search from the destination, enter).
  void list_links(const std::vector<VertexId>& members, VertexId Link::* own, VertexId Link::* peer,
                  std::vector<std::uint32_t>& offsets, std::vector<CoreLink>& links) const {
    offsets.assign(1, 0);
    for (const VertexId v : members) {
      for (const LinkId id : incident_[v.index()]) {
        const Link& link = graph_.links[id.index()];
        if (link.*own == v && !peeled_[(link.*peer).index()]) {
          links.push_back({id, router_.station(link.*peer).position, link.weight});
        }
      }
      offsets.push_back(static_cast<std::uint32_t>(links.size()));
    }
  }

  void tabulate(Core& core, const std::vector<VertexId>& members) const {
    core.size = members.size();
    list_links(members, &Link::from, &Link::to, core.offsets, core.links);
    std::vector<std::uint32_t> offsets;
    std::vector<CoreLink> entering;
    list_links(members, &Link::to, &Link::from, offsets, entering);
    core.distance.assign(core.size * core.size, kFar);
    // Dijkstra's search with a ring of buckets instead of a heap (Dial, CACM 12(11), 1969): weights are small integers.
    std::vector<std::vector<std::uint32_t>> ring(kMaxWeight + 1);
    for (std::size_t destination = 0; destination < core.size; ++destination) {
      const std::span<std::uint16_t> distance = std::span(core.distance).subspan(destination * core.size, core.size);
      distance[destination] = 0;
      ring[0].push_back(static_cast<std::uint32_t>(destination));
      std::size_t waiting = 1;
      for (std::uint32_t at = 0; waiting > 0; ++at) {
        std::vector<std::uint32_t>& bucket = ring[at % ring.size()];
        waiting -= bucket.size();
        for (const std::uint32_t vertex : bucket) {
          if (distance[vertex] != at) {
            continue;  // reached sooner another way
          }
          for (std::uint32_t i = offsets[vertex]; i < offsets[vertex + 1]; ++i) {
            const std::uint32_t found = at + entering[i].weight;
            if (found < distance[entering[i].to]) {
              distance[entering[i].to] = static_cast<std::uint16_t>(found);
              ring[found % ring.size()].push_back(entering[i].to);
              ++waiting;
            }
          }
        }
        bucket.clear();
      }
    }
  }

  Router& router_;
  const ClusterGraph& graph_;
  std::vector<std::vector<LinkId>> incident_;  ///< between transit vertices, both directions
  std::vector<bool> peeled_;
  std::vector<VertexId> order_;
};

Router::Router(const ClusterGraph& graph, const RouterOptions& options) : options_(options), links_(graph.links) {
  Builder builder(*this, graph);
  builder.attach();
  builder.peel();
  builder.tabulate_cores();
}

}  // namespace moesim
