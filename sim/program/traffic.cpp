#include "sim/program/traffic.hpp"

#include <algorithm>

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
  return traffic;
}

Exchange dispatch_exchange(const LayerTraffic& traffic, const Cluster& cluster, DispatchProtocol protocol,
                           double token_bytes) {
  Exchange exchange = empty_exchange(StepOperator::kDispatch, protocol);
  const std::size_t ranks = traffic.ranks;
  const std::size_t nodes = node_count(cluster, ranks);
  for (std::size_t from = 0; from < ranks; ++from) {
    const RankId home(from);
    for (std::size_t to = 0; to < ranks; ++to) {
      const RankId target(to);
      if (from == to) {
        continue;
      }
      const double count = direct_count(traffic, protocol, from, to);
      if (protocol != DispatchProtocol::kDeepEpNormal || cluster.node_of(home) == cluster.node_of(target)) {
        exchange.add(home, target, count * token_bytes);
        continue;
      }
      // Chunks are forwarded as they arrive, so the second hop runs beside the first and starts with it.
      const RankId relay = forwarder(cluster, from, cluster.node_of(target).index(), ranks);
      if (relay == target) {
        const double crossing = traffic.node_tokens[from * nodes + cluster.node_of(target).index()];
        exchange.add(home, target, crossing * token_bytes);
      } else {
        exchange.add(relay, target, count * token_bytes, std::span(&home, 1));
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
  const auto crosses = [&](std::size_t a, std::size_t b) {
    return protocol == DispatchProtocol::kDeepEpNormal && cluster.node_of(RankId(a)) != cluster.node_of(RankId(b));
  };
  for (std::size_t from = 0; from < ranks; ++from) {
    for (std::size_t home = 0; home < ranks; ++home) {
      if (from == home) {
        continue;
      }
      const double count = direct_count(traffic, protocol, home, from);
      if (!crosses(from, home)) {
        exchange.add(RankId(from), RankId(home), count * token_bytes);
        continue;
      }
      // Inside the node results are summed at the relay, which waits for nobody's Receive but needs their Send.
      const RankId relay = forwarder(cluster, home, cluster.node_of(RankId(from)).index(), ranks);
      if (relay != RankId(from)) {
        exchange.add(RankId(from), relay, count * token_bytes);
      }
    }
  }
  if (protocol != DispatchProtocol::kDeepEpNormal) {
    return exchange;
  }
  for (std::size_t home = 0; home < ranks; ++home) {
    for (std::size_t node = 0; node < nodes; ++node) {
      if (cluster.node_of(RankId(home)).index() == node) {
        continue;
      }
      const std::size_t first = node * cluster.gpus_per_node();
      std::vector<RankId> contributors;
      for (std::size_t r = first; r < std::min(first + cluster.gpus_per_node(), ranks); ++r) {
        contributors.emplace_back(r);
      }
      exchange.add(forwarder(cluster, home, node, ranks), RankId(home),
                   traffic.node_tokens[home * nodes + node] * token_bytes, contributors);
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
