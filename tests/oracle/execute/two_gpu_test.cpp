#include <catch2/catch.hpp>
#include <span>

#include "sim/core/error.hpp"
#include "simple_costs.hpp"

using namespace moesim;
using namespace moesim::test;

// Rank 0 computes 10 us, rank 1 computes 4 us; then they exchange 450,000 B (0 → 1) and 900,000 B (1 → 0), which take
// 1 us and 2 us at 450 GB/s, each 2 us after its Send; then both compute 5 us.
//
//   rank 0: busy 0–10, sends at 10; what rank 1 sent at 4 arrived at 4 + 2 + 2 = 8, so it goes on at 10 and ends at 15.
//   rank 1: busy 0–4, waits for rank 0's data until 10 + 2 + 1 = 13: of that 4–10 because rank 0 had not sent
//           (imbalance), 10–12 for the fixed time (overhead), 12–13 for the link (exposed dispatch); ends at 18. Rank 0
//           waits 15–18 for the end.
TEST_CASE("two GPUs: a late sender costs imbalance, its data exposed dispatch") {
  Program program;
  program.stages = 1;
  program.ranks.resize(2);
  Exchange exchange;
  exchange.op = StepOperator::kDispatch;
  exchange.protocol = Protocol::kLowLatency;
  exchange.add(RankId(0), RankId(1), 450'000.0);
  exchange.add(RankId(1), RankId(0), 900'000.0);
  program.exchanges.push_back(exchange);
  program.ranks[0] = {busy(program, 10), Send{0}, Receive{0}, busy(program, 5)};
  program.ranks[1] = {busy(program, 4), Send{0}, Receive{0}, busy(program, 5)};
  const Execution execution = execute(program, h200_nodes(2, 1), CountedMicroseconds(), plain_network());

  CHECK(execution.end == microseconds(18));
  CHECK(spent(execution, 0, TimeCategory::kCompute) == Approx(15e-6).epsilon(1e-9));
  CHECK(spent(execution, 0, TimeCategory::kImbalanceWait) == Approx(3e-6).epsilon(1e-9));
  CHECK(spent(execution, 0, TimeCategory::kExposedDispatch) == 0.0);
  CHECK(spent(execution, 1, TimeCategory::kCompute) == Approx(9e-6).epsilon(1e-9));
  CHECK(spent(execution, 1, TimeCategory::kImbalanceWait) == Approx(6e-6).epsilon(1e-9));
  CHECK(spent(execution, 1, TimeCategory::kOverhead) == Approx(2e-6).epsilon(1e-9));
  CHECK(spent(execution, 1, TimeCategory::kExposedDispatch) == Approx(1e-6).epsilon(1e-9));
  CHECK(execution.bytes_intra_node == 1'350'000.0);
  CHECK(execution.bytes_inter_node == 0.0);
}

// Two nodes of one GPU: 50 GB/s NICs, 5 us of fixed time. 100,000 B take 2 us, so both go on at 7 us.
TEST_CASE("two GPUs in two nodes use the network's bandwidth and fixed time") {
  Program program;
  program.stages = 1;
  program.ranks.resize(2);
  Exchange exchange;
  exchange.op = StepOperator::kCombine;
  exchange.protocol = Protocol::kHighThroughput;
  exchange.add(RankId(0), RankId(1), 100'000.0);
  exchange.add(RankId(1), RankId(0), 100'000.0);
  program.exchanges.push_back(exchange);
  for (auto& rank : program.ranks) {
    rank = {Send{0}, Receive{0}};
  }
  const Execution execution = execute(program, h200_nodes(1, 2), CountedMicroseconds(), plain_network());
  CHECK(execution.end == microseconds(7));
  CHECK(spent(execution, 0, TimeCategory::kOverhead) == Approx(5e-6).epsilon(1e-9));
  CHECK(spent(execution, 0, TimeCategory::kExposedCombine) == Approx(2e-6).epsilon(1e-9));
  CHECK(execution.bytes_inter_node == 200'000.0);
  CHECK(execution.bytes_intra_node == 0.0);
}

// A notification without payload costs the fixed time: both wait 2 us.
TEST_CASE("an empty exchange costs its fixed time") {
  Program program;
  program.stages = 1;
  program.ranks.resize(2);
  Exchange exchange;
  exchange.protocol = Protocol::kLowLatency;
  exchange.add(RankId(0), RankId(1), 0.0);
  exchange.add(RankId(1), RankId(0), 0.0);
  program.exchanges.push_back(exchange);
  for (auto& rank : program.ranks) {
    rank = {Send{0}, Receive{0}};
  }
  CHECK(execute(program, h200_nodes(2, 1), CountedMicroseconds(), plain_network()).end == microseconds(2));
}

// The relay of a combine may pass results on only when everybody who contributes has sent: rank 1 relays to rank 0 what
// ranks 1 and 2 contribute; rank 2 sends at 20 us, so rank 0 gets it at 20 + 2 + 1 us though rank 1 sent at 0.
TEST_CASE("a transfer waits for all its starters") {
  Program program;
  program.stages = 1;
  program.ranks.resize(3);
  Exchange exchange;
  exchange.op = StepOperator::kCombine;
  exchange.protocol = Protocol::kHighThroughput;
  const std::array<RankId, 2> contributors{RankId(1), RankId(2)};
  exchange.add(RankId(1), RankId(0), 450'000.0, contributors);
  program.exchanges.push_back(exchange);
  program.ranks[0] = {Send{0}, Receive{0}};
  program.ranks[1] = {Send{0}, Receive{0}};
  program.ranks[2] = {busy(program, 20), Send{0}, Receive{0}};
  const Execution execution = execute(program, h200_nodes(3, 1), CountedMicroseconds(), plain_network());
  CHECK(execution.end == microseconds(23));
  CHECK(spent(execution, 0, TimeCategory::kImbalanceWait) == Approx(20e-6).epsilon(1e-9));
  CHECK(spent(execution, 0, TimeCategory::kExposedCombine) == Approx(1e-6).epsilon(1e-9));
}

// Two nodes of two: 1,000,000 B of rank 0's go to rank 3 by way of rank 2. The crossing takes 20 us at 50 GB/s, the hop
// inside the node 2.2 us beside it: rank 3 has its tokens when the crossing is through, 5 us of fixed time later, and
// not before.
TEST_CASE("forwarded tokens do not arrive before they have crossed the network") {
  Program program;
  program.stages = 1;
  program.ranks.assign(4, {Send{0}, Receive{0}});
  Exchange exchange;
  exchange.protocol = Protocol::kHighThroughput;
  const RankId home(0);
  const std::uint32_t crossing = exchange.add(home, RankId(2), 1'000'000.0);
  const std::uint32_t hop = exchange.add(RankId(2), RankId(3), 1'000'000.0, std::span(&home, 1));
  exchange.orders.push_back({crossing, hop});
  program.exchanges.push_back(exchange);
  const Execution execution = execute(program, h200_nodes(2, 2), CountedMicroseconds(), plain_network());
  CHECK(execution.end == microseconds(25));
  CHECK(execution.timeline[3].front().category == TimeCategory::kOverhead);
  CHECK(spent(execution, 3, TimeCategory::kExposedDispatch) == Approx(20e-6).epsilon(1e-9));
}

// Kernels of a protocol that keeps 33 of the 132 SMs: a kernel of 3 us between Send and Receive has three quarters of
// them and takes 4 us; the one after has them all.
TEST_CASE("a protocol's kernels take compute units from those beside them") {
  Program program;
  program.stages = 1;
  program.ranks.resize(2);
  Exchange exchange;
  exchange.protocol = Protocol::kHighThroughput;
  exchange.add(RankId(0), RankId(1), 4'500'000.0);
  exchange.add(RankId(1), RankId(0), 4'500'000.0);
  program.exchanges.push_back(exchange);
  for (auto& rank : program.ranks) {
    rank = {Send{0}, busy(program, 3), Receive{0}, busy(program, 3)};
  }
  CommunicationProfile profile = plain_network();
  profile.high_throughput.compute_units = 33;
  const Execution execution = execute(program, h200_nodes(2, 1), CountedMicroseconds(), profile);
  CHECK(execution.timeline[0].front().end == microseconds(4));
  CHECK(execution.end == microseconds(2 + 10 + 3));
}

TEST_CASE("a program in which a rank waits for what nobody sends is a fault of ours") {
  Program program;
  program.stages = 1;
  program.ranks.resize(2);
  Exchange exchange;
  exchange.add(RankId(0), RankId(1), 1.0);
  program.exchanges.push_back(exchange);
  program.ranks[1] = {Receive{0}};
  CHECK_THROWS_AS(execute(program, h200_nodes(2, 1), CountedMicroseconds(), plain_network()), InternalError);
}
