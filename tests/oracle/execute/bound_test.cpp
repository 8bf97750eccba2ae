#include <catch2/catch.hpp>

#include "sim/execute/bound_network.hpp"
#include "simple_costs.hpp"

using namespace moesim;
using namespace moesim::test;

namespace {

/// Rank 0 sends 900,000 B to rank 2 at once, rank 1 450,000 B after 1 us: 2 us and 1 us of rank 2's port of 450 GB/s,
/// each 2 us after its Send. Rank 2 waits for the first, computes 5 us, and then waits for the second.
Program two_exchanges() {
  Program program;
  program.stages = 1;
  program.ranks.resize(3);
  for (std::size_t sender = 0; sender < 2; ++sender) {
    Exchange exchange;
    exchange.op = StepOperator::kDispatch;
    exchange.protocol = Protocol::kLowLatency;
    exchange.add(RankId(sender), RankId(2), sender == 0 ? 900'000.0 : 450'000.0);
    program.exchanges.push_back(exchange);
  }
  program.ranks[0] = {Send{0}, Receive{0}, Send{1}, Receive{1}};
  program.ranks[1] = {Send{0}, Receive{0}, busy(program, 1), Send{1}, Receive{1}};
  program.ranks[2] = {Send{0}, Receive{0}, busy(program, 5), Send{1}, Receive{1}};
  return program;
}

}  // namespace

// With sharing: the first flows alone from 2 to 3, with 450,000 B left; then both have half of the port each, and end
// at 5: rank 2 computes until 10. Each by itself, the first takes the port from 2 to 4, and rank 2 computes until 9.
TEST_CASE("bound: what comes later does not hold up what came before, and the distance says what that leaves out") {
  const Program program = two_exchanges();
  const Cluster cluster = h200_nodes(3, 1);
  const Execution flow = execute(program, cluster, CountedMicroseconds(), plain_network());
  CHECK(flow.end == microseconds(10));
  CHECK_FALSE(flow.distance.has_value());

  const Execution bound = execute(program, cluster, CountedMicroseconds(), plain_network(), Fidelity::kBound);
  CHECK(bound.end == microseconds(9));
  REQUIRE(bound.distance.has_value());
  CHECK(bound.distance->first == 0);
  CHECK(bound.distance->last == 0);
  CHECK(bound.distance->longer == Approx(0.1).epsilon(1e-9));
  // The same is sent over the same links.
  CHECK(bound.link_bytes == flow.link_bytes);
  CHECK(bound.bytes_intra_node == 1'350'000.0);
  // Rank 2: nobody is late for the first exchange; its fixed time, 2 us, then 2 us of the port.
  CHECK(spent(bound, 2, TimeCategory::kOverhead) == Approx(2e-6).epsilon(1e-9));
  CHECK(spent(bound, 2, TimeCategory::kExposedDispatch) == Approx(2e-6).epsilon(1e-9));
  CHECK(spent(bound, 2, TimeCategory::kCompute) == Approx(5e-6).epsilon(1e-9));
}

// The same exchanges as a layer, with one before it, as that of embeddings is: the layer is what is measured.
TEST_CASE("bound: what comes before the layers is left out of the distance") {
  Program program = two_exchanges();
  program.stages = 3;
  for (Exchange& exchange : program.exchanges) {
    exchange.stage = 1;
  }
  for (auto& stream : program.ranks) {
    for (Instruction& instruction : stream) {
      if (auto* kernel = std::get_if<RunKernel>(&instruction)) {
        kernel->stage = 1;
      }
    }
    stream.insert(stream.begin(), {Send{2}, Receive{2}});
  }
  Exchange before;
  before.op = StepOperator::kAllReduce;
  before.protocol = Protocol::kLowLatency;
  before.add(RankId(0), RankId(1), 450'000.0);
  program.exchanges.push_back(before);
  const Execution bound = execute(program, h200_nodes(3, 1), CountedMicroseconds(), plain_network(), Fidelity::kBound);
  REQUIRE(bound.distance.has_value());
  CHECK(bound.distance->first == 1);
  CHECK(bound.distance->last == 1);
}

// Resource 0: 100 B/s, resource 1: 10 B/s. At 0 s a launch of 50 B over both and 100 B over the first: the first
// resource is busy until 1.5 s, the second until 5 s. At 2 s 100 B over the first, which was idle: until 3 s.
TEST_CASE("bound: a resource works through its launches in order, and idles in between") {
  BoundNetwork network({100.0, 10.0});
  const std::vector<Use> both{{ResourceId(0)}, {ResourceId(1)}};
  const std::vector<Use> first{{ResourceId(0)}};
  network.start({}, both, 50.0);
  network.start({}, first, 100.0);
  network.start({}, {}, 0.0);
  const auto launched = network.launch({});
  REQUIRE(launched.size() == 3);
  CHECK(launched[0] == round_to_ticks(seconds(5.0)));
  CHECK(launched[1] == round_to_ticks(seconds(1.5)));
  CHECK(launched[2] == SimTime());

  const SimTime later = round_to_ticks(seconds(2.0));
  network.start(later, first, 100.0);
  const auto again = network.launch(later);
  REQUIRE(again.size() == 1);
  CHECK(again[0] == round_to_ticks(seconds(3.0)));
}

TEST_CASE("stages_of: what is left keeps its numbers") {
  Program program = two_exchanges();
  program.stages = 2;
  program.exchanges[1].stage = 1;
  const Program part = stages_of(program, 1, 1);
  CHECK(part.stages == 2);
  REQUIRE(part.exchanges.size() == 2);
  CHECK(part.exchanges[0].transfers.empty());
  CHECK(part.exchanges[1].transfers.size() == 1);
  // Kernels are of stage 0 here.
  for (const auto& stream : part.ranks) {
    REQUIRE(stream.size() == 2);
    CHECK(std::get<Send>(stream[0]).exchange == 1);
    CHECK(std::get<Receive>(stream[1]).exchange == 1);
  }
}
