#include "sim/execute/choose.hpp"

#include "sim/core/error.hpp"
#include "sim/execute/execute.hpp"

namespace moesim {

const CollectiveAlgorithm& fastest_algorithm(Collective collective, const CollectiveGroups& groups, double bytes,
                                             const CostModel& costs, const CommunicationProfile& communication) {
  const CollectiveGroups one{groups.cluster, groups.size, groups.size};
  const CollectiveAlgorithm* best = nullptr;
  SimTime shortest = SimTime::never();
  for (const CollectiveAlgorithm& algorithm : collective_algorithms()) {
    if (algorithm.collective != collective || !algorithm.obstacle(one).empty()) {
      continue;
    }
    const Program program = collective_program(algorithm.build(one, bytes), one.ranks);
    const SimTime time = execute(program, *groups.cluster, costs, communication).end;
    if (time < shortest) {
      best = &algorithm;
      shortest = time;
    }
  }
  ensure(best != nullptr, "a collective without an algorithm that runs everywhere");
  return *best;
}

}  // namespace moesim
