#include "topologies/torus.hpp"

#include <algorithm>
#include <queue>

#include "sim/core/error.hpp"
#include "sim/core/quantity.hpp"

namespace moesim {

namespace {

std::size_t stride_of(const Torus& torus, std::size_t dimension) {
  std::size_t stride = 1;
  for (std::size_t d = dimension + 1; d < torus.shape.size(); ++d) {
    stride *= torus.shape[d];
  }
  return stride;
}

}  // namespace

std::vector<TorusEdge> torus_edges(const Torus& torus) {
  return torus.edges.value_or(std::vector<TorusEdge>(torus.shape.size(), TorusEdge::kWrap));
}

std::optional<std::size_t> torus_neighbour(const Torus& torus, std::size_t vertex, std::size_t dimension,
                                           std::size_t direction) {
  const std::size_t size = torus.shape[dimension];
  const std::size_t stride = stride_of(torus, dimension);
  const std::size_t at = vertex / stride % size;
  const bool wraps = direction == 0 ? at + 1 == size : at == 0;
  if (size == 1 || (wraps && torus_edges(torus)[dimension] == TorusEdge::kOpen)) {
    return std::nullopt;
  }
  const std::size_t next = direction == 0 ? (at + 1) % size : (at + size - 1) % size;
  return vertex - at * stride + next * stride;
}

TorusRouter::TorusRouter(const Torus& torus, const ClusterGraph& graph)
    : shape_(torus.shape), edges_(torus_edges(torus)), links_(graph.links) {
  const std::size_t dimensions = shape_.size();
  for (std::size_t d = 0; d < dimensions; ++d) {
    stride_.push_back(stride_of(torus, d));
  }
  ports_.resize(graph.vertices.size() * 2 * dimensions);
  for (std::size_t id = 0; id < graph.links.size(); ++id) {
    const std::size_t from = graph.links[id].from.index();
    const std::size_t to = graph.links[id].to.index();
    for (std::size_t d = 0; d < dimensions; ++d) {
      const std::size_t a = coordinate(from, d);
      const std::size_t b = coordinate(to, d);
      if (a == b) {
        continue;
      }
      // In a ring of two both directions are the same cable.
      if ((a + 1) % shape_[d] == b) {
        ports_[from * 2 * dimensions + 2 * d] = LinkId(id);
      }
      if ((b + 1) % shape_[d] == a) {
        ports_[from * 2 * dimensions + 2 * d + 1] = LinkId(id);
      }
    }
  }
}

std::size_t TorusRouter::coordinate(std::size_t vertex, std::size_t dimension) const {
  return vertex / stride_[dimension] % shape_[dimension];
}

Duration TorusRouter::latency(const Segment& segment) const {
  Duration total;
  for (const LinkId id : segment.links) {
    total += links_[id.index()].latency;
  }
  return total;
}

std::optional<TorusRouter::Segment> TorusRouter::walk(std::size_t from, std::size_t dimension, std::size_t steps,
                                                      std::size_t direction) const {
  Segment segment;
  for (std::size_t at = from; steps > 0; --steps) {
    const auto port = ports_[at * 2 * shape_.size() + 2 * dimension + direction];
    if (!port) {
      return std::nullopt;
    }
    segment.links.push_back(*port);
    at = links_[port->index()].to.index();
  }
  return segment;
}

bool TorusRouter::along(std::size_t& at, std::size_t dimension, std::size_t target, Route& route) const {
  const std::size_t size = shape_[dimension];
  const std::size_t here = coordinate(at, dimension);
  if (here == target) {
    return true;
  }
  const std::size_t up = (target + size - here) % size;
  std::vector<Segment> ways;
  const auto add = [&](std::size_t steps, std::size_t direction) {
    if (auto way = walk(at, dimension, steps, direction)) {
      ways.push_back(std::move(*way));
    }
  };
  if (edges_[dimension] == TorusEdge::kOpen) {
    target > here ? add(target - here, 0) : add(here - target, 1);
  } else if (2 * up == size && size > 2) {
    add(up, 0);
    add(up, 1);
  } else {
    2 * up <= size ? add(up, 0) : add(size - up, 1);
  }
  Duration longest;
  for (const Segment& way : ways) {
    for (const LinkId id : way.links) {
      route.hops.push_back({id, 1.0 / static_cast<double>(ways.size())});
    }
    longest = std::max(longest, latency(way));
  }
  route.latency += longest;
  at = at - here * stride_[dimension] + target * stride_[dimension];
  return !ways.empty();
}

std::optional<Route> TorusRouter::route(VertexId from, VertexId to) const {
  ensure(from != to, "route: from and to differ");
  Route route;
  std::size_t at = from.index();
  for (std::size_t d = 0; d < shape_.size(); ++d) {
    if (!along(at, d, coordinate(to.index(), d), route)) {
      return detour(from.index(), to.index());
    }
  }
  return route;
}

std::optional<Route> TorusRouter::detour(std::size_t from, std::size_t to) const {
  const std::size_t ports = 2 * shape_.size();
  std::vector<std::optional<LinkId>> reached(ports_.size() / ports);
  std::queue<std::size_t> queue;
  queue.push(from);
  while (!queue.empty() && !reached[to]) {
    const std::size_t at = queue.front();
    queue.pop();
    for (std::size_t p = 0; p < ports; ++p) {
      const auto port = ports_[at * ports + p];
      const std::size_t next = port ? links_[port->index()].to.index() : from;
      if (next != from && !reached[next]) {
        reached[next] = port;
        queue.push(next);
      }
    }
  }
  if (!reached[to]) {
    return std::nullopt;
  }
  Route route;
  for (std::size_t at = to; at != from; at = links_[reached[at]->index()].from.index()) {
    route.hops.push_back({*reached[at]});
    route.latency += links_[reached[at]->index()].latency;
  }
  std::reverse(route.hops.begin(), route.hops.end());
  return route;
}

}  // namespace moesim
