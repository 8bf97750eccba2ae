#include <catch2/catch.hpp>
#include <numeric>

#include "sim/core/random.hpp"
#include "sim/execute/compute_streams.hpp"
#include "simple_costs.hpp"

using namespace moesim;
using namespace moesim::test;

namespace {

/// Both of two GPUs send each other 4.5 MB: 10 us at 450 GB/s, 2 us after they begin.
Exchange swap_of(StepOperator op, Protocol protocol, ExchangeKernels kernels = ExchangeKernels::kBeside) {
  Exchange exchange;
  exchange.op = op;
  exchange.protocol = protocol;
  exchange.kernels = kernels;
  exchange.add(RankId(0), RankId(1), 4'500'000.0);
  exchange.add(RankId(1), RankId(0), 4'500'000.0);
  return exchange;
}

struct TwoGpus {
  TwoGpus() {
    program.stages = 1;
    program.ranks.resize(2);
    profile.high_throughput.compute_units = 33;  // of 132: kernels beside them run at three quarters of their speed
  }
  void both(const std::vector<Instruction>& instructions) { program.ranks.assign(2, instructions); }
  [[nodiscard]] Execution run(Fidelity fidelity = Fidelity::kFlow) const {
    return execute(program, h200_nodes(2, 1), CountedMicroseconds(), profile, fidelity);
  }

  Program program;
  CommunicationProfile profile = plain_network();
};

}  // namespace

// Two micro-batches, a dispatch (D) and a combine (C) each, kernels of 4, 6, 3 and 5 us beside them:
//
//   0   the first's attention, 4 us
//   4   D0 begins: 4–16. The second's attention, 6 us at 3/4: 4–12
//   12  D1 is to be sent, but D0 still runs: it begins at 16, until 28. D0 is waited for, 12–16: exposed dispatch
//   16  the first's experts, 3 us at 3/4: 16–20
//   20  C0 is to be sent behind D1: it begins at 28, until 40. D1 is waited for, 20–28
//   28  the second's experts, 5 us at 3/4: 28 – 34 2/3
//   34 2/3  C1 is to be sent: it begins at 40, until 52. C0 is waited for until 40, C1 until 52.
TEST_CASE_METHOD(TwoGpus, "two micro-batches: exchanges queue on a stream and take units from kernels beside them") {
  for (const StepOperator op :
       {StepOperator::kDispatch, StepOperator::kDispatch, StepOperator::kCombine, StepOperator::kCombine}) {
    program.exchanges.push_back(swap_of(op, Protocol::kHighThroughput));
  }
  both({busy(program, 4), Send{0}, busy(program, 6), Send{1}, Receive{0}, busy(program, 3), Send{2}, Receive{1},
        busy(program, 5), Send{3}, Receive{2}, Receive{3}});
  for (const Fidelity fidelity : {Fidelity::kFlow, Fidelity::kBound}) {
    const Execution execution = run(fidelity);
    CHECK(execution.end == microseconds(52));
    const auto& timeline = execution.timeline[0];
    REQUIRE(timeline.size() == 9);
    CHECK(timeline[0].end == microseconds(4));
    CHECK(timeline[1].end == microseconds(12));
    CHECK(timeline[2].end == microseconds(16));
    CHECK(timeline[3].end == microseconds(20));
    CHECK(timeline[4].end == microseconds(28));
    CHECK(timeline[5].end == SimTime::from_ticks(34'666'667));  // 5 us at three quarters, rounded up to a tick
    CHECK(timeline[6].end == microseconds(40));
    CHECK(spent(execution, 0, TimeCategory::kExposedDispatch) == Approx(12e-6).epsilon(1e-9));
    // C1 begins at 40, when the rank waits for it: 2 of its 12 us are fixed time.
    CHECK(spent(execution, 0, TimeCategory::kOverhead) == Approx(2e-6).epsilon(1e-9));
    CHECK(spent(execution, 0, TimeCategory::kImbalanceWait) == 0.0);
  }
}

// A kernel of 12 us begins with the exchange: by 12 us it has done 9 of them, the rest takes 3 more.
TEST_CASE_METHOD(TwoGpus, "a kernel goes faster once the exchange beside it is through") {
  program.exchanges.push_back(swap_of(StepOperator::kDispatch, Protocol::kHighThroughput));
  both({Send{0}, busy(program, 12), Receive{0}});
  CHECK(run().end == microseconds(15));
}

// Two exchanges one after the other, 0–12 and 12–24, beside a kernel of 20 us: 18 of it by then, 2 more.
TEST_CASE_METHOD(TwoGpus, "a kernel outlasts two exchanges") {
  program.exchanges.assign(2, swap_of(StepOperator::kDispatch, Protocol::kHighThroughput));
  both({Send{0}, Send{1}, busy(program, 20), Receive{0}, Receive{1}});
  CHECK(run().end == microseconds(26));
}

// Rank 1 sends at 8 what rank 0 sent at 0. Each has the other's 4.5 MB ten microseconds after its fixed time: rank 1 at
// 12, rank 0 at 20. Rank 0's kernel is busy until then, since it has to receive; so is rank 1's, since it has to send.
// A kernel of 12 us: on rank 0 from 0 on, 16 us; on rank 1 from 8 on, 9 us of it by 20, and 3 more.
TEST_CASE_METHOD(TwoGpus, "a late rank's kernel holds its units until it has sent") {
  program.exchanges.push_back(swap_of(StepOperator::kDispatch, Protocol::kHighThroughput));
  program.ranks[0] = {Send{0}, busy(program, 12), Receive{0}};
  program.ranks[1] = {busy(program, 8), Send{0}, busy(program, 12), Receive{0}};
  const Execution execution = run();
  CHECK(execution.timeline[0].front().end == microseconds(16));
  CHECK(execution.timeline[1].back().end == microseconds(23));
}

// A kernel that sends (1 us and 4.5 MB at 4.5 TB/s: 2 us) and one that receives (1 us and 4.5 MB at 9 TB/s: 1.5 us)
// have the GPU to themselves; between them the tokens, 12 us on their way from the first's begin, take nothing from
// anybody.
TEST_CASE_METHOD(TwoGpus, "low-latency kernels send and receive by themselves") {
  TransferTerms& terms = profile.low_latency.dispatch;
  terms.send_kernel = StreamKernelTerms{seconds(1e-6), bytes(4.5e12) / seconds(1.0)};
  terms.receive_kernel = StreamKernelTerms{seconds(1e-6), bytes(9e12) / seconds(1.0)};
  profile.low_latency.compute_units = 33;
  program.exchanges.push_back(
      swap_of(StepOperator::kDispatch, Protocol::kLowLatency, ExchangeKernels::kSendAndReceive));
  struct Case {
    int kernel;
    double end;
  };
  // 3 us of computation end at 5, before the tokens are there at 12: the receiving kernel runs while it waits. 11 us
  // end at 13: it runs until 14.5. 9 us end at 11: it is done at 12.5, not at 12.
  for (const auto& [kernel, end] : {Case{3, 12.0}, Case{11, 14.5}, Case{9, 12.5}}) {
    both({Send{0}, busy(program, kernel), Receive{0}});
    const Execution execution = run();
    CHECK(execution.end == microseconds(end));
    CHECK(spent(execution, 0, TimeCategory::kCompute) == Approx(kernel * 1e-6).epsilon(1e-9));
    CHECK(spent(execution, 0, TimeCategory::kExposedDispatch) == Approx((end - kernel) * 1e-6).epsilon(1e-9));
  }
}

// 10 us of transfer take 15 where another micro-batch computes; the fixed time stays.
TEST_CASE_METHOD(TwoGpus, "transfers are slower beside another micro-batch") {
  profile.high_throughput.beside_kernels = 1.5;
  for (const auto& [kernels, end] :
       {std::pair(ExchangeKernels::kBeside, 12.0), std::pair(ExchangeKernels::kBesideOther, 17.0)}) {
    program.exchanges = {swap_of(StepOperator::kDispatch, Protocol::kHighThroughput, kernels)};
    both({Send{0}, Receive{0}});
    CHECK(run().end == microseconds(end));
  }
}

TEST_CASE("contention: what a kernel needs is what it can lose") {
  const ContentionTerms contention{.compute_bound = 1.0, .memory_bound = 0.5, .overhead_bound = 0.8};
  KernelCost cost;
  cost.time = seconds(10e-6);
  cost.busy = cost.time;
  cost.demand.traffic = bytes(0.9 * 10e-6 * 1e12);  // nine tenths of 1 TB/s
  const auto time_beside = [&](Bound bound, const HeldShare& held) {
    cost.bound = bound;
    ComputeStreams streams(1);
    CHECK_FALSE(streams.hold(RankId(0), {}, held));
    return streams.start(RankId(0), {}, needs_of(cost, 1.0, 1e12, contention));
  };
  // Kernels of communication hold 40 % of the units and a tenth of the HBM.
  CHECK(time_beside(Bound::kCompute, {0.4, 0.1}) == microseconds(10.0 / 0.6));
  CHECK(time_beside(Bound::kMemory, {0.4, 0.1}) == microseconds(10.0));
  CHECK(time_beside(Bound::kOverhead, {0.4, 0.1}) == SimTime::from_ticks(13'333'334));  // rounded up
  // Of the HBM it holds 28 %, so that .72 is left of .9.
  CHECK(time_beside(Bound::kMemory, {0.0, 0.28}) == microseconds(10.0 / 0.8));
}

// Communication comes and goes at random while a kernel runs: it ends when ∫ rate dt has come to its seconds.
TEST_CASE("a kernel's end is the integral of its rate, to a tick for each change") {
  RandomStream random(11, "compute-streams");
  for (int run = 0; run < 200; ++run) {
    ComputeStreams streams(1);
    const double alone = 1e-6 + random.uniform() * 1e-4;
    SimTime now;
    SimTime end = streams.start(RankId(0), now, {.seconds = alone, .units = 1.0, .memory_rate = 10.0});
    double done = 0.0;
    double held = 0.0;
    int changes = 0;
    while (true) {
      const SimTime next = now + round_to_ticks(seconds(random.uniform() * 2e-5));
      const double rate = 1.0 - held;
      if (next >= end) {
        done += (end - now).duration().base() * rate;
        break;
      }
      done += (next - now).duration().base() * rate;
      now = next;
      const double change = held > 0.0 && random.uniform() < 0.5 ? -held : 0.6 * (1.0 - held) * random.uniform();
      held = std::max(0.0, held + change);
      end = streams.hold(RankId(0), now, {change, 0.0}).value_or(end);
      ++changes;
    }
    CHECK(std::abs(done - alone) <= (changes + 1) * 1e-12);
  }
}
