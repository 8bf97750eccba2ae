#pragma once

#include <catch2/catch.hpp>

#include "sim/program/collective.hpp"
#include "simple_costs.hpp"

/// Collectives run one at a time, to be held against closed forms.
namespace moesim::test {

/// Links at their nominal bandwidth, steps that cost their path's latency and 1 us more inside a node, no fixed time.
inline CommunicationProfile stepwise() {
  CommunicationProfile profile = plain_network();
  for (auto& [kind, variants] : profile.collective) {
    variants = {{"plain", {.step = seconds(1e-6)}}};
  }
  return profile;
}
inline Execution run(const Cluster& cluster, CollectivePhases phases, std::size_t ranks) {
  return execute(collective_program(std::move(phases), ranks), cluster, CountedMicroseconds(), stepwise());
}

inline Execution run(const Cluster& cluster, Collective collective, const char* name, std::size_t ranks, double size) {
  const CollectiveAlgorithm* algorithm = find_algorithm(collective, name);
  REQUIRE(algorithm != nullptr);
  return run(cluster, algorithm->build({&cluster, ranks, ranks}, size), ranks);
}

inline double time_of(const Execution& execution) { return execution.end.duration().base(); }

/// Completions are rounded up to a picosecond, step by step.
inline Approx within_ticks(double expected, double ticks) { return Approx(expected).epsilon(0).margin(ticks * 1e-12); }

}  // namespace moesim::test
