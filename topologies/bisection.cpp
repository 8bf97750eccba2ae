#include <boost/graph/adjacency_list.hpp>
#include <boost/graph/push_relabel_max_flow.hpp>

#include "topologies/cluster.hpp"

namespace moesim {

namespace {

using Traits = boost::adjacency_list_traits<boost::vecS, boost::vecS, boost::directedS>;
using FlowGraph = boost::adjacency_list<
    boost::vecS, boost::vecS, boost::directedS, boost::no_property,
    boost::property<boost::edge_capacity_t, double,
                    boost::property<boost::edge_residual_capacity_t, double,
                                    boost::property<boost::edge_reverse_t, Traits::edge_descriptor>>>>;

void add_arc(FlowGraph& graph, std::size_t from, std::size_t to, double capacity) {
  const auto there = boost::add_edge(from, to, graph).first;
  const auto back = boost::add_edge(to, from, graph).first;
  boost::put(boost::edge_capacity, graph, there, capacity);
  boost::put(boost::edge_capacity, graph, back, 0.0);
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
  std::vector<double> leaving(gpus(), 0.0);
  std::vector<double> arriving(gpus(), 0.0);
  for (const Link& link : links()) {
    add_arc(graph, link.from.index(), link.to.index(), link.capacity.base());
    if (link.from.index() < gpus()) {
      leaving[link.from.index()] += link.capacity.base();
    }
    if (link.to.index() < gpus()) {
      arriving[link.to.index()] += link.capacity.base();
    }
  }
  const std::size_t half = gpus() / 2;
  for (std::size_t gpu = 0; gpu < gpus(); ++gpu) {
    gpu < half ? add_arc(graph, source, gpu, leaving[gpu]) : add_arc(graph, gpu, sink, arriving[gpu]);
  }
  return bytes_per_second(boost::push_relabel_max_flow(graph, source, sink));
}

}  // namespace moesim
