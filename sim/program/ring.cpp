#include <algorithm>
#include <span>
#include <utility>
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

/// Data of every rank passes every hop, so that a late one holds up all; in rings so large that a table of pairs would
/// not fit, only the sender of the hop does.
constexpr std::size_t kLargeRing = 256;

bool is_mesh(const CollectiveGroups& groups) {
  const ClusterConfig& config = groups.cluster->config();
  return !config.graph && config.scale_up.kind == ScaleUpKind::kMesh;
}

/// Whether the group that starts at `first` has rings of its own over all its links.
bool rings_fill_mesh(const CollectiveGroups& groups, std::size_t first) {
  return groups.stride == 1 && is_mesh(groups) &&
         groups.cluster->same_scale_up(RankId(first), RankId(first + groups.size - 1));
}

/// The way of a channel's ring through a node of `width` GPUs, by step: c, c + 1, … on a switch. On a mesh zigzag, c,
/// c + 1, c − 1, c + 2, …, so that for an even width the ways of all channels take each link once and in one direction
/// once (Williams 1949; ROCm/rccl src/graph/rome_models.cc has eight such ways for the MI300X).
std::size_t column_of(std::size_t channel, std::size_t step, std::size_t width, bool mesh) {
  if (!mesh) {
    return (channel + step) % width;
  }
  const std::size_t half = (step + 1) / 2;
  return (step % 2 == 1 ? channel + half : channel + width - half) % width;
}

/// The ranks of the group that starts at `first` in the order of a channel's ring. From node to node the ring stays on
/// one rail: it passes even nodes from the channel's GPU on, odd ones the other way back to it.
std::vector<RankId> ring_order(const CollectiveGroups& groups, std::size_t first, std::size_t channel) {
  const std::size_t channels = channel_count(groups);
  const std::size_t width = channels > 1 ? channels : groups.size;
  const bool mesh = channels > 1 && is_mesh(groups);
  std::vector<RankId> order;
  for (std::size_t place = 0; place < groups.size; ++place) {
    const std::size_t node = place / width;
    const std::size_t step = node % 2 == 0 ? place % width : width - 1 - place % width;
    order.emplace_back(first + groups.stride * (node * width + column_of(channel, step, width, mesh)));
  }
  return order;
}

/// Of each group.
std::vector<std::size_t> first_ranks(const CollectiveGroups& groups) {
  std::vector<std::size_t> first;
  for (std::size_t block = 0; block < groups.ranks; block += groups.size * groups.stride) {
    for (std::size_t offset = 0; offset < groups.stride; ++offset) {
      first.push_back(block + offset);
    }
  }
  return first;
}

}  // namespace

std::size_t channel_count(const CollectiveGroups& groups) {
  const std::size_t width = std::max<std::size_t>(1, groups.cluster->gpus_per_node() / groups.stride);
  return groups.size > width && groups.size % width == 0 ? width : 1;
}

/// A mesh of n GPUs has n − 1 rings without a link in common (Tillson 1980; not of 4 and 6 GPUs, where as many rings as
/// there are orders load all links alike), so that each link carries a share of 1/(n−1).
std::vector<RingHop> ring_hops(const CollectiveGroups& groups, std::size_t first) {
  std::vector<RingHop> hops;
  if (rings_fill_mesh(groups, first)) {
    for (std::size_t from = first; from < first + groups.size; ++from) {
      for (std::size_t step = 1; step < groups.size; ++step) {
        const std::size_t to = first + (from - first + step) % groups.size;
        hops.push_back({RankId(from), RankId(to), 1.0 / static_cast<double>(groups.size - 1)});
      }
    }
    return hops;
  }
  const std::size_t channels = channel_count(groups);
  for (std::size_t channel = 0; channel < channels; ++channel) {
    const std::vector<RankId> order = ring_order(groups, first, channel);
    for (std::size_t place = 0; place < order.size(); ++place) {
      hops.push_back({order[place], order[(place + 1) % order.size()], 1.0 / static_cast<double>(channels)});
    }
  }
  return hops;
}

CollectivePhases ring(StepOperator op, ProfiledCollective profiled, const CollectiveGroups& groups, double bytes,
                      RingDetail detail) {
  const std::uint32_t steps = ring_steps(op, groups.size);
  const double part = bytes / static_cast<double>(groups.size);
  const std::uint32_t phases = detail == RingDetail::kFolded ? 1 : steps;
  const std::uint32_t steps_in_phase = steps / phases;
  Exchange exchange = collective_exchange(op, profiled, groups);
  exchange.local_bytes = bytes * local_share(op, groups.size);
  exchange.port_bytes = part * steps;
  for (const std::size_t first : first_ranks(groups)) {
    std::vector<RankId> everybody;
    for (std::size_t i = 0; i < groups.size; ++i) {
      everybody.emplace_back(first + i * groups.stride);
    }
    const bool sender_only = groups.size > kLargeRing || detail == RingDetail::kEveryStep;
    for (const RingHop& hop : ring_hops(groups, first)) {
      const std::span starters = sender_only ? std::span(&hop.from, 1) : std::span(std::as_const(everybody));
      const std::uint32_t transfer = exchange.add(hop.from, hop.to, part * hop.share * steps_in_phase, starters);
      exchange.transfers[transfer].steps = steps_in_phase;
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

// Chunks travel from the first rank of each group round the rings, so that all hops run side by side. Which rings a
// mesh has is not told: there each hop has the latency of a whole way round.
CollectivePhases ring_broadcast(const CollectiveGroups& groups, double bytes) {
  Exchange exchange = collective_exchange(StepOperator::kBroadcast, ProfiledCollective::kAllGather, groups);
  for (std::size_t first = 0; first < groups.ranks; first += groups.size) {
    const RankId root(first);
    const std::vector<RingHop> hops = ring_hops(groups, first);
    if (rings_fill_mesh(groups, first)) {
      for (const RingHop& hop : hops) {
        if (hop.to != root) {
          const std::uint32_t transfer = exchange.add(hop.from, hop.to, bytes * hop.share, std::span(&root, 1));
          exchange.transfers[transfer].steps = static_cast<std::uint32_t>(groups.size - 1);
        }
      }
      continue;
    }
    for (auto ring = hops.begin(); ring != hops.end(); ring += static_cast<std::ptrdiff_t>(groups.size)) {
      std::vector<RingHop> chain(ring, ring + static_cast<std::ptrdiff_t>(groups.size));
      std::rotate(chain.begin(),
                  std::find_if(chain.begin(), chain.end(), [&](const RingHop& hop) { return hop.from == root; }),
                  chain.end());
      chain.pop_back();  // back into the root
      for (std::size_t place = 0; place < chain.size(); ++place) {
        const RingHop& hop = chain[place];
        const std::uint32_t transfer = exchange.add(hop.from, hop.to, bytes * hop.share, std::span(&root, 1));
        if (place > 0) {
          exchange.orders.push_back({transfer - 1, transfer});
        }
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
