#include "sim/program/traffic.hpp"

#include <algorithm>
#include <numeric>

#include "sim/core/error.hpp"

namespace moesim {

namespace {

std::size_t node_count(const Cluster& cluster, std::size_t ranks) {
  return cluster.node_of(RankId(ranks - 1)).index() + 1;
}

Protocol profile_of(DispatchProtocol protocol) {
  return protocol == DispatchProtocol::kDeepEpLowLatency ? Protocol::kLowLatency : Protocol::kHighThroughput;
}

/// The rank that takes tokens of `from` into `node` and hands out what comes back: same in-node index as the sender.
RankId forwarder(const Cluster& cluster, std::size_t from, std::size_t node, std::size_t ranks) {
  const std::size_t first = node * cluster.gpus_per_node();
  const std::size_t last = std::min(first + cluster.gpus_per_node(), ranks) - 1;
  return RankId(std::min(first + from % cluster.gpus_per_node(), last));
}

/// What one rank sends another without forwarding.
double direct_count(const LayerTraffic& traffic, DispatchProtocol protocol, std::size_t from, std::size_t to) {
  return protocol == DispatchProtocol::kDeepEpLowLatency ? traffic.copies_between(from, to)
                                                         : traffic.tokens_between(from, to);
}

bool crosses(const Cluster& cluster, DispatchProtocol protocol, RankId a, RankId b) {
  return protocol == DispatchProtocol::kDeepEpNormal && cluster.node_of(a) != cluster.node_of(b);
}

std::vector<RankId> ranks_of(const Cluster& cluster, std::size_t node, std::size_t ranks) {
  const std::size_t first = node * cluster.gpus_per_node();
  std::vector<RankId> result;
  for (std::size_t r = first; r < std::min(first + cluster.gpus_per_node(), ranks); ++r) {
    result.emplace_back(r);
  }
  return result;
}

Exchange empty_exchange(StepOperator op, DispatchProtocol protocol) {
  Exchange exchange;
  exchange.op = op;
  exchange.protocol = profile_of(protocol);
  return exchange;
}

}  // namespace

LayerTraffic count_traffic(const LayerPlacement& placement, const Cluster& cluster,
                           std::span<const std::uint16_t> choices, std::size_t k,
                           std::span<const std::size_t> first_token) {
  const std::size_t ranks = placement.ranks();
  const std::size_t nodes = node_count(cluster, ranks);
  ensure(first_token.size() == ranks + 1 && first_token.back() * k == choices.size(),
         "routing and ranks disagree on the number of tokens");
  LayerTraffic traffic;
  traffic.ranks = ranks;
  traffic.copies.assign(ranks * ranks, 0);
  traffic.tokens.assign(ranks * ranks, 0);
  traffic.node_tokens.assign(ranks * nodes, 0);
  for (std::size_t r = 0; r < ranks; ++r) {
    traffic.rows.emplace_back(placement.slots_of(RankId(r)).size(), 0);
  }
  // Whether a token has been counted for a rank or node: the last token that was, plus one.
  std::vector<std::size_t> seen_rank(ranks, 0);
  std::vector<std::size_t> seen_node(nodes, 0);
  std::vector<std::uint32_t> turn(placement.experts(), 0);
  for (std::size_t from = 0; from < ranks; ++from) {
    for (std::size_t token = first_token[from]; token < first_token[from + 1]; ++token) {
      for (const std::uint16_t expert : choices.subspan(token * k, k)) {
        const auto replicas = placement.replicas_of(expert);
        const auto& replica = replicas[turn[expert]++ % replicas.size()];
        const std::size_t to = replica.rank.index();
        ++traffic.rows[to][replica.local_slot];
        ++traffic.copies[from * ranks + to];
        if (seen_rank[to] != token + 1) {
          seen_rank[to] = token + 1;
          ++traffic.tokens[from * ranks + to];
        }
        const std::size_t node = cluster.node_of(replica.rank).index();
        if (seen_node[node] != token + 1) {
          seen_node[node] = token + 1;
          ++traffic.node_tokens[from * nodes + node];
        }
      }
    }
  }
  std::int64_t computed = 0;
  for (const auto& rank_rows : traffic.rows) {
    computed = std::accumulate(rank_rows.begin(), rank_rows.end(), computed);
  }
  ensure(computed == static_cast<std::int64_t>(choices.size()), "routed copies and computed rows differ");
  return traffic;
}

Exchange dispatch_exchange(const LayerTraffic& traffic, const Cluster& cluster, DispatchProtocol protocol,
                           double token_bytes) {
  Exchange exchange = empty_exchange(StepOperator::kDispatch, protocol);
  const std::size_t ranks = traffic.ranks;
  const std::size_t nodes = node_count(cluster, ranks);
  for (std::size_t from = 0; from < ranks; ++from) {
    const RankId home(from);
    // Once over the network to each other node, then from the relay to that node's other ranks.
    std::vector<std::uint32_t> crossing(nodes, 0);
    for (std::size_t node = 0; protocol == DispatchProtocol::kDeepEpNormal && node < nodes; ++node) {
      if (cluster.node_of(home).index() != node) {
        crossing[node] = exchange.add(home, forwarder(cluster, from, node, ranks),
                                      traffic.node_tokens[from * nodes + node] * token_bytes);
      }
    }
    for (std::size_t to = 0; to < ranks; ++to) {
      if (from == to) {
        continue;
      }
      const RankId target(to);
      const double bytes = direct_count(traffic, protocol, from, to) * token_bytes;
      if (!crosses(cluster, protocol, home, target)) {
        exchange.add(home, target, bytes);
        continue;
      }
      const std::size_t node = cluster.node_of(target).index();
      const RankId relay = forwarder(cluster, from, node, ranks);
      if (relay != target) {
        exchange.orders.push_back({crossing[node], exchange.add(relay, target, bytes, std::span(&home, 1))});
      }
    }
  }
  return exchange;
}

Exchange combine_exchange(const LayerTraffic& traffic, const Cluster& cluster, DispatchProtocol protocol,
                          double token_bytes) {
  Exchange exchange = empty_exchange(StepOperator::kCombine, protocol);
  const std::size_t ranks = traffic.ranks;
  const std::size_t nodes = node_count(cluster, ranks);
  for (std::size_t home = 0; home < ranks; ++home) {
    const RankId target(home);
    std::vector<std::vector<std::uint32_t>> gathered(nodes);
    for (std::size_t from = 0; from < ranks; ++from) {
      if (from == home) {
        continue;
      }
      const RankId source(from);
      const double bytes = direct_count(traffic, protocol, home, from) * token_bytes;
      if (!crosses(cluster, protocol, source, target)) {
        exchange.add(source, target, bytes);
        continue;
      }
      const std::size_t node = cluster.node_of(source).index();
      const RankId relay = forwarder(cluster, home, node, ranks);
      if (relay != source) {
        gathered[node].push_back(exchange.add(source, relay, bytes));
      }
    }
    // The relay sums what its node has for a token and sends it home once, when all of them have begun to send.
    for (std::size_t node = 0; protocol == DispatchProtocol::kDeepEpNormal && node < nodes; ++node) {
      if (cluster.node_of(target).index() == node) {
        continue;
      }
      const std::uint32_t last =
          exchange.add(forwarder(cluster, home, node, ranks), target,
                       traffic.node_tokens[home * nodes + node] * token_bytes, ranks_of(cluster, node, ranks));
      for (const std::uint32_t first : gathered[node]) {
        exchange.orders.push_back({first, last});
      }
    }
  }
  return exchange;
}

Exchange group_exchange(StepOperator op, std::size_t ranks, std::size_t group_size, double bytes) {
  Exchange exchange;
  exchange.op = op;
  exchange.protocol = Protocol::kCollective;
  const double share = bytes / static_cast<double>(group_size);
  for (std::size_t from = 0; from < ranks; ++from) {
    const std::size_t first = from - from % group_size;
    for (std::size_t to = first; to < first + group_size; ++to) {
      if (to != from) {
        exchange.add(RankId(from), RankId(to), share);
      }
    }
  }
  return exchange;
}

}  // namespace moesim
