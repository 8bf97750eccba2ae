#include "sim/execute/all_to_all.hpp"

#include <algorithm>
#include <catch2/catch.hpp>
#include <numeric>

#include "sim/core/quantity.hpp"
#include "sim/core/random.hpp"
#include "simple_costs.hpp"

using namespace moesim;
using namespace moesim::test;

namespace {

PairBytes pair(std::size_t from, std::size_t to, double bytes) { return {RankId(from), RankId(to), bytes}; }

SimTime finish_of(const AllToAllResult& result, std::size_t from, std::size_t to) {
  for (const FlowFinish& flow : result.flows) {
    if (flow.pair.from == RankId(from) && flow.pair.to == RankId(to)) {
      return flow.finish;
    }
  }
  FAIL("no such flow");
  return {};
}

/// Zipf-like random traffic: every pair of `ranks` different ranks, some of them silent.
TrafficMatrix random_traffic(std::size_t ranks, std::uint64_t index) {
  RandomStream random(7, "all-to-all test", index);
  std::vector<PairBytes> pairs;
  for (std::size_t from = 0; from < ranks; ++from) {
    for (std::size_t to = 0; to < ranks; ++to) {
      if (random.uniform() < 0.8) {
        pairs.push_back(pair(from, to, 1e6 / (1.0 + 20.0 * random.uniform())));
      }
    }
  }
  return {ranks, pairs};
}

}  // namespace

// One node, 450 GB/s each way, 3.33 us from GPU to GPU. GPU 0 sends 450 kB to 1 and 900 kB to 2: both share its port at
// 225 GB/s until the first is through, 2 us after they began to flow; the other has 450 kB left, at 450 GB/s for 1 us.
// What rank 3 keeps costs nothing.
TEST_CASE("all-to-all: transfers share a port, after the latency of their routes") {
  const Cluster cluster = h200_nodes(8, 1, Paths::kWithLatency);
  const TrafficMatrix traffic(4, {pair(0, 1, 450e3), pair(0, 2, 900e3), pair(3, 3, 5e3)});
  const AllToAllResult result = all_to_all(cluster, traffic, {});
  const SimTime latency = round_to_ticks(seconds(3.33e-6));
  CHECK(finish_of(result, 0, 1) == latency + microseconds(2));
  CHECK(finish_of(result, 0, 2) == latency + microseconds(3));
  CHECK(result.completion == latency + microseconds(3));
  CHECK(result.bound == latency + microseconds(3));
  REQUIRE(result.bound_link.has_value());
  CHECK(cluster.link_name(*result.bound_link) == "node0/gpu0 → node0/nvswitch");
  CHECK(result.transfers == 2);
  CHECK(result.bytes_local == 5e3);
  CHECK(result.bytes_intra_node == 1350e3);
  CHECK(result.bytes_inter_node == 0.0);
}

// Ports of 450 GB/s; sizes in units of 450 kB, one of which takes 1 us alone. 0 → 2 has 1, 1 → 2 has 1, 1 → 3 has 1 and
// 4 → 3 has 3. Each port carries at most 4 units (into 3), so the bound is 4 us after the latency. Max-min: all share
// in halves; after 2 us the first three are through, and 4 → 3 has 2 left for itself: done after 4 us. With 0 → 2, 0 →
// 3 and 1 → 3 of 2, 1 and 2 units instead: halves until 0 → 3 is through at 2 us; then 0 → 2 and 1 → 3 have 1 left
// each: 3 us, and the bound is 3 units on port 0 and into 3.
TEST_CASE("all-to-all: chains of shared ports") {
  const Cluster cluster = h200_nodes(8, 1, Paths::kWithLatency);
  const SimTime latency = round_to_ticks(seconds(3.33e-6));
  const double unit = 450e3;
  const AllToAllResult first =
      all_to_all(cluster, {5, {pair(0, 2, unit), pair(1, 2, unit), pair(1, 3, unit), pair(4, 3, 3 * unit)}}, {});
  CHECK(finish_of(first, 0, 2) == latency + microseconds(2));
  CHECK(finish_of(first, 1, 3) == latency + microseconds(2));
  CHECK(finish_of(first, 4, 3) == latency + microseconds(4));
  CHECK(first.bound == latency + microseconds(4));
  const AllToAllResult second =
      all_to_all(cluster, {5, {pair(0, 2, 2 * unit), pair(0, 3, unit), pair(1, 3, 2 * unit)}}, {});
  CHECK(finish_of(second, 0, 3) == latency + microseconds(2));
  CHECK(finish_of(second, 0, 2) == latency + microseconds(3));
  CHECK(finish_of(second, 1, 3) == latency + microseconds(3));
  CHECK(second.bound == latency + microseconds(3));
}

TEST_CASE("all-to-all: the bound is never beaten, and each port carries what was sent over it") {
  const Cluster cluster = h200_nodes(8, 2, Paths::kWithLatency);
  for (std::uint64_t index = 0; index < 20; ++index) {
    const TrafficMatrix traffic = random_traffic(16, index);
    const AllToAllResult flow = all_to_all(cluster, traffic, {});
    AllToAllOptions quick;
    quick.fidelity = Fidelity::kBound;
    const AllToAllResult bound = all_to_all(cluster, traffic, quick);
    CHECK(bound.completion == flow.bound);
    CHECK(flow.completion >= flow.bound);
    CHECK(flow.completion.duration() <= flow.bound.duration() * 3.0);  // a port shares with less than three others
    CHECK(bound.link_bytes == flow.link_bytes);
    // Every byte leaves its GPU over one link, to the switch or to the NIC.
    double out = 0.0;
    for (std::size_t link = 0; link < cluster.links().size(); ++link) {
      if (cluster.vertex(cluster.links()[link].from).kind == VertexKind::kGpu) {
        out += flow.link_bytes[link];
      }
    }
    CHECK(out == Approx(flow.bytes_intra_node + flow.bytes_inter_node).epsilon(1e-12));
  }
}

TEST_CASE("all-to-all: samples of a link's use add up to its bytes") {
  const Cluster cluster = h200_nodes(8, 2, Paths::kWithLatency);
  AllToAllOptions options;
  options.slots = 10;
  const AllToAllResult result = all_to_all(cluster, random_traffic(16, 99), options);
  REQUIRE(result.use_over_time.size() >= 10);
  for (std::size_t link = 0; link < cluster.links().size(); ++link) {
    double carried = 0.0;
    SimTime begin;
    for (const auto& slot : result.use_over_time) {
      const SimTime end = std::min(begin + result.slot, result.completion);
      CHECK(slot[link] <= 1.0 + 1e-9);
      carried += slot[link] * (end - begin).duration().base() * cluster.links()[link].capacity.base();
      begin = end;
    }
    CHECK(carried == Approx(result.link_bytes[link]).epsilon(1e-9).margin(1e-3));
  }
}

// 64 MB a rank over 16 ranks: 4 MB to each. Into a NIC come 8 × 4 MB at 50 GB/s: 640 us, the busiest part.
TEST_CASE("all-to-all: uniform traffic takes what its busiest port takes") {
  const Cluster cluster = h200_nodes(8, 2, Paths::kWithLatency);
  for (const auto symmetry : {AllToAllOptions::Symmetry::kUse, AllToAllOptions::Symmetry::kIgnore}) {
    AllToAllOptions options;
    options.symmetry = symmetry;
    const AllToAllResult result = all_to_all(cluster, TrafficMatrix::uniform(16, bytes(64e6)), options);
    CHECK(result.completion == result.bound);
    CHECK(result.completion.duration().base() == Approx(640e-6 + 2.8e-6).epsilon(1e-9));
    CHECK(result.bytes_local == Approx(64e6));
    CHECK(result.bytes_intra_node == Approx(16 * 7 * 4e6));
    CHECK(result.bytes_inter_node == Approx(16 * 8 * 4e6));
    CHECK(result.transfers == 240);
  }
}
