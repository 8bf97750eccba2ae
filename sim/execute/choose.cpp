#include "sim/execute/choose.hpp"

#include "sim/core/error.hpp"
#include "sim/execute/execute.hpp"

namespace moesim {

std::size_t fastest_of(std::span<const CollectivePhases> candidates, std::size_t ranks, const Cluster& cluster,
                       const CostModel& costs, const CommunicationProfile& communication) {
  ensure(!candidates.empty(), "expected a way that runs everywhere, found none");
  std::size_t best = 0;
  SimTime shortest = SimTime::never();
  for (std::size_t i = 0; i < candidates.size(); ++i) {
    const SimTime time = execute(collective_program(candidates[i], ranks), cluster, costs, communication).end;
    if (time < shortest) {
      best = i;
      shortest = time;
    }
  }
  return best;
}

const CollectiveAlgorithm& fastest_algorithm(Collective collective, const CollectiveGroups& groups, double bytes,
                                             const CostModel& costs, const CommunicationProfile& communication) {
  const CollectiveGroups one{groups.cluster, groups.size, groups.size};
  std::vector<const CollectiveAlgorithm*> algorithms;
  std::vector<CollectivePhases> candidates;
  for (const CollectiveAlgorithm& algorithm : collective_algorithms()) {
    if (algorithm.collective == collective && algorithm.eligible(groups, bytes)) {
      algorithms.push_back(&algorithm);
      candidates.push_back(algorithm.build(one, bytes));
    }
  }
  return *algorithms[fastest_of(candidates, one.ranks, *groups.cluster, costs, communication)];
}

}  // namespace moesim
