#include <algorithm>
#include <vector>

#include "sim/core/quantity.hpp"
#include "sim/program/collective_builders.hpp"

namespace moesim {

namespace {

/// Place of a rank in a group of whole nodes: rank = first + node · width + column.
struct Grid {
  explicit Grid(const CollectiveGroups& groups)
      : width(std::min(groups.size, groups.cluster->gpus_per_node())), nodes(groups.size / width) {}
  std::size_t width;  ///< ranks of the group in one node
  std::size_t nodes;
  [[nodiscard]] std::size_t column(std::size_t rank) const { return rank % width; }
  [[nodiscard]] std::size_t row_start(std::size_t rank) const { return rank - rank % width; }
};

/// To every other rank of its node (`in_node`), or to those with its column in the group's other nodes (`in_column`).
void to_row(Exchange& exchange, const Grid& grid, std::size_t rank, double bytes) {
  for (std::size_t to = grid.row_start(rank); to < grid.row_start(rank) + grid.width; ++to) {
    if (to != rank) {
      exchange.add(RankId(rank), RankId(to), bytes);
    }
  }
}
void to_column(Exchange& exchange, const Grid& grid, const CollectiveGroups& groups, std::size_t rank, double bytes) {
  const std::size_t first = rank - rank % groups.size;
  for (std::size_t to = first + grid.column(rank); to < first + groups.size; to += grid.width) {
    if (to != rank) {
      exchange.add(RankId(rank), RankId(to), bytes);
    }
  }
}

}  // namespace

// Inside each node everybody gets what is bound for its column, puts it in order by node (the stride copy), and sends
// it along the column: N − 1 large messages over the network in place of N·G − G small ones.
CollectivePhases two_level_all_to_all(const CollectiveGroups& groups, double bytes) {
  const Grid grid(groups);
  const double share = bytes / static_cast<double>(groups.size);
  Exchange inside = collective_exchange(StepOperator::kAllToAll, ProfiledCollective::kAllToAll, groups);
  Exchange across = inside;
  for (std::size_t rank = 0; rank < groups.ranks; ++rank) {
    to_row(inside, grid, rank, share * static_cast<double>(grid.nodes));
    to_column(across, grid, groups, rank, share * static_cast<double>(grid.width));
  }
  const Streaming stride_copy{.read = moesim::bytes(bytes), .written = moesim::bytes(bytes)};
  if (grid.nodes == 1) {
    return {std::move(inside)};
  }
  return {std::move(inside), std::vector<Kernel>(groups.ranks, stride_copy), std::move(across)};
}

// What is bound for another node goes over NVLink to the GPU beside the NIC of the receiver's rail, which passes it on
// as it comes; messages of a node for one receiver travel together.
CollectivePhases rail_all_to_all(const CollectiveGroups& groups, double bytes) {
  const Grid grid(groups);
  const double share = bytes / static_cast<double>(groups.size);
  Exchange exchange = collective_exchange(StepOperator::kAllToAll, ProfiledCollective::kAllToAll, groups);
  exchange.local_bytes = share;
  for (std::size_t to = 0; to < groups.ranks; ++to) {
    const std::size_t first = to - to % groups.size;
    for (std::size_t node = 0; node < grid.nodes; ++node) {
      const std::size_t start = first + node * grid.width;
      if (start == grid.row_start(to)) {
        for (std::size_t from = start; from < start + grid.width; ++from) {
          if (from != to) {
            exchange.add(RankId(from), RankId(to), share);
          }
        }
        continue;
      }
      const RankId relay(start + grid.column(to));
      std::vector<RankId> senders;
      std::vector<std::uint32_t> hops;
      for (std::size_t from = start; from < start + grid.width; ++from) {
        senders.emplace_back(from);
        if (RankId(from) != relay) {
          hops.push_back(exchange.add(RankId(from), relay, share));
        }
      }
      const std::uint32_t crossing = exchange.add(relay, RankId(to), share * static_cast<double>(grid.width), senders);
      for (const std::uint32_t hop : hops) {
        exchange.orders.push_back({hop, crossing});
      }
    }
  }
  return {std::move(exchange)};
}

// Reduce-scatter inside each node, all-reduce of the part along the columns, all-gather inside the node; direct sends
// in each (on NVLink), so that each rank sends S·(G−1)/G twice inside and 2·(S/G)·(N−1)/N across.
CollectivePhases hierarchical_all_reduce(const CollectiveGroups& groups, double bytes) {
  const Grid grid(groups);
  const double inside_share = bytes / static_cast<double>(grid.width);
  const double across_share = inside_share / static_cast<double>(grid.nodes);
  Exchange reduce = collective_exchange(StepOperator::kAllReduce, ProfiledCollective::kReduceScatter, groups);
  reduce.local_bytes = inside_share;
  Exchange across = collective_exchange(StepOperator::kAllReduce, ProfiledCollective::kReduceScatter, groups);
  across.local_bytes = across_share;
  for (std::size_t rank = 0; rank < groups.ranks; ++rank) {
    to_row(reduce, grid, rank, inside_share);
    to_column(across, grid, groups, rank, across_share);
  }
  Exchange gather_across = across;
  gather_across.collective = ProfiledCollective::kAllGather;
  Exchange gather = reduce;
  gather.collective = ProfiledCollective::kAllGather;
  gather_across.start = ExchangeStart::kContinue;  // an all-reduce of its own
  return {std::move(reduce), std::move(across), std::move(gather_across), std::move(gather)};
}

}  // namespace moesim
