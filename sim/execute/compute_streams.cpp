#include "sim/execute/compute_streams.hpp"

#include <algorithm>

#include "sim/execute/kernel_time.hpp"

namespace moesim {

namespace {

SpeedBeside speed_of(const HeldShare& held, const KernelNeeds& needs) {
  return speed_beside(held, needs.units, needs.memory_rate);
}

}  // namespace

KernelNeeds needs_of(const KernelCost& cost, double repeat, double bandwidth, const ContentionTerms& contention) {
  const double alone = cost.time.base();
  return {.seconds = alone * repeat,
          .units = needed_units(cost.bound, contention),
          .memory_rate = bandwidth / (cost.demand.traffic.base() / alone)};
}

SimTime ComputeStreams::end_of(Rank& rank, SimTime now) {
  const SpeedBeside speed = speed_of(rank.held, rank.needs);
  rank.rate = speed.least();
  rank.since = now;
  return now + time_of_kernel(rank.needs.seconds, {.compute = speed.units, .memory = speed.memory});
}

SimTime ComputeStreams::start(RankId id, SimTime now, const KernelNeeds& needs) {
  Rank& rank = ranks_[id.index()];
  rank.running = true;
  rank.needs = needs;
  return end_of(rank, now);
}

std::optional<SimTime> ComputeStreams::hold(RankId id, SimTime now, const HeldShare& change) {
  Rank& rank = ranks_[id.index()];
  rank.held.units = std::max(0.0, rank.held.units + change.units);
  rank.held.memory = std::max(0.0, rank.held.memory + change.memory);
  if (!rank.running || speed_of(rank.held, rank.needs).least() == rank.rate) {
    return std::nullopt;
  }
  rank.needs.seconds = std::max(0.0, rank.needs.seconds - (now - rank.since).duration().base() * rank.rate);
  return end_of(rank, now);
}

}  // namespace moesim
