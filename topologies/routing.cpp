#include "topologies/routing.hpp"

#include <algorithm>
#include <boost/graph/adjacency_list.hpp>
#include <boost/graph/breadth_first_search.hpp>
#include <boost/graph/connected_components.hpp>
#include <queue>

#include "sim/core/error.hpp"

namespace moesim {

namespace {

/// Who is next to whom among the transit vertices, parallel links and directions forgotten (setS): for components
/// and for peeling.
using Neighbours = boost::adjacency_list<boost::setS, boost::vecS, boost::undirectedS>;
/// The links themselves; parallel ones are edges of their own, in the order of their ids.
using Links = boost::adjacency_list<boost::vecS, boost::vecS, boost::directedS, boost::no_property, LinkId>;

/// Notes the first link through which each vertex of a reversed core is reached from the search's start, which is
/// the link that leads from the vertex towards the start.
template <class Note>
class TreeEdges : public boost::default_bfs_visitor {
 public:
  explicit TreeEdges(Note note) : note_(note) {}
  template <class Edge, class Graph>
  void tree_edge(const Edge& edge, const Graph& graph) const {
    note_(graph[edge], boost::target(edge, graph));
  }

 private:
  Note note_;
};

}  // namespace

class Router::Builder {
 public:
  Builder(Router& router, const ClusterGraph& graph)
      : router_(router), graph_(graph), neighbours_(graph.vertices.size()), links_(graph.vertices.size()) {
    for (std::size_t id = 0; id < graph.links.size(); ++id) {
      const Link& link = graph.links[id];
      if (transit(link.from) && transit(link.to)) {
        boost::add_edge(link.from.index(), link.to.index(), neighbours_);
        boost::add_edge(link.from.index(), link.to.index(), LinkId(id), links_);
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
    std::vector<std::size_t> left(count);
    std::queue<std::size_t> thin;
    for (std::size_t v = 0; v < count; ++v) {
      router_.stations_[v].parent = VertexId(v);
      left[v] = boost::out_degree(v, neighbours_);
      if (left[v] == 1) {
        thin.push(v);
      }
    }
    peeled_.assign(count, false);
    for (; !thin.empty(); thin.pop()) {
      const std::size_t v = thin.front();
      if (left[v] != 1) {
        continue;  // the last of its component
      }
      const auto [begin, end] = boost::adjacent_vertices(v, neighbours_);
      const std::size_t parent = *std::find_if(begin, end, [&](std::size_t u) { return !peeled_[u]; });
      const auto [up, has_up] = boost::edge(v, parent, links_);
      const auto [down, has_down] = boost::edge(parent, v, links_);
      if (!has_up || !has_down) {
        continue;  // a one-way link: left to the core's search
      }
      router_.stations_[v].parent = VertexId(parent);
      router_.stations_[v].up = links_[up];
      router_.stations_[v].down = links_[down];
      peeled_[v] = true;
      order_.push_back(v);
      left[v] = 0;
      if (--left[parent] == 1) {
        thin.push(parent);
      }
    }
    for (auto v = order_.rbegin(); v != order_.rend(); ++v) {
      Station& station = router_.stations_[*v];
      station.depth = router_.stations_[station.parent.index()].depth + 1;
    }
  }

  void tabulate_cores() {
    std::vector<std::uint32_t> component(graph_.vertices.size());
    const auto components = boost::connected_components(neighbours_, component.data());
    std::vector<std::vector<std::size_t>> members(components);
    for (std::size_t v = 0; v < component.size(); ++v) {
      Station& station = router_.stations_[v];
      station.core = component[v];
      if (!peeled_[v]) {
        station.position = static_cast<std::uint32_t>(members[component[v]].size());
        members[component[v]].push_back(v);
      }
    }
    router_.cores_.resize(components);
    for (std::size_t c = 0; c < members.size(); ++c) {
      if (members[c].size() > 1) {
        tabulate(router_.cores_[c], members[c]);
      }
    }
  }

 private:
  [[nodiscard]] bool transit(VertexId id) const { return is_transit(graph_.vertices[id.index()].kind); }

  /// Sorts the links at one end of the GPUs by GPU (a counting sort, so that ids stay in order).
  void attach_side(std::vector<std::size_t>& offsets, std::vector<Attachment>& all, VertexId Link::* own,
                   VertexId Link::* peer) const {
    offsets.assign(graph_.vertices.size() + 1, 0);
    for (const Link& link : graph_.links) {
      offsets[(link.*own).index() + 1] += transit(link.*own) ? 0 : 1;
    }
    for (std::size_t v = 1; v < offsets.size(); ++v) {
      offsets[v] += offsets[v - 1];
    }
    all.resize(offsets.back());
    std::vector<std::size_t> next(offsets);
    for (std::size_t id = 0; id < graph_.links.size(); ++id) {
      const Link& link = graph_.links[id];
      if (!transit(link.*own)) {
        all[next[(link.*own).index()]++] = {LinkId(id), link.*peer, transit(link.*peer)};
      }
    }
  }

  void tabulate(Core& core, const std::vector<std::size_t>& members) const {
    core.size = members.size();
    core.next.resize(core.size * core.size);
    Links reversed(core.size);
    for (const std::size_t v : members) {
      const auto [begin, end] = boost::out_edges(v, links_);
      for (auto edge = begin; edge != end; ++edge) {
        const std::size_t to = boost::target(*edge, links_);
        if (!peeled_[to]) {
          boost::add_edge(router_.stations_[to].position, router_.stations_[v].position, links_[*edge], reversed);
        }
      }
    }
    for (std::size_t destination = 0; destination < core.size; ++destination) {
      const auto note = [&](LinkId link, std::size_t source) {
        core.next[destination * core.size + source] = CoreStep{link, graph_.links[link.index()].to};
      };
      boost::breadth_first_search(reversed, destination, boost::visitor(TreeEdges(note)));
    }
  }

  Router& router_;
  const ClusterGraph& graph_;
  Neighbours neighbours_;
  Links links_;
  std::vector<bool> peeled_;
  std::vector<std::size_t> order_;
};

Router::Router(const ClusterGraph& graph) {
  Builder builder(*this, graph);
  builder.attach();
  builder.peel();
  builder.tabulate_cores();
}

std::span<const Router::Attachment> Router::attachments(const std::vector<std::size_t>& offsets,
                                                        const std::vector<Attachment>& all, VertexId gpu) const {
  const std::size_t begin = offsets.at(gpu.index());
  return std::span(all).subspan(begin, offsets.at(gpu.index() + 1) - begin);
}

std::optional<std::vector<LinkId>> Router::path(VertexId from, VertexId to) const {
  ensure(from != to, "path: from and to differ");
  std::optional<std::vector<LinkId>> best;
  for (const Attachment& first : attachments(leaving_offsets_, leaving_, from)) {
    if (first.peer == to) {
      return std::vector{first.link};  // a direct link: nothing is shorter
    }
    for (const Attachment& last : attachments(arriving_offsets_, arriving_, to)) {
      if (!first.through || !last.through) {
        continue;
      }
      std::optional<std::vector<LinkId>> middle = transit_path(first.peer, last.peer);
      if (middle && (!best || middle->size() + 2 < best->size())) {
        middle->insert(middle->begin(), first.link);
        middle->push_back(last.link);
        best = std::move(middle);
      }
    }
  }
  return best;
}

std::optional<std::vector<LinkId>> Router::transit_path(VertexId from, VertexId to) const {
  const auto station = [this](VertexId id) -> const Station& { return stations_[id.index()]; };
  if (station(from).core != station(to).core) {
    return std::nullopt;
  }
  std::vector<LinkId> path;
  std::vector<LinkId> descent;  // last link first
  path.reserve(8);
  while (from != to && (station(from).depth > 0 || station(to).depth > 0)) {
    if (station(from).depth >= station(to).depth) {
      path.push_back(station(from).up);
      from = station(from).parent;
    } else {
      descent.push_back(station(to).down);
      to = station(to).parent;
    }
  }
  const Core& core = cores_[station(from).core];
  while (from != to) {
    const auto& step = core.next[station(to).position * core.size + station(from).position];
    if (!step) {
      return std::nullopt;
    }
    path.push_back(step->link);
    from = step->to;
  }
  path.insert(path.end(), descent.rbegin(), descent.rend());
  return path;
}

}  // namespace moesim
