#include "sim/program/micro_batch.hpp"

#include <catch2/catch.hpp>
#include <string>
#include <variant>

#include "sim/program/step.hpp"
#include "three_layers.hpp"

using namespace moesim;
using namespace moesim::test;

namespace {

struct Fixture {
  Model model = three_layers();
  Cluster cluster = two_nodes();
  Placement placement;
  StepRouting routing;

  StepPlan plan(const BatchShape& batch, int micro_batches, DispatchProtocol protocol, int tensor_parallel = 1) {
    const auto groups = static_cast<std::int64_t>(kRanks) / tensor_parallel;
    placement = place_experts({}, {.layers = 2, .experts = 64, .ranks = kRanks}, {});
    routing = random_routing(static_cast<std::size_t>(batch.tokens() * groups));
    StepPlan made;
    made.model = &model;
    made.cluster = &cluster;
    made.placement = &placement;
    made.routing = &routing;
    made.ranks = kRanks;
    made.tensor_parallel = tensor_parallel;
    made.batch = batch;
    made.dispatch = protocol;
    made.micro_batches = micro_batches;
    return made;
  }
};

/// What rank 0 does: projections (in decode the absorbed ones too, after the attention), attention, experts, shared
/// experts, and of each exchange its Send and Receive by number. Kernels of one kind in a row count once; others are
/// left out.
std::string story(const StepProgram& built) {
  std::string text;
  std::string last;
  const auto say = [&](const std::string& what) {
    if (what != last) {
      text += (text.empty() ? "" : " ") + what;
    }
    last = what;
  };
  for (const Instruction& instruction : built.program.ranks[0]) {
    if (const auto* send = std::get_if<Send>(&instruction)) {
      say("S" + std::to_string(send->exchange));
    } else if (const auto* receive = std::get_if<Receive>(&instruction)) {
      say("R" + std::to_string(receive->exchange));
    } else {
      const auto& kernel = std::get<RunKernel>(instruction);
      const StepOperator op = kernel.op;
      const char* name = op == StepOperator::kAttentionProjection ? "proj"
                         : op == StepOperator::kAttention         ? "attn"
                         : op == StepOperator::kExperts           ? "exp"
                         : op == StepOperator::kSharedExperts     ? "shared"
                                                                  : "";
      if (*name != '\0' && kernel.stage > 1) {  // from the first MoE layer on
        say(name);
      }
    }
  }
  return text;
}

std::vector<std::int64_t> rows_of(const std::vector<std::vector<LayerTraffic>>& traffic, std::size_t layer) {
  std::vector<std::int64_t> rows;
  for (const auto& micro_batch : traffic) {
    const LayerTraffic& own = micro_batch[layer];
    rows.resize(own.copies.size() + own.ranks * own.rows.front().size());
    for (std::size_t i = 0; i < own.copies.size(); ++i) {
      rows[i] += own.copies[i];
    }
    for (std::size_t rank = 0; rank < own.ranks; ++rank) {
      for (std::size_t slot = 0; slot < own.rows[rank].size(); ++slot) {
        rows[own.copies.size() + rank * own.rows[rank].size() + slot] += own.rows[rank][slot];
      }
    }
  }
  return rows;
}

}  // namespace

TEST_CASE("a batch is split by whole sequences, a single prompt by tokens") {
  const auto five = split_batch({5, 100, 300, StepPhase::kPrefill}, 2);
  REQUIRE(five.size() == 2);
  CHECK(five[0].batch.sequences == 2);
  CHECK(five[1].batch.sequences == 3);
  CHECK(five[1].first_token == 200);
  CHECK(five[1].batch.keys == 300);
  // 101 tokens after 200 cached ones: 50, and 51 that see those 50 too.
  const auto one = split_batch({1, 101, 301, StepPhase::kPrefill}, 2);
  CHECK(one[0].batch.query == 50);
  CHECK(one[0].batch.keys == 250);
  CHECK(one[1].batch.query == 51);
  CHECK(one[1].batch.keys == 301);
  CHECK(one[1].first_token == 50);
  CHECK(split_batch({5, 1, 300}, 1).size() == 1);
}

// Turns a0 a1 a2 and b0 b1 b2, as Sends: with no lead a0 b0 a1 b1 a2 b2, with a lead of two a0 a1 a2 b0 b1 b2.
TEST_CASE("micro-batches take turns, the first one ahead") {
  const auto turns = [](std::uint32_t first) {
    std::vector<Turn> made;
    for (std::uint32_t i = 0; i < 3; ++i) {
      made.push_back({{Send{first + i}}});
    }
    return made;
  };
  const std::vector<std::vector<Turn>> both{turns(0), turns(10)};
  const auto order = [&](std::size_t ahead) {
    std::vector<std::vector<Instruction>> ranks(1);
    interleave(both, ahead, ranks);
    std::vector<std::uint32_t> sent;
    for (const Instruction& instruction : ranks[0]) {
      sent.push_back(std::get<Send>(instruction).exchange);
    }
    return sent;
  };
  CHECK(order(0) == std::vector<std::uint32_t>{0, 10, 1, 11, 2, 12});
  CHECK(order(1) == std::vector<std::uint32_t>{0, 1, 10, 2, 11, 12});
  CHECK(order(2) == std::vector<std::uint32_t>{0, 1, 2, 10, 11, 12});
}

// Exchanges of the first micro-batch in layers 1 and 2: dispatch 0, combine 1, dispatch 2, combine 3; of the second 4
// to 7. In prefill each dispatch is out during the other's attention or experts, each combine during the other's
// experts or its own shared ones and the other's next attention.
TEST_CASE("prefill: the order of SGLang's two batches") {
  Fixture fixture;
  const StepPlan plan = fixture.plan({2, 8, 8, StepPhase::kPrefill}, 2, DispatchProtocol::kDeepEpNormal);
  const StepProgram built = build_step(plan, TaskPool(1));
  CHECK(built.program.exchanges.front().kernels == ExchangeKernels::kBesideOther);
  CHECK(story(built) ==
        "proj attn S0 proj attn S4 "
        "R0 exp S1 R4 exp S5 "
        "shared R1 proj attn S2 shared R5 proj attn S6 "
        "R2 exp S3 R6 exp S7 "
        "shared R3 shared R7");
}

// In decode the first is two turns of five ahead: its dispatch is out during its shared experts and the other's
// projections, its combine during the other's attention.
TEST_CASE("decode: the order of SGLang's two batches") {
  Fixture fixture;
  const StepPlan plan = fixture.plan({4, 1, 100, StepPhase::kDecode}, 2, DispatchProtocol::kDeepEpLowLatency);
  const StepProgram built = build_step(plan, TaskPool(1));
  CHECK(story(built) ==
        "proj attn proj S0 shared proj R0 exp S1 attn proj R1 "
        "S4 shared proj R4 exp S5 attn proj R5 "
        "S2 shared proj R2 exp S3 attn proj R3 "
        "S6 shared R6 exp S7 R7");
  for (const Exchange& exchange : built.program.exchanges) {
    CHECK(exchange.kernels == ExchangeKernels::kSendAndReceive);
  }
}

TEST_CASE("serial shared experts run before their micro-batch is sent") {
  Fixture fixture;
  StepPlan plan = fixture.plan({2, 8, 8, StepPhase::kPrefill}, 2, DispatchProtocol::kDeepEpNormal);
  plan.shared_experts = SharedExpertSchedule::kSerial;
  CHECK(story(build_step(plan, TaskPool(1))).starts_with("proj attn shared S0 proj attn shared S4 R0 exp S1"));
}

// One batch: nothing takes turns, and low-latency kernels send and receive in one.
TEST_CASE("a whole batch goes on as ever") {
  Fixture fixture;
  const StepPlan plan = fixture.plan({4, 1, 100, StepPhase::kDecode}, 1, DispatchProtocol::kDeepEpLowLatency);
  const StepProgram built = build_step(plan, TaskPool(1));
  CHECK(story(built) == "proj attn proj S0 shared R0 exp S1 R1 proj attn proj S2 shared R2 exp S3 R3");
  CHECK(built.program.exchanges.front().kernels == ExchangeKernels::kBeside);
}

// Whatever the split: groups of one or two ranks, odd numbers, a prompt in two.
TEST_CASE("copies and rows of the micro-batches are those of the whole") {
  Fixture fixture;
  struct Case {
    BatchShape batch;
    DispatchProtocol protocol;
    int tensor_parallel;
  };
  for (const Case& each : {Case{{5, 1, 64, StepPhase::kDecode}, DispatchProtocol::kDeepEpLowLatency, 1},
                           Case{{3, 7, 9, StepPhase::kPrefill}, DispatchProtocol::kDeepEpNormal, 1},
                           Case{{1, 33, 33, StepPhase::kPrefill}, DispatchProtocol::kPerGpu, 1}}) {
    const StepProgram whole = build_step(fixture.plan(each.batch, 1, each.protocol, each.tensor_parallel), TaskPool(1));
    const StepProgram split = build_step(fixture.plan(each.batch, 2, each.protocol, each.tensor_parallel), TaskPool(1));
    REQUIRE(whole.traffic.size() == 1);
    REQUIRE(split.traffic.size() == 2);
    for (std::size_t layer = 0; layer < 2; ++layer) {
      CHECK(rows_of(whole.traffic, layer) == rows_of(split.traffic, layer));
    }
    double bytes_whole = 0.0;
    double bytes_split = 0.0;
    for (const auto& [built, sum] : {std::pair(&whole, &bytes_whole), std::pair(&split, &bytes_split)}) {
      for (const Exchange& exchange : built->program.exchanges) {
        for (const Transfer& transfer : exchange.transfers) {
          *sum += transfer.bytes;
        }
      }
    }
    CHECK(bytes_split == Approx(bytes_whole).epsilon(1e-12));
  }
}

// Two ranks of a group share each half: which of them has a token may change, but not how many rows an expert gets.
TEST_CASE("tensor-parallel groups split their own sequences") {
  Fixture fixture;
  const BatchShape batch{4, 3, 3, StepPhase::kPrefill};
  const StepProgram whole = build_step(fixture.plan(batch, 1, DispatchProtocol::kDeepEpNormal, 2), TaskPool(1));
  const StepProgram split = build_step(fixture.plan(batch, 2, DispatchProtocol::kDeepEpNormal, 2), TaskPool(1));
  for (std::size_t rank = 0; rank < kRanks; ++rank) {
    for (std::size_t slot = 0; slot < whole.traffic[0][0].rows[rank].size(); ++slot) {
      CHECK(split.traffic[0][0].rows[rank][slot] + split.traffic[1][0].rows[rank][slot] ==
            whole.traffic[0][0].rows[rank][slot]);
    }
  }
}

TEST_CASE("what cannot be split says why") {
  const Model decoder = three_layers();
  CHECK(split_obstacle(decoder, {2, 1, 10}).empty());
  CHECK(split_obstacle(decoder, {1, 2, 10, StepPhase::kPrefill}).empty());
  CHECK(split_obstacle(decoder, {1, 1, 10}) == "a data-parallel rank has a single token");
}
