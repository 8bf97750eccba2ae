#include <algorithm>
#include <vector>

#include "sim/program/collective_builders.hpp"

namespace moesim {

namespace {

/// One of the two trees: ranks in breadth-first order of nodes, each node a chain of its ranks under its leader.
struct Tree {
  std::vector<RankId> order;        ///< parents before children
  std::vector<std::size_t> parent;  ///< [order]: place of the parent; of the root, its own
};

enum class Side { kPlain, kMirrored };

/// The members of each node in the order of a channel's chain, leader first.
std::vector<std::vector<RankId>> rotated(std::vector<std::vector<RankId>> nodes, std::size_t channel) {
  for (auto& members : nodes) {
    std::rotate(members.begin(), members.begin() + static_cast<std::ptrdiff_t>(channel % members.size()),
                members.end());
  }
  return nodes;
}

/// Nodes form a binary tree in heap order, mirrored in the second tree, so that a node which passes data on in one is
/// a leaf of the other (Sanders, Speck, Träff: "Two-tree algorithms for full bandwidth broadcast, reduction and scan",
/// Parallel Computing 35, 2009; NVIDIA/nccl src/graph/trees.cc). The leader is the first rank, or in the second tree
/// the last.
Tree make_tree(const std::vector<std::vector<RankId>>& nodes, Side side) {
  const bool mirrored = side == Side::kMirrored;
  Tree tree;
  std::vector<std::size_t> leader;
  for (std::size_t i = 0; i < nodes.size(); ++i) {
    std::vector<RankId> chain = nodes[mirrored ? nodes.size() - 1 - i : i];
    if (mirrored) {
      std::reverse(chain.begin(), chain.end());
    }
    leader.push_back(tree.order.size());
    for (std::size_t j = 0; j < chain.size(); ++j) {
      const std::size_t place = tree.order.size();
      tree.parent.push_back(j > 0 ? place - 1 : i > 0 ? leader[(i - 1) / 2] : place);
      tree.order.push_back(chain[j]);
    }
  }
  return tree;
}

/// Up the tree and down again, chunk by chunk, so that all hops run side by side; the way of the last byte has the
/// latency of every hop. Children come after their parents in `order`: up from the end, down from the start.
void add_tree(Exchange& exchange, const Tree& tree, double bytes) {
  const std::size_t count = tree.order.size();
  std::vector<std::vector<std::uint32_t>> arriving(count);  // from below
  for (std::size_t i = count; i-- > 1;) {
    const std::uint32_t up = exchange.add(tree.order[i], tree.order[tree.parent[i]], bytes);
    for (const std::uint32_t below : arriving[i]) {
      exchange.orders.push_back({below, up});
    }
    arriving[tree.parent[i]].push_back(up);
  }
  std::vector<std::uint32_t> down(count);
  for (std::size_t i = 1; i < count; ++i) {
    down[i] = exchange.add(tree.order[tree.parent[i]], tree.order[i], bytes);
    if (tree.parent[i] == 0) {
      for (const std::uint32_t below : arriving[0]) {
        exchange.orders.push_back({below, down[i]});
      }
    } else {
      exchange.orders.push_back({down[tree.parent[i]], down[i]});
    }
  }
}

}  // namespace

CollectivePhases tree_all_reduce(const CollectiveGroups& groups, double bytes) {
  Exchange exchange = collective_exchange(StepOperator::kAllReduce, ProfiledCollective::kAllReduce, groups);
  exchange.local_bytes = bytes;
  for (std::size_t first = 0; first < groups.ranks; first += groups.size) {
    std::vector<std::vector<RankId>> nodes;
    for (std::size_t rank = first; rank < first + groups.size; ++rank) {
      if (nodes.empty() || !groups.cluster->same_scale_up(nodes.back().front(), RankId(rank))) {
        nodes.emplace_back();
      }
      nodes.back().emplace_back(rank);
    }
    const std::size_t channels = channel_count(groups);
    const double share = bytes / static_cast<double>(2 * channels);
    for (std::size_t channel = 0; channel < channels; ++channel) {
      const auto chains = rotated(nodes, channel);
      add_tree(exchange, make_tree(chains, Side::kPlain), share);
      add_tree(exchange, make_tree(chains, Side::kMirrored), share);
    }
  }
  return {std::move(exchange)};
}

}  // namespace moesim
