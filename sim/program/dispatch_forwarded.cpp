#include <algorithm>
#include <span>

#include "sim/program/dispatch_builders.hpp"

namespace moesim {

namespace {

/// What one rank sends another without forwarding.
double direct_count(const LayerTraffic& traffic, DispatchProtocol protocol, std::size_t from, std::size_t to) {
  const bool copies = protocol == DispatchProtocol::kDeepEpLowLatency || protocol == DispatchProtocol::kNaive;
  return copies ? traffic.copies_between(from, to) : traffic.tokens_between(from, to);
}

bool crosses(const DispatchPlan& plan, RankId a, RankId b) {
  return plan.protocol == DispatchProtocol::kDeepEpNormal && plan.cluster->node_of(a) != plan.cluster->node_of(b);
}

std::vector<RankId> ranks_of(const Cluster& cluster, std::size_t node, std::size_t ranks) {
  const std::size_t first = node * cluster.gpus_per_node();
  std::vector<RankId> result;
  for (std::size_t r = first; r < std::min(first + cluster.gpus_per_node(), ranks); ++r) {
    result.emplace_back(r);
  }
  return result;
}

/// The kernels' work on the rank's own tokens: reading and quantising, or summing.
void add_own_tokens(Exchange& exchange, const LayerTraffic& traffic, const DispatchPlan& plan) {
  for (std::size_t rank = 0; rank < traffic.ranks; ++rank) {
    if (exchange.protocol != Protocol::kCollective && traffic.home_tokens[rank] > 0) {
      exchange.add(RankId(rank), RankId(rank), traffic.home_tokens[rank] * plan.token_bytes);
    }
  }
}

}  // namespace

Exchange forwarded_dispatch(const LayerTraffic& traffic, const DispatchPlan& plan) {
  Exchange exchange = token_exchange(StepOperator::kDispatch, traffic, plan);
  const Cluster& cluster = *plan.cluster;
  const std::size_t ranks = traffic.ranks;
  const std::size_t nodes = traffic.nodes();
  for (std::size_t from = 0; from < ranks; ++from) {
    const RankId home(from);
    // Once over the network to each other node, then from the relay to that node's other ranks.
    std::vector<std::uint32_t> crossing(nodes, 0);
    for (std::size_t node = 0; plan.protocol == DispatchProtocol::kDeepEpNormal && node < nodes; ++node) {
      if (cluster.node_of(home).index() != node) {
        crossing[node] = exchange.add(home, relay_in(cluster, from, node, ranks),
                                      traffic.node_tokens[from * nodes + node] * plan.token_bytes);
      }
    }
    for (std::size_t to = 0; to < ranks; ++to) {
      if (from == to) {
        continue;
      }
      const RankId target(to);
      const double bytes = direct_count(traffic, plan.protocol, from, to) * plan.token_bytes;
      if (!crosses(plan, home, target)) {
        exchange.add(home, target, bytes);
        continue;
      }
      const std::size_t node = cluster.node_of(target).index();
      const RankId relay = relay_in(cluster, from, node, ranks);
      if (relay != target) {
        exchange.orders.push_back({crossing[node], exchange.add(relay, target, bytes, std::span(&home, 1))});
      }
    }
  }
  add_own_tokens(exchange, traffic, plan);
  return exchange;
}

Exchange forwarded_combine(const LayerTraffic& traffic, const DispatchPlan& plan) {
  Exchange exchange = token_exchange(StepOperator::kCombine, traffic, plan);
  const Cluster& cluster = *plan.cluster;
  const std::size_t ranks = traffic.ranks;
  const std::size_t nodes = traffic.nodes();
  for (std::size_t home = 0; home < ranks; ++home) {
    const RankId target(home);
    std::vector<std::vector<std::uint32_t>> gathered(nodes);
    for (std::size_t from = 0; from < ranks; ++from) {
      if (from == home) {
        continue;
      }
      const RankId source(from);
      const double bytes = direct_count(traffic, plan.protocol, home, from) * plan.token_bytes;
      if (!crosses(plan, source, target)) {
        exchange.add(source, target, bytes);
        continue;
      }
      const std::size_t node = cluster.node_of(source).index();
      const RankId relay = relay_in(cluster, home, node, ranks);
      if (relay != source) {
        gathered[node].push_back(exchange.add(source, relay, bytes));
      }
    }
    // The relay sums what its node has for a token and sends it home once, when all of them have begun to send.
    for (std::size_t node = 0; plan.protocol == DispatchProtocol::kDeepEpNormal && node < nodes; ++node) {
      if (cluster.node_of(target).index() == node) {
        continue;
      }
      const std::uint32_t last =
          exchange.add(relay_in(cluster, home, node, ranks), target,
                       traffic.node_tokens[home * nodes + node] * plan.token_bytes, ranks_of(cluster, node, ranks));
      for (const std::uint32_t first : gathered[node]) {
        exchange.orders.push_back({first, last});
      }
    }
  }
  add_own_tokens(exchange, traffic, plan);
  return exchange;
}

}  // namespace moesim
