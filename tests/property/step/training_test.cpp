#include <algorithm>
#include <catch2/catch.hpp>

#include "scenarios.hpp"
#include "sim/execute/execute.hpp"
#include "sim/program/training_pass.hpp"
#include "sim/scenario/model_flops.hpp"

using namespace moesim;
using namespace moesim::test;

namespace {

/// Four layers of OLMoE in training on two nodes of eight, a sequence of 1024 tokens a group.
class OlmoeChunk {
 public:
  explicit OlmoeChunk(const std::vector<std::string>& assignments = {}) : step_(prepared(assignments)) {
    routing_ = step_.routing->draw(token_batch(step_), step_.scenario.seed, TaskPool(1));
    costs_ = make_cost_model(step_.profile, step_.cluster.accelerator());
  }

  [[nodiscard]] ChunkPlan plan() const {
    ChunkPlan plan;
    plan.model = &step_.model;
    plan.cluster = &step_.cluster;
    plan.placement = &step_.placement;
    plan.routing = &routing_;
    plan.ranks = 16;
    plan.tensor_parallel = static_cast<int>(step_.scenario.parallelism.tensor_parallel);
    plan.first_layer = 4;
    plan.last_layer = 8;
    plan.sequence_length = 1024;
    plan.dispatch = step_.scenario.dispatch.protocol;
    return plan;
  }
  /// What a prefill step of all layers needs, but for its head, counted by parameters rather than by kernels.
  [[nodiscard]] double work_of_layers() const {
    const double rows = static_cast<double>(routing_.shape.tokens * routing_.shape.k);
    const std::vector<double> routed(routing_.shape.layers, rows);
    const Architecture& shape = step_.model.architecture();
    const ModelWork work = model_work(step_.model, step_.batch, 16, routed);
    return (work.attention + work.rest + work.experts).base() - 16.0 * 2.0 * shape.hidden * shape.vocabulary;
  }
  [[nodiscard]] Execution run(const Program& program) const {
    return execute(program, step_.cluster, *costs_, step_.profile.communication);
  }
  [[nodiscard]] Execution run(const ChunkPlan& plan, Pass pass) const {
    return run(pass == Pass::kForwardBackward ? build_overlapped(plan, plan, TaskPool(1)).program
                                              : build_pass(plan, pass, TaskPool(1)).program);
  }
  /// Where nothing takes time but kernels.
  [[nodiscard]] SimTime time_of_kernels(const ChunkPlan& plan, Pass pass) const {
    Program program = build_pass(plan, pass, TaskPool(1)).program;
    for (auto& stream : program.ranks) {
      std::erase_if(stream, [](const Instruction& what) { return !std::holds_alternative<RunKernel>(what); });
    }
    program.exchanges.clear();
    return run(program).end;
  }

 private:
  static PreparedStep prepared(const std::vector<std::string>& assignments) {
    Document document = Document::parse("scenario", kTwoNodes);
    document.set("/step={\"prefill\":{\"sequences_per_dp_rank\":1,\"prompt\":1024}}");
    document.set("/dispatch={\"protocol\":\"deepep-normal\"}");
    for (const std::string& assignment : assignments) {
      document.set(assignment);
    }
    return prepare_step(decode_document<Scenario>(document), {"scenario", ""});
  }

  PreparedStep step_;
  StepRouting routing_;
  std::unique_ptr<CostModel> costs_;
};

const std::vector<std::vector<std::string>> kChunks{
    {}, {"/dispatch={\"protocol\":\"naive\"}"}, {"/parallelism/tensor_parallel=2"}};

}  // namespace

TEST_CASE("all of a training pass's time is attributed") {
  for (const auto& assignments : kChunks) {
    const OlmoeChunk chunk(assignments);
    for (const auto& [pass, name] : EnumNames<Pass>::names) {
      INFO(name);
      const Execution execution = chunk.run(chunk.plan(), pass);
      std::int64_t ticks = 0;
      for (const SimTime part : attribution(execution)) {
        ticks += part.ticks();
      }
      CHECK(ticks == execution.end.ticks());
      CHECK(execution.end > SimTime());
    }
  }
}

// Kernels of both passes run one after the other, slowed by what communication holds of the GPU, and each pass's
// exchanges run beside the other's kernels, which alone take longer than the exchanges here.
TEST_CASE("a forward and a backward pass together take no less than their kernels, and less than one after the other") {
  const OlmoeChunk chunk;
  ChunkPlan plan = chunk.plan();
  plan.weight_gradients = WeightGradients::kBesideExchange;
  const Execution both = chunk.run(plan, Pass::kForwardBackward);
  const SimTime kernels = chunk.time_of_kernels(plan, Pass::kForward) + chunk.time_of_kernels(plan, Pass::kBackward);
  const SimTime apart = chunk.run(plan, Pass::kForward).end + chunk.run(plan, Pass::kBackward).end;
  CHECK(both.end >= kernels);
  CHECK(both.end < apart);
}

// What is put off runs while gradients are on their way; nothing else changes.
TEST_CASE("gradients of weights beside the exchanges never take longer") {
  for (const auto& assignments : kChunks) {
    const OlmoeChunk chunk(assignments);
    ChunkPlan plan = chunk.plan();
    const Execution at_once = chunk.run(plan, Pass::kBackward);
    plan.weight_gradients = WeightGradients::kBesideExchange;
    const Execution beside = chunk.run(plan, Pass::kBackward);
    CHECK(beside.work.base() == Approx(at_once.work.base()).epsilon(1e-12));
    CHECK(beside.bytes_inter_node == Approx(at_once.bytes_inter_node).epsilon(1e-12));
    CHECK(beside.end <= at_once.end);
  }
}

TEST_CASE("recomputing more takes longer, and a backward pass longer than a forward one") {
  for (const auto& assignments : kChunks) {
    const OlmoeChunk chunk(assignments);
    ChunkPlan plan = chunk.plan();
    const SimTime forward = chunk.run(plan, Pass::kForward).end;
    const SimTime kept = chunk.run(plan, Pass::kBackward).end;
    plan.recompute = Recompute::kSelective;
    const SimTime selective = chunk.run(plan, Pass::kBackward).end;
    plan.recompute = Recompute::kFull;
    const SimTime full = chunk.run(plan, Pass::kBackward).end;
    CHECK(forward < kept);
    CHECK(kept < selective);
    CHECK(selective < full);
    // All of a forward pass once more, whose last results nobody waits for elsewhere either.
    CHECK((full - kept).duration().base() == Approx(forward.duration().base()).epsilon(0.05));
  }
}

// Sixteen layers by kernels and by parameters, which count the gains of norms over heads too. The head has logits of
// all 16·1024 tokens.
TEST_CASE("a forward pass of all layers needs what a prefill step needs, and a backward pass twice that") {
  const OlmoeChunk chunk;
  ChunkPlan plan = chunk.plan();
  plan.first_layer = 0;
  plan.last_layer = 16;
  const double layers = chunk.work_of_layers();
  CHECK(build_pass(plan, Pass::kForward, TaskPool(1)).model_work.base() == Approx(layers).epsilon(1e-4));
  plan.ends = ChunkEnds::kBoth;
  const double head = 2.0 * 2048 * 50304 * 16 * 1024;
  CHECK(build_pass(plan, Pass::kForward, TaskPool(1)).model_work.base() == Approx(layers + head).epsilon(1e-4));
  CHECK(build_pass(plan, Pass::kBackward, TaskPool(1)).model_work.base() ==
        Approx(2.0 * (layers + head)).epsilon(1e-4));
}
