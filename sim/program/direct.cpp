#include "sim/program/collective_builders.hpp"

namespace moesim {

namespace {

/// Every rank sends `bytes` to every other of its group.
Exchange everybody_to_everybody(StepOperator op, ProfiledCollective profiled, const CollectiveGroups& groups,
                                double bytes) {
  Exchange exchange = collective_exchange(op, profiled, groups);
  exchange.transfers.reserve(groups.ranks * (groups.size - 1));
  for (std::size_t from = 0; from < groups.ranks; ++from) {
    const std::size_t first = from - from % groups.size;
    for (std::size_t to = first; to < first + groups.size; ++to) {
      if (to != from) {
        exchange.add(RankId(from), RankId(to), bytes);
      }
    }
  }
  return exchange;
}

double part(const CollectiveGroups& groups, double bytes) { return bytes / static_cast<double>(groups.size); }

}  // namespace

// Each rank has everybody's S and sums them itself.
CollectivePhases one_shot_all_reduce(const CollectiveGroups& groups, double bytes) {
  return {everybody_to_everybody(StepOperator::kAllReduce, ProfiledCollective::kOneShotAllReduce, groups, bytes)};
}

// Each rank sums one part of S, then hands it to all.
CollectivePhases two_shot_all_reduce(const CollectiveGroups& groups, double bytes) {
  const auto profiled = ProfiledCollective::kTwoShotAllReduce;
  Exchange reduce = everybody_to_everybody(StepOperator::kAllReduce, profiled, groups, part(groups, bytes));
  reduce.port_bytes = 2.0 * part(groups, bytes) * static_cast<double>(groups.size - 1);
  Exchange gather = reduce;
  gather.start = ExchangeStart::kContinue;
  return {std::move(reduce), std::move(gather)};
}

/// A GPU reads S/n of the sum from the switch, which collects it from all n, and writes S/n back, which the switch
/// hands to all: S + S/n up and S + S/n down every GPU's port. In the graph of links, what goes up one rank's port and
/// down the next one's stands for it. (NVLink SHARP: NVIDIA/nccl src/device/all_reduce.h, RunWorkColl NVLS.)
CollectivePhases in_switch_all_reduce(const CollectiveGroups& groups, double bytes) {
  Exchange exchange = collective_exchange(StepOperator::kAllReduce, ProfiledCollective::kInSwitchAllReduce, groups);
  for (std::size_t rank = 0; rank < groups.ranks; ++rank) {
    const std::size_t first = rank - rank % groups.size;
    const std::size_t next = first + (rank - first + 1) % groups.size;
    exchange.add(RankId(rank), RankId(next), bytes + part(groups, bytes));
  }
  return {std::move(exchange)};
}

CollectivePhases pairwise_all_to_all(const CollectiveGroups& groups, double bytes) {
  Exchange exchange =
      everybody_to_everybody(StepOperator::kAllToAll, ProfiledCollective::kAllToAll, groups, part(groups, bytes));
  exchange.local_bytes = part(groups, bytes);
  return {std::move(exchange)};
}

}  // namespace moesim
