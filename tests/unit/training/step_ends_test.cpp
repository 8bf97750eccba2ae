#include "sim/training/step_ends.hpp"

#include <algorithm>
#include <catch2/catch.hpp>

#include "sim/core/quantity.hpp"
#include "sim/scenario/collective.hpp"
#include "tests/unit/training/pipelines.hpp"

using namespace moesim;
using namespace moesim::test;

namespace {

/// OLMoE's 16 layers on two pipeline ranks of eight H200 each.
Training olmoe() {
  Training training;
  training.model = ModelName{"olmoe-1b-7b"};
  training.cluster = ClusterName{"hgx-h200"};
  training.parallelism.ranks = 16;
  training.parallelism.pipeline_parallel = 2;
  training.parallelism.expert_parallel = 8;
  training.batch = {512, 1, 32};
  training.routing = BalancedRouting{};
  training.dispatch.protocol = DispatchProtocol::kNaive;
  return training;
}

PreparedTraining prepared_from(const Training& training) {
  return prepare_training(training, {"test", ""}, TaskPool(1));
}

std::vector<StageBuckets> buckets_of(std::size_t stages, std::size_t layers, std::int64_t reduce, std::int64_t gather) {
  return std::vector<StageBuckets>(stages, {layers, SimTime::from_ticks(reduce), SimTime::from_ticks(gather)});
}

constexpr EqualTimes kTimes{800, 800, 800, 0};

PipelineRun run_of(const PreparedTraining& prepared) {
  return run_pipeline(*prepared.layout.schedule, prepared.layout.shape, kTimes.time(), at_once());
}

}  // namespace

// Rank 0's last backward pass takes 1600 ticks for 8 layers, a layer in 200. Buckets that take less than that follow
// it, and only the last shows; those that take more wait in line from the first on.
TEST_CASE("gradients are reduced behind the layers of the last backward pass", "[training]") {
  Training training = olmoe();
  const PreparedTraining prepared = prepared_from(training);
  const PipelineRun run = run_of(prepared);
  const std::int64_t end = run.ranks[0].back().end.ticks();
  CHECK(gradients_ready(prepared, run, buckets_of(2, 8, 50, 0))[0].ticks() == end + 50);
  CHECK(gradients_ready(prepared, run, buckets_of(2, 8, 300, 0))[0].ticks() == end - 1600 + 200 + 8 * 300);
  training.optimizer.gradient_reduce = Overlap::kNone;
  CHECK(gradients_ready(prepared_from(training), run, buckets_of(2, 8, 50, 0))[0].ticks() == end + 8 * 50);
}

// Rank 0 starts at once: the first layer's parameters always show, 100 ticks a layer forward hide as much of the
// others.
TEST_CASE("parameters are gathered before the layers of the first forward pass", "[training]") {
  const PreparedTraining prepared = prepared_from(olmoe());
  const PipelineRun run = run_of(prepared);
  CHECK(gather_delay(prepared, run, buckets_of(2, 8, 0, 60)).ticks() == 60);
  CHECK(gather_delay(prepared, run, buckets_of(2, 8, 0, 250)).ticks() == 8 * 250 - 7 * 100);
}

TEST_CASE("gradients of weights that are there twice wait for both ranks", "[training]") {
  Training training = olmoe();
  training.schedule = "dualpipe";
  training.optimizer.gradient_reduce = Overlap::kNone;
  const PreparedTraining prepared = prepared_from(training);
  const PipelineRun run = run_of(prepared);
  const std::int64_t later = std::max(run.ranks[0].back().end, run.ranks[1].back().end).ticks();
  for (const SimTime ready : gradients_ready(prepared, run, buckets_of(2, 8, 10, 0))) {
    CHECK(ready.ticks() == later + 2 * 8 * 10);
  }
}

// Gradients of everything but experts travel among the eight ranks of a stage as `moesim collective reduce_scatter` has
// it; each expert is on one of them alone, and of a rank's share of two stages half as much takes less time.
TEST_CASE("gradients travel as the collective does", "[training]") {
  const PreparedTraining prepared = prepared_from(olmoe());
  const auto costs = make_cost_model(prepared.profile, prepared.cluster.accelerator());
  ParameterSync sync(prepared, *costs);
  CollectiveScenario scenario;
  scenario.operation = CollectiveOperation::kReduceScatter;
  scenario.cluster = ClusterName{"hgx-h200"};
  scenario.ranks = 8;
  scenario.protocol = "ring";
  scenario.size = bytes(4e8);
  const Duration alone = run_collective(scenario, {"test", ""}, TaskPool(1)).time;
  CHECK(sync.dense(Collective::kReduceScatter, 1e8, DataType::kFp32).duration() == alone);
  CHECK(sync.experts(Collective::kReduceScatter, 1e8, DataType::kFp32) == SimTime());
  CHECK(sync.norm() > SimTime());
}

// 512 tokens of 2048 bf16 elements between GPUs of two nodes, on rails of their own.
TEST_CASE("activations take the network's way between pipeline ranks", "[training]") {
  const PreparedTraining prepared = prepared_from(olmoe());
  const auto costs = make_cost_model(prepared.profile, prepared.cluster.accelerator());
  const StageSends sends(prepared, *costs);
  const double at_nic = 512 * 2048 * 2 / 50e9;
  CHECK(sends.time(0, 1).duration().base() > at_nic);
  CHECK(sends.time(0, 1).duration().base() < 3 * at_nic);
  CHECK(sends.time(1, 0) == sends.time(0, 1));
}

// Of a rank's parameters, a distributed optimizer updates one in eight of what is no expert, and all experts of its
// own: fp32 gradients twice, master weights and two moments there and back, bf16 parameters, and all gradients zeroed.
TEST_CASE("the optimizer takes what its bytes take", "[training]") {
  const PreparedTraining prepared = prepared_from(olmoe());
  const auto costs = make_cost_model(prepared.profile, prepared.cluster.accelerator());
  const auto requests = memory_requests(prepared.training, prepared.model, prepared.layout, 1.0);
  const RankParameters count = rank_parameters(requests[0], requests[0].chunks[0]);
  const double own = count.dense / 8 + count.experts;
  const Streaming kernel{.read = bytes(own * (12 + 8)), .written = bytes(own * 14 + (count.dense + count.experts) * 4)};
  CHECK(optimizer_time(prepared, requests[0], *costs).duration().base() ==
        Approx(costs->cost(kernel).time.base()).epsilon(1e-9));
}
