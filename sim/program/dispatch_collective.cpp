#include <algorithm>
#include <numeric>
#include <utility>

#include "sim/core/quantity.hpp"
#include "sim/program/collective_builders.hpp"
#include "sim/program/dispatch_builders.hpp"

namespace moesim {

namespace {

/// Rings over all ranks in which every rank's tokens pass every hop but the last one of their way round.
Exchange token_ring(StepOperator op, ProfiledCollective profiled, const LayerTraffic& traffic,
                    const DispatchPlan& plan) {
  Exchange exchange = token_exchange(op, traffic, plan);
  exchange.collective = profiled;
  const std::size_t ranks = traffic.ranks;
  const double all = std::accumulate(traffic.home_tokens.begin(), traffic.home_tokens.end(), 0.0);
  for (const RingHop& hop : ring_hops({plan.cluster, ranks, ranks}, 0)) {
    // Gathering, everything but what is the receiver's own; reducing, everything but what is the sender's own.
    const std::uint32_t own = traffic.home_tokens[(op == StepOperator::kDispatch ? hop.to : hop.from).index()];
    const std::uint32_t transfer = exchange.add(hop.from, hop.to, (all - own) * (plan.token_bytes * hop.share));
    exchange.transfers[transfer].steps = static_cast<std::uint32_t>(ranks - 1);
  }
  exchange.local_bytes = all / static_cast<double>(ranks) * plan.token_bytes;
  return exchange;
}

/// The two exchanges of a hierarchical dispatch, and what each rank puts in order between them.
struct TwoHops {
  Exchange inside;
  Exchange across;
  std::vector<Kernel> reorder;
};

/// Copies of `home` for `target` go by way of the rank of home's node that has target's index. `op` kCombine: back.
TwoHops two_hops(StepOperator op, const LayerTraffic& traffic, const DispatchPlan& plan) {
  const std::size_t ranks = traffic.ranks;
  std::vector<double> inside(ranks * ranks, 0.0);  // [home, relay]
  std::vector<double> across(ranks * ranks, 0.0);  // [relay, target]
  for (std::size_t home = 0; home < ranks; ++home) {
    const std::size_t node = plan.cluster->node_of(RankId(home)).index();
    for (std::size_t target = 0; target < ranks; ++target) {
      const double bytes = traffic.copies_between(home, target) * plan.token_bytes;
      const std::size_t relay = relay_in(*plan.cluster, target, node, ranks).index();
      inside[home * ranks + relay] += bytes;
      across[relay * ranks + target] += bytes;
    }
  }
  TwoHops hops{token_exchange(op, traffic, plan), token_exchange(op, traffic, plan), {}};
  const bool back = op == StepOperator::kCombine;
  for (std::size_t a = 0; a < ranks; ++a) {
    double passing = 0.0;
    for (std::size_t b = 0; b < ranks; ++b) {
      const bool same_node = plan.cluster->node_of(RankId(a)) == plan.cluster->node_of(RankId(b));
      const auto [from, to] = back ? std::pair(b, a) : std::pair(a, b);
      passing += across[a * ranks + b];
      if (a != b && same_node) {
        hops.inside.add(RankId(from), RankId(to), inside[a * ranks + b]);
      }
      const bool same_rail = relay_in(*plan.cluster, b, plan.cluster->node_of(RankId(a)).index(), ranks) == RankId(a);
      if (a != b && same_rail) {
        hops.across.add(RankId(from), RankId(to), across[a * ranks + b]);
      }
    }
    hops.reorder.emplace_back(Streaming{.read = bytes(passing), .written = bytes(passing)});
  }
  return hops;
}

}  // namespace

CollectivePhases gathered_dispatch(const LayerTraffic& traffic, const DispatchPlan& plan) {
  return {token_ring(StepOperator::kDispatch, ProfiledCollective::kAllGather, traffic, plan)};
}

CollectivePhases scattered_combine(const LayerTraffic& traffic, const DispatchPlan& plan) {
  return {token_ring(StepOperator::kCombine, ProfiledCollective::kReduceScatter, traffic, plan)};
}

CollectivePhases hierarchical_dispatch(const LayerTraffic& traffic, const DispatchPlan& plan) {
  TwoHops hops = two_hops(StepOperator::kDispatch, traffic, plan);
  return {std::move(hops.inside), std::move(hops.reorder), std::move(hops.across)};
}

CollectivePhases hierarchical_combine(const LayerTraffic& traffic, const DispatchPlan& plan) {
  TwoHops hops = two_hops(StepOperator::kCombine, traffic, plan);
  return {std::move(hops.across), std::move(hops.reorder), std::move(hops.inside)};
}

}  // namespace moesim
