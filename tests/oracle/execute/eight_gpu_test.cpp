#include <catch2/catch.hpp>
#include <numeric>

#include "sim/core/quantity.hpp"
#include "sim/core/random.hpp"
#include "sim/scenario/metrics.hpp"
#include "simple_costs.hpp"

using namespace moesim;
using namespace moesim::test;

namespace {

constexpr std::size_t kRanks = 8;

/// One dispatch of bytes[from][to] in which everybody sends at once.
Execution all_to_all(const Cluster& cluster, const std::vector<std::vector<double>>& bytes) {
  Program program;
  program.stages = 1;
  program.ranks.assign(bytes.size(), {Send{0}, Receive{0}});
  Exchange exchange;
  exchange.protocol = Protocol::kLowLatency;
  for (std::size_t from = 0; from < bytes.size(); ++from) {
    for (std::size_t to = 0; to < bytes.size(); ++to) {
      if (from != to) {
        exchange.add(RankId(from), RankId(to), bytes[from][to]);
      }
    }
  }
  program.exchanges.push_back(exchange);
  return execute(program, cluster, CountedMicroseconds(), plain_network());
}

}  // namespace

// 45,000 B for each of 7 others leave every GPU at 450 GB/s: 0.7 us after the fixed 2 us.
TEST_CASE("eight GPUs, uniform: the ports set the pace") {
  const Execution execution = all_to_all(h200_nodes(8, 1), std::vector(kRanks, std::vector(kRanks, 45'000.0)));
  CHECK(execution.end == microseconds(2.7));
  CHECK(execution.bytes_intra_node == 56 * 45'000.0);
}

// Everybody sends rank 0 twice as much: into its port go 7·90,000 B, which take 1.4 us. The other flows get what is
// left: each sender has 7 flows, of which the one to rank 0 is held to a seventh of 450 GB/s by rank 0's port, and the
// other six share six sevenths of its own port, a seventh each, so they take 45,000·7/450e9 s = 0.7 us.
TEST_CASE("eight GPUs, one hot receiver: it finishes last and alone") {
  std::vector bytes(kRanks, std::vector(kRanks, 45'000.0));
  for (auto& row : bytes) {
    row[0] = 90'000.0;
  }
  const Execution execution = all_to_all(h200_nodes(8, 1), bytes);
  CHECK(execution.end == microseconds(3.4));
  for (std::size_t rank = 1; rank < kRanks; ++rank) {
    REQUIRE(execution.timeline[rank].size() == 3);  // fixed time, flow, wait for the last
    CHECK(execution.timeline[rank][1].end == microseconds(2.7));
    CHECK(spent(execution, rank, TimeCategory::kImbalanceWait) == Approx(0.7e-6).epsilon(1e-9));
  }
}

// Two nodes of four: a pair across the network shares its NIC (50 GB/s) with the sender's three other pairs across:
// 4 · 50,000 B / 50 GB/s = 4 us after 5 us; inside the node 3 · 50,000 B / 450 GB/s is done long before.
TEST_CASE("eight GPUs in two nodes: the NICs set the pace") {
  const Execution execution = all_to_all(h200_nodes(4, 2), std::vector(kRanks, std::vector(kRanks, 50'000.0)));
  CHECK(execution.end == microseconds(9));
  CHECK(execution.bytes_inter_node == 8 * 4 * 50'000.0);
  CHECK(execution.bytes_intra_node == 8 * 3 * 50'000.0);
}

TEST_CASE("random programs: time is attributed to the tick, bytes arrive, links carry what was sent") {
  for (std::uint64_t seed = 0; seed < 40; ++seed) {
    RandomStream random(seed, "execute");
    const std::size_t nodes = 1 + random.below(3);
    const std::size_t per_node = 1 + random.below(4);
    const std::size_t ranks = nodes * per_node;
    const Cluster cluster = h200_nodes(per_node, nodes);
    Program program;
    program.stages = 4;
    program.ranks.resize(ranks);
    double payload = 0.0;
    for (std::uint32_t round = 0; round < 4; ++round) {
      Exchange exchange;
      exchange.op = round % 2 == 0 ? StepOperator::kDispatch : StepOperator::kCombine;
      exchange.protocol = Protocol::kLowLatency;
      exchange.stage = round;
      for (std::size_t from = 0; from < ranks; ++from) {
        for (std::size_t to = 0; to < ranks; ++to) {
          if (from != to) {
            const double size = static_cast<double>(random.below(3)) * static_cast<double>(random.below(1'000'000));
            payload += size;
            exchange.add(RankId(from), RankId(to), size);
          }
        }
      }
      program.exchanges.push_back(exchange);
      for (auto& rank : program.ranks) {
        const auto work = static_cast<std::int64_t>(random.below(50));
        rank.insert(rank.end(), {busy(program, work), Send{round}, Receive{round}});
      }
    }
    const Execution execution = execute(program, cluster, CountedMicroseconds(), plain_network());
    CHECK(execution.bytes_intra_node + execution.bytes_inter_node == payload);
    const auto parts = attribution(execution);
    SimTime sum;
    for (const SimTime part : parts) {
      sum += part;
    }
    CHECK(sum == execution.end);
    for (const auto& timeline : execution.timeline) {
      SimTime at;
      for (const Segment& segment : timeline) {
        CHECK(segment.begin == at);
        CHECK(segment.end > segment.begin);
        at = segment.end;
      }
      CHECK(at == execution.end);
    }
    // Over any link no more than its capacity allows in the time.
    for (std::size_t link = 0; link < cluster.links().size(); ++link) {
      CHECK(execution.link_bytes[link] <=
            cluster.links()[link].capacity.base() * execution.end.duration().base() * (1 + 1e-9));
    }
  }
}
