#include <span>
#include <vector>

#include "sim/program/collective_builders.hpp"

namespace moesim {

namespace {

std::size_t next_in_group(std::size_t rank, std::size_t size) {
  const std::size_t first = rank - rank % size;
  return first + (rank - first + 1) % size;
}

/// Steps of a ring of n ranks, and the share of S that each part is (Patarasuk, Yuan: "Bandwidth optimal all-reduce
/// algorithms for clusters of workstations", JPDC 69, 2009): n − 1 steps of S/n, twice as many to reduce and gather.
std::uint32_t ring_steps(StepOperator op, std::size_t size) {
  const auto once = static_cast<std::uint32_t>(size - 1);
  return op == StepOperator::kAllReduce ? 2 * once : once;
}

/// What each rank copies or reduces of its own besides what it sends: its part, of an all-reduce everything.
double local_share(StepOperator op, std::size_t size) {
  return op == StepOperator::kAllReduce ? 1.0 : 1.0 / static_cast<double>(size);
}

/// Whose Send a transfer waits for. Data of every rank passes every hop, so that a late one holds up all; in rings so
/// large that a table of pairs would not fit, only those of the hop.
constexpr std::size_t kLargeRing = 256;

std::span<const RankId> starters_of(const std::vector<RankId>& order, std::size_t place, RingDetail detail) {
  const bool own = order.size() > kLargeRing || detail == RingDetail::kEveryStep;
  return own ? std::span(order).subspan(place, 1) : std::span(order);
}

}  // namespace

std::size_t channel_count(const CollectiveGroups& groups) {
  const std::size_t width = groups.cluster->gpus_per_node();
  return groups.size > width && groups.size % width == 0 ? width : 1;
}

std::vector<RankId> ring_order(const CollectiveGroups& groups, std::size_t first, std::size_t channel) {
  const std::size_t channels = channel_count(groups);
  const std::size_t width = channels > 1 ? channels : groups.size;
  std::vector<RankId> order;
  for (std::size_t place = 0; place < groups.size; ++place) {
    const std::size_t node = place / width;
    const std::size_t step = place % width;
    const std::size_t column = node % 2 == 0 ? channel + step : channel + width - 1 - step;
    order.emplace_back(first + node * width + column % width);
  }
  return order;
}

CollectivePhases ring(StepOperator op, ProfiledCollective profiled, const CollectiveGroups& groups, double bytes,
                      RingDetail detail) {
  const std::uint32_t steps = ring_steps(op, groups.size);
  const std::size_t channels = channel_count(groups);
  const double part = bytes / static_cast<double>(groups.size * channels);
  const std::uint32_t phases = detail == RingDetail::kFolded ? 1 : steps;
  const std::uint32_t steps_in_phase = steps / phases;
  Exchange exchange = collective_exchange(op, profiled, groups);
  exchange.local_bytes = bytes * local_share(op, groups.size);
  exchange.port_bytes = part * steps * static_cast<double>(channels);
  for (std::size_t first = 0; first < groups.ranks; first += groups.size) {
    for (std::size_t channel = 0; channel < channels; ++channel) {
      const std::vector<RankId> order = ring_order(groups, first, channel);
      for (std::size_t place = 0; place < order.size(); ++place) {
        const std::uint32_t transfer = exchange.add(order[place], order[(place + 1) % order.size()],
                                                    part * steps_in_phase, starters_of(order, place, detail));
        exchange.transfers[transfer].steps = steps_in_phase;
      }
    }
  }
  CollectivePhases result(phases, exchange);
  for (std::uint32_t phase = 1; phase < phases; ++phase) {
    auto& later = std::get<Exchange>(result[phase]);
    later.start = ExchangeStart::kContinue;
    later.local_bytes = 0.0;
  }
  return result;
}

CollectivePhases ring_all_reduce(const CollectiveGroups& groups, double bytes) {
  return ring(StepOperator::kAllReduce, ProfiledCollective::kAllReduce, groups, bytes, RingDetail::kFolded);
}
CollectivePhases ring_all_gather(const CollectiveGroups& groups, double bytes) {
  return ring(StepOperator::kAllGather, ProfiledCollective::kAllGather, groups, bytes, RingDetail::kFolded);
}
CollectivePhases ring_reduce_scatter(const CollectiveGroups& groups, double bytes) {
  return ring(StepOperator::kReduceScatter, ProfiledCollective::kReduceScatter, groups, bytes, RingDetail::kFolded);
}

// Chunks travel down the chain from the first rank of each group, so that all hops run side by side.
CollectivePhases ring_broadcast(const CollectiveGroups& groups, double bytes) {
  Exchange exchange = collective_exchange(StepOperator::kBroadcast, ProfiledCollective::kAllGather, groups);
  for (std::size_t first = 0; first < groups.ranks; first += groups.size) {
    const RankId root(first);
    for (std::size_t rank = first; rank + 1 < first + groups.size; ++rank) {
      const std::uint32_t hop = exchange.add(RankId(rank), RankId(rank + 1), bytes, std::span(&root, 1));
      if (rank > first) {
        exchange.orders.push_back({hop - 1, hop});
      }
    }
  }
  return {std::move(exchange)};
}

// As nccl-tests' sendrecv: every rank sends to the next and receives from the one before.
CollectivePhases ring_send_recv(const CollectiveGroups& groups, double bytes) {
  Exchange exchange = collective_exchange(StepOperator::kSendRecv, ProfiledCollective::kPointToPoint, groups);
  for (std::size_t rank = 0; rank < groups.ranks; ++rank) {
    exchange.add(RankId(rank), RankId(next_in_group(rank, groups.size)), bytes);
  }
  return {std::move(exchange)};
}

}  // namespace moesim
