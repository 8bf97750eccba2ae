#include <boost/graph/adjacency_list.hpp>
#include <boost/graph/push_relabel_max_flow.hpp>
#include <cmath>
#include <cstdint>

#include "sim/core/quantity.hpp"
#include "topologies/cluster.hpp"

namespace moesim {

namespace {

using Traits = boost::adjacency_list_traits<boost::vecS, boost::vecS, boost::directedS>;
using FlowGraph = boost::adjacency_list<
    boost::vecS, boost::vecS, boost::directedS, boost::no_property,
    boost::property<boost::edge_capacity_t, std::int64_t,
                    boost::property<boost::edge_residual_capacity_t, std::int64_t,
                                    boost::property<boost::edge_reverse_t, Traits::edge_descriptor>>>>;

void add_arc(FlowGraph& graph, std::size_t from, std::size_t to, std::int64_t capacity) {
  const auto there = boost::add_edge(from, to, graph).first;
  const auto back = boost::add_edge(to, from, graph).first;
  boost::put(boost::edge_capacity, graph, there, capacity);
  boost::put(boost::edge_capacity, graph, back, 0);
  boost::put(boost::edge_reverse, graph, there, back);
  boost::put(boost::edge_reverse, graph, back, there);
}

}  // namespace

Bandwidth Cluster::bisection_bandwidth() const {
  if (gpus() < 2) {
    return Bandwidth{};
  }
  const std::size_t source = vertices().size();
  const std::size_t sink = source + 1;
  FlowGraph graph(sink + 1);
  std::vector<std::int64_t> leaving(gpus(), 0);
  std::vector<std::int64_t> arriving(gpus(), 0);
  for (const Link& link : links()) {
    // Whole B/s: sums of doubles would not balance.
    const auto capacity = static_cast<std::int64_t>(std::llround(link.capacity.base()));
    add_arc(graph, link.from.index(), link.to.index(), capacity);
    if (link.from.index() < gpus()) {
      leaving[link.from.index()] += capacity;
    }
    if (link.to.index() < gpus()) {
      arriving[link.to.index()] += capacity;
    }
  }
  const std::size_t half = gpus() / 2;
  for (std::size_t gpu = 0; gpu < gpus(); ++gpu) {
    gpu < half ? add_arc(graph, source, gpu, leaving[gpu]) : add_arc(graph, gpu, sink, arriving[gpu]);
  }
  return bytes_per_second(static_cast<double>(boost::push_relabel_max_flow(graph, source, sink)));
}

}  // namespace moesim
