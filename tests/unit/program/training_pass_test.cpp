#include "sim/program/training_pass.hpp"

#include <catch2/catch.hpp>
#include <map>
#include <string>
#include <utility>
#include <variant>

#include "sim/core/quantity.hpp"
#include "sim/program/kernel_index.hpp"
#include "three_layers.hpp"

using namespace moesim;
using namespace moesim::test;

namespace {

struct ThreeLayerChunk {
  Model model = three_layers();
  Cluster cluster = two_nodes();
  Placement placement = place_experts({}, {.layers = 2, .experts = 64, .ranks = kRanks}, {});
  StepRouting routing;

  /// All three layers of two sequences of 24 tokens per group, with embedding and head.
  ChunkPlan plan(int tensor_parallel = 1) {
    ChunkPlan made;
    made.model = &model;
    made.cluster = &cluster;
    made.placement = &placement;
    made.ranks = kRanks;
    made.tensor_parallel = tensor_parallel;
    made.last_layer = 3;
    made.ends = ChunkEnds::kBoth;
    made.sequences = 2;
    made.sequence_length = 24;
    routing = random_routing(static_cast<std::size_t>(made.tokens()) * kRanks / tensor_parallel);
    made.routing = &routing;
    return made;
  }
};

ChunkProgram build(const ChunkPlan& plan, Pass pass) { return build_pass(plan, pass, TaskPool(1)); }

/// How often all ranks together run each kernel for each operator, over several programs.
class Counts {
 public:
  using Map = std::map<std::pair<std::uint32_t, StepOperator>, std::int64_t>;

  Map of(const Program& program) {
    Map counts;
    for (const auto& stream : program.ranks) {
      for (const Instruction& instruction : stream) {
        if (const auto* run = std::get_if<RunKernel>(&instruction)) {
          counts[{index_.place(program.kernels[run->kernel]), run->op}] += run->repeat;
        }
      }
    }
    return counts;
  }
  [[nodiscard]] const Kernel& kernel(const Map::value_type& entry) const { return kernels_[entry.first.first]; }

 private:
  std::vector<Kernel> kernels_;
  KernelIndex index_{kernels_};
};

Counts::Map sum(Counts::Map a, const Counts::Map& b) {
  for (const auto& [key, count] : b) {
    a[key] += count;
  }
  return a;
}

/// What `all` has beyond `part`, which is in it.
Counts::Map rest(Counts::Map all, const Counts::Map& part) {
  for (const auto& [key, count] : part) {
    REQUIRE(all[key] >= count);
    all[key] -= count;
  }
  std::erase_if(all, [](const auto& entry) { return entry.second == 0; });
  return all;
}

template <class... K>
double work_of(const Program& program) {
  double work = 0.0;
  for (const auto& stream : program.ranks) {
    for (const Instruction& instruction : stream) {
      const auto* run = std::get_if<RunKernel>(&instruction);
      if (run != nullptr && (std::holds_alternative<K>(program.kernels[run->kernel]) || ...)) {
        work += demand_of(program.kernels[run->kernel]).work.base() * run->repeat;
      }
    }
  }
  return work;
}

/// Payload of all exchanges of a kind, but what a rank keeps.
double bytes_of_all(const Program& program, StepOperator op) {
  double bytes = 0.0;
  for (const Exchange& exchange : program.exchanges) {
    for (const Transfer& transfer : exchange.transfers) {
      bytes += exchange.op == op && transfer.from != transfer.to ? transfer.bytes : 0.0;
    }
  }
  return bytes;
}

std::size_t count_of(const Program& program, StepOperator op) {
  return static_cast<std::size_t>(std::count_if(program.exchanges.begin(), program.exchanges.end(),
                                                [&](const Exchange& exchange) { return exchange.op == op; }));
}

/// Fp8 products, and tokens in fp8, as DeepSeek-V3 was trained.
Precision eight_bits() {
  Precision precision;
  precision.weights = DataType::kFp8Block;
  precision.dispatch = DataType::kFp8Block;
  return precision;
}

/// What rank 0 does from the first MoE layer on: S and R of exchanges, attention, its backward kernel, gradients of
/// weights (W), and the experts' other products.
std::string chunk_story(const Program& program, std::uint32_t from_stage, std::uint32_t to_stage) {
  std::string text;
  std::string last;
  const auto say = [&](const std::string& what) {
    if (what != last) {
      text += (text.empty() ? "" : " ") + what;
    }
    last = what;
  };
  for (const Instruction& instruction : program.ranks[0]) {
    if (const auto* send = std::get_if<Send>(&instruction)) {
      say("S" + std::to_string(send->exchange));
    } else if (const auto* receive = std::get_if<Receive>(&instruction)) {
      say("R" + std::to_string(receive->exchange));
    } else {
      const auto& run = std::get<RunKernel>(instruction);
      if (run.stage < from_stage || run.stage > to_stage) {
        continue;
      }
      const Kernel& kernel = program.kernels[run.kernel];
      const auto* product = std::get_if<Gemm>(&kernel);
      const auto* grouped = std::get_if<GroupedGemm>(&kernel);
      if ((product != nullptr && product->product == Product::kAdded) ||
          (grouped != nullptr && grouped->over == GroupedOver::kDepth)) {
        say("W");
      } else if (grouped != nullptr) {
        say("exp");
      } else if (std::holds_alternative<ContextAttention>(kernel)) {
        say("attn");
      } else if (std::holds_alternative<ContextAttentionBackward>(kernel)) {
        say("back");
      }
    }
  }
  return text;
}

}  // namespace

// dX and dW of Y = X·W take 2·m·n·k each. Attention of width 192 for scores and 128 for values: five products, three of
// them over the first, against one of each: (3·192 + 2·128) / (192 + 128) = 2.6.
TEST_CASE("a backward pass has twice the forward's products, and 2.6 times its attention") {
  ThreeLayerChunk fixture;
  for (const int tensor_parallel : {1, 2}) {
    for (const Precision& precision : {Precision{}, eight_bits()}) {
      ChunkPlan plan = fixture.plan(tensor_parallel);
      plan.precision = precision;
      const Program forward = build(plan, Pass::kForward).program;
      const Program backward = build(plan, Pass::kBackward).program;
      CHECK(work_of<Gemm>(backward) == Approx(2.0 * work_of<Gemm>(forward)).epsilon(1e-12));
      CHECK(work_of<GroupedGemm>(backward) == Approx(2.0 * work_of<GroupedGemm>(forward)).epsilon(1e-12));
      CHECK(work_of<ContextAttentionBackward>(backward) ==
            Approx(2.6 * work_of<ContextAttention>(forward)).epsilon(1e-12));
      CHECK(work_of<ContextAttention>(backward) == 0.0);
    }
  }
}

// One rank to a group: nothing is computed twice, and the model's work is that of the products and of attention,
// backward less the one product of attention's five that is computed again.
TEST_CASE("the model's work is the executed work of products and attention") {
  ThreeLayerChunk fixture;
  const ChunkPlan plan = fixture.plan();
  const ChunkProgram forward = build(plan, Pass::kForward);
  const double products = work_of<Gemm, GroupedGemm>(forward.program);
  const double attention = work_of<ContextAttention>(forward.program);
  CHECK(forward.model_work.base() == Approx(products + attention).epsilon(1e-12));
  CHECK(build(plan, Pass::kBackward).model_work.base() == Approx(2.0 * (products + attention)).epsilon(1e-12));
  CHECK(build(plan, Pass::kBackwardInput).model_work.base() == Approx(products + 2.0 * attention).epsilon(1e-12));
  CHECK(build(plan, Pass::kBackwardWeight).model_work.base() == Approx(products).epsilon(1e-12));
  // The same tokens in groups of two: down-projections are computed by both, but counted once.
  ChunkPlan grouped = fixture.plan(2);
  grouped.sequences *= 2;
  fixture.routing = random_routing(static_cast<std::size_t>(plan.tokens()) * kRanks);
  CHECK(build(grouped, Pass::kForward).model_work.base() == Approx(forward.model_work.base()).epsilon(1e-12));
}

// What is sent out is as many rows backward as forward: 2048 elements in fp8 with 16 scales of 4 B forward, in bf16
// backward, and in bf16 both ways back.
TEST_CASE("gradients take the routes of the tokens") {
  ThreeLayerChunk fixture;
  for (const DispatchProtocol protocol : {DispatchProtocol::kDeepEpNormal, DispatchProtocol::kNaive,
                                          DispatchProtocol::kPerGpu, DispatchProtocol::kAllGather}) {
    ChunkPlan plan = fixture.plan();
    plan.dispatch = protocol;
    plan.precision = eight_bits();
    const Program forward = build(plan, Pass::kForward).program;
    const Program backward = build(plan, Pass::kBackward).program;
    const double out = bytes_of_all(forward, StepOperator::kDispatch) / (2048 + 16 * 4);
    REQUIRE(out > 0.0);
    CHECK(bytes_of_all(backward, StepOperator::kDispatch) / (2048 * 2) == Approx(out).epsilon(1e-12));
    CHECK(bytes_of_all(backward, StepOperator::kCombine) ==
          Approx(bytes_of_all(forward, StepOperator::kCombine)).epsilon(1e-12));
    plan.gradients.dispatch = DataType::kFp8Block;
    CHECK(bytes_of_all(build(plan, Pass::kBackward).program, StepOperator::kDispatch) ==
          Approx(bytes_of_all(forward, StepOperator::kDispatch)).epsilon(1e-12));
  }
}

TEST_CASE("gradients of inputs and of weights are the whole backward pass, whenever they run") {
  ThreeLayerChunk fixture;
  for (const int tensor_parallel : {1, 2}) {
    for (const Recompute recompute : {Recompute::kNone, Recompute::kSelective, Recompute::kFull}) {
      Counts counts;
      ChunkPlan plan = fixture.plan(tensor_parallel);
      plan.precision = eight_bits();
      plan.recompute = recompute;
      const Program whole = build(plan, Pass::kBackward).program;
      const Program input = build(plan, Pass::kBackwardInput).program;
      const Program weight = build(plan, Pass::kBackwardWeight).program;
      CHECK(counts.of(whole) == sum(counts.of(input), counts.of(weight)));
      CHECK(whole.exchanges.size() == input.exchanges.size() + weight.exchanges.size());
      CHECK(count_of(weight, StepOperator::kDispatch) + count_of(weight, StepOperator::kCombine) == 0);
      plan.weight_gradients = WeightGradients::kBesideExchange;
      CHECK(counts.of(build(plan, Pass::kBackward).program) == counts.of(whole));
    }
  }
}

TEST_CASE("full recomputation runs the layers' forward pass once more") {
  ThreeLayerChunk fixture;
  for (const int tensor_parallel : {1, 2}) {
    Counts counts;
    ChunkPlan plan = fixture.plan(tensor_parallel);
    plan.ends = ChunkEnds::kInner;  // embedding and head are no layers
    const Program forward = build(plan, Pass::kForward).program;
    const Program kept = build(plan, Pass::kBackward).program;
    plan.recompute = Recompute::kFull;
    const Program again = build(plan, Pass::kBackward).program;
    CHECK(counts.of(again) == sum(counts.of(kept), counts.of(forward)));
    for (const StepOperator op :
         {StepOperator::kDispatch, StepOperator::kCombine, StepOperator::kAllGather, StepOperator::kReduceScatter}) {
      CHECK(count_of(again, op) == count_of(kept, op) + count_of(forward, op));
      CHECK(bytes_of_all(again, op) == Approx(bytes_of_all(kept, op) + bytes_of_all(forward, op)).epsilon(1e-12));
    }
  }
}

// Three layers of four ranks, a norm before each of their six blocks. Latent attention has no query latent here, so
// that one up-projection, of keys and values, and the rotation are computed again; and what is between the products of
// the dense block, of two layers' shared experts and of their routed ones.
TEST_CASE("selective recomputation runs norms, up-projections and activations once more, and nothing else") {
  ThreeLayerChunk fixture;
  Counts counts;
  ChunkPlan plan = fixture.plan();
  const Program kept = build(plan, Pass::kBackward).program;
  plan.recompute = Recompute::kSelective;
  const Program again = build(plan, Pass::kBackward).program;
  const Counts::Map more = rest(counts.of(again), counts.of(kept));
  const Counts::Map forward = counts.of(build(plan, Pass::kForward).program);
  std::map<StepOperator, std::int64_t> runs;
  std::int64_t products = 0;
  for (const auto& entry : more) {
    runs[entry.first.second] += entry.second;
    products += std::holds_alternative<Gemm>(counts.kernel(entry)) ? entry.second : 0;
    if (entry.first.second != StepOperator::kNorm) {  // whose residual sum is kept
      CHECK(forward.contains(entry.first));
    }
  }
  CHECK(runs == std::map<StepOperator, std::int64_t>{{StepOperator::kNorm, 6 * 4},
                                                     {StepOperator::kAttentionProjection, 2 * 3 * 4},
                                                     {StepOperator::kDenseFeedForward, 4},
                                                     {StepOperator::kSharedExperts, 2 * 4},
                                                     {StepOperator::kExperts, 2 * 4}});
  CHECK(products == 3 * 4);
  CHECK(again.exchanges.size() == kept.exchanges.size());
}

// Groups of two with sequence parallelism. Forward: gathered before and scattered behind attention (three layers) and
// the dense block, scattered behind the embedding, gathered before the head. Backward the other way round, and inputs
// are gathered again for the first weights of attention, dense block and head.
TEST_CASE("gathering and scattering change places backward") {
  ThreeLayerChunk fixture;
  const ChunkPlan plan = fixture.plan(2);
  const Program forward = build(plan, Pass::kForward).program;
  const Program input = build(plan, Pass::kBackwardInput).program;
  const Program weight = build(plan, Pass::kBackwardWeight).program;
  const auto gathers = [](const Program& program) {
    return std::pair(count_of(program, StepOperator::kAllGather), count_of(program, StepOperator::kReduceScatter));
  };
  CHECK(gathers(forward) == std::pair<std::size_t, std::size_t>(3 + 1 + 1, 3 + 1 + 1));
  CHECK(gathers(input) == std::pair<std::size_t, std::size_t>(3 + 1 + 1, 3 + 1 + 1));
  CHECK(gathers(weight) == std::pair<std::size_t, std::size_t>(3 + 1 + 1, 0));
  // Of 48 tokens of 2048 elements in bf16 each rank has a half, and both are sent to the other.
  CHECK(bytes_of_all(weight, StepOperator::kAllGather) == Approx(5.0 * kRanks * 24 * 2048 * 2));
}

TEST_CASE("a pass is the same on any number of threads") {
  ThreeLayerChunk fixture;
  Counts counts;
  const ChunkPlan plan = fixture.plan();
  const ChunkProgram one = build_pass(plan, Pass::kBackward, TaskPool(1));
  const ChunkProgram four = build_pass(plan, Pass::kBackward, TaskPool(4));
  CHECK(one.program.kernels == four.program.kernels);
  CHECK(counts.of(one.program) == counts.of(four.program));
  CHECK(one.traffic[1].copies == four.traffic[1].copies);
}

// Exchanges of two MoE layers: backward 0 to 3 (output gradients, input gradients, of the second layer first), forward
// 4 to 7. Figure 4 of the DeepSeek-V3 report: while tokens are sent out, the other's experts' gradients are computed
// and the other way round; input gradients are on their way during the other's experts, results during the other's
// attention's gradients. Gradients of weights wait until something has been sent: those of the shared experts for S0,
// those of router, attention and the next shared experts for S2.
TEST_CASE("a forward and a backward pass hide each other's exchanges") {
  ThreeLayerChunk fixture;
  ChunkPlan plan = fixture.plan();
  plan.ends = ChunkEnds::kInner;
  plan.first_layer = 1;
  const ChunkProgram both = build_overlapped(plan, plan, TaskPool(1));
  CHECK(chunk_story(both.program, 0, 100) ==
        "S0 W attn S4 "
        "R0 exp S1 W R4 exp S5 "
        "R1 back S2 W R5 attn S6 "
        "R2 exp S3 W R6 exp S7 "
        "R3 back W R7");
  for (const Exchange& exchange : both.program.exchanges) {
    CHECK(exchange.kernels == ExchangeKernels::kBesideOther);
  }
  Counts counts;
  CHECK(counts.of(both.program) ==
        sum(counts.of(build(plan, Pass::kForward).program), counts.of(build(plan, Pass::kBackward).program)));
  CHECK(both.traffic.size() == 4);
  CHECK(both.program.stages == 8);
}

TEST_CASE("what cannot be trained says why") {
  ThreeLayerChunk fixture;
  ChunkPlan plan = fixture.plan();
  CHECK(chunk_obstacle(plan).empty());
  plan.dispatch = DispatchProtocol::kAllReduce;
  CHECK(chunk_obstacle(plan) == "tokens that stay in place are not known in training");
}
