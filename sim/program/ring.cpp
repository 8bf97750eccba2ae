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

std::vector<RankId> starters_of(std::size_t rank, std::size_t size, RingDetail detail) {
  if (size > kLargeRing || detail == RingDetail::kEveryStep) {
    return {RankId(rank)};
  }
  std::vector<RankId> members;
  for (std::size_t member = rank - rank % size; members.size() < size; ++member) {
    members.emplace_back(member);
  }
  return members;
}

}  // namespace

CollectivePhases ring(StepOperator op, ProfiledCollective profiled, const CollectiveGroups& groups, double bytes,
                      RingDetail detail) {
  const std::uint32_t steps = ring_steps(op, groups.size);
  const double part = bytes / static_cast<double>(groups.size);
  const std::uint32_t phases = detail == RingDetail::kFolded ? 1 : steps;
  const std::uint32_t steps_in_phase = steps / phases;
  CollectivePhases result;
  for (std::uint32_t phase = 0; phase < phases; ++phase) {
    Exchange exchange = collective_exchange(op, profiled, groups);
    exchange.start = phase == 0 ? ExchangeStart::kLaunch : ExchangeStart::kContinue;
    exchange.local_bytes = phase == 0 ? bytes * local_share(op, groups.size) : 0.0;
    for (std::size_t rank = 0; rank < groups.ranks; ++rank) {
      const std::uint32_t transfer = exchange.add(RankId(rank), RankId(next_in_group(rank, groups.size)),
                                                  part * steps_in_phase, starters_of(rank, groups.size, detail));
      exchange.transfers[transfer].steps = steps_in_phase;
    }
    result.emplace_back(std::move(exchange));
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
