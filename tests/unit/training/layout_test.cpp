#include "sim/training/layout.hpp"

#include <catch2/catch.hpp>
#include <numeric>

#include "sim/core/error.hpp"
#include "sim/training/memory.hpp"

using namespace moesim;

namespace {

Training qwen(std::int64_t ranks) {
  Training training;
  training.model = ModelName{"qwen3-30b-a3b"};
  training.cluster = ClusterName{"hgx-h100"};
  training.parallelism.ranks = ranks;
  training.parallelism.expert_parallel = 8;
  training.batch = {4096, 1, 1024};
  training.routing = BalancedRouting{};
  return training;
}

TrainingLayout laid_out(const Training& training) {
  const Model model = load_model(training.model, {"test", ""});
  const Cluster cluster =
      load_cluster(training.cluster, static_cast<std::size_t>(training.parallelism.ranks), {"test", ""});
  return lay_out(training, model, cluster, {"test", ""});
}

std::string fault_of(const Training& training) {
  try {
    static_cast<void>(laid_out(training));
  } catch (const ConfigError& error) {
    return error.diagnostics().front().text();
  }
  return "none";
}

}  // namespace

// Megatron-Core counts the embedding and the head as a layer each: 94 + 2 layers of Qwen3-235B over 32 stages are 3.
TEST_CASE("layers are spread evenly, ends last", "[training]") {
  std::vector<std::size_t> qwen235(32, 3);
  qwen235.front() = qwen235.back() = 2;
  CHECK(even_stages(94, 32) == qwen235);
  CHECK(even_stages(48, 4) == std::vector<std::size_t>{12, 12, 12, 12});
  CHECK(even_stages(7, 4) == std::vector<std::size_t>{2, 2, 2, 1});
  for (const std::size_t layers : {16, 17, 61, 94}) {
    for (const std::size_t stages : {1, 2, 3, 5, 16}) {
      const auto even = even_stages(layers, stages);
      CHECK(std::accumulate(even.begin(), even.end(), std::size_t{0}) == layers);
      CHECK(*std::max_element(even.begin(), even.end()) - *std::min_element(even.begin(), even.end()) <= 1);
    }
  }
}

TEST_CASE("ranks, groups and stages of a training", "[training]") {
  Training training = qwen(64);
  training.parallelism.pipeline_parallel = 4;
  training.parallelism.tensor_parallel = 2;
  const TrainingLayout layout = laid_out(training);
  CHECK(layout.stage_ranks == 16);
  CHECK(layout.data_parallel == 8);
  CHECK(layout.group_ranks == 8);
  CHECK(layout.dense_copies() == 8);
  CHECK(layout.expert_copies() == 2);
  CHECK(layout.shape.micro_batches == 128);
  REQUIRE(layout.stages.size() == 4);
  CHECK(layout.stages[0].ends == ChunkEnds::kFirst);
  CHECK(layout.stages[3].ends == ChunkEnds::kLast);
  CHECK(layout.stages[3].last_layer == 48);
  training.schedule = "dualpipe";  // weights twice
  CHECK(laid_out(training).dense_copies() == 16);
  CHECK(laid_out(training).expert_copies() == 4);
}

TEST_CASE("what does not divide is said where it stands", "[training]") {
  Training training = qwen(64);
  training.parallelism.pipeline_parallel = 7;
  CHECK(fault_of(training) == "test#/parallelism/pipeline_parallel: expected a divisor of the 64 ranks, found 7");
  training = qwen(64);
  training.parallelism.expert_parallel = 6;
  CHECK(fault_of(training) ==
        "test#/parallelism/expert_parallel: expected a divisor of the 64 ranks of a pipeline rank, found 6");
  training = qwen(64);
  training.parallelism.tensor_parallel = 8;
  training.parallelism.expert_parallel = 4;
  CHECK(fault_of(training) ==
        "test#/parallelism/expert_parallel: expected a multiple of tensor_parallel = 8, since "
        "experts are whole on each rank; found 4");
  training = qwen(64);
  training.batch.global_batch = 1000;
  CHECK(fault_of(training) ==
        "test#/batch/global_batch: expected a multiple of 64, the 1 sequences of a micro-batch of "
        "each of 64 data-parallel ranks; found 1000");
  training = qwen(24);
  training.parallelism.pipeline_parallel = 3;
  training.schedule = "dualpipe";
  CHECK(fault_of(training) ==
        "test#/schedule: expected a schedule that runs here, found \"dualpipe\": it needs an even "
        "number of pipeline ranks; found 3");
  training = qwen(16);
  training.parallelism.pipeline_parallel = 2;
  training.parallelism.layers_per_stage = {24, 23};
  CHECK(fault_of(training) == "test#/parallelism/layers_per_stage: expected 48 layers in all, found 47");
}

TEST_CASE("memory by pipeline rank has the schedule's micro-batches in flight", "[training]") {
  Training training = qwen(32);
  training.parallelism.pipeline_parallel = 4;
  const Model model = load_model(training.model, {"test", ""});
  const auto requests = memory_requests(training, model, laid_out(training), 1.0);
  REQUIRE(requests.size() == 4);
  for (std::size_t rank = 0; rank < 4; ++rank) {
    REQUIRE(requests[rank].chunks.size() == 1);
    CHECK(requests[rank].chunks[0].micro_batches == 4 - rank);
  }
  training.schedule = "dualpipe";  // over two stages, weights of both; the ranks in the middle have a pair one by one
  const auto both_ways = memory_requests(training, model, laid_out(training), 1.0);
  for (std::size_t rank = 0; rank < 4; ++rank) {
    REQUIRE(both_ways[rank].chunks.size() == 2);
    const std::size_t in_flight = both_ways[rank].chunks[0].micro_batches + both_ways[rank].chunks[1].micro_batches;
    CHECK(in_flight == (rank == 1 || rank == 2 ? 5 : 4));
  }
}
