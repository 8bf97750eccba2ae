#include <catch2/catch.hpp>

#include "scenarios.hpp"

using namespace moesim;
using namespace moesim::test;

namespace {

/// OLMoE (16 layers, top-8 of 64 experts of 1024, hidden 2048) on the 8 GPUs of a node that all have all tokens.
StepResult in_place(int expert_ways, const std::vector<std::string>& more = {}) {
  std::vector<std::string> assignments{"/parallelism/ranks=8", "/parallelism/tensor_parallel=8",
                                       "/parallelism/expert_tensor_parallel=" + std::to_string(expert_ways),
                                       "/parallelism/all_reduce=one-shot", "/dispatch={\"protocol\":\"all-reduce\"}"};
  assignments.insert(assignments.end(), more.begin(), more.end());
  return run_text(kTwoNodes, assignments);
}

double time_of(const StepResult& result, StepOperator wanted) {
  double sum = 0.0;
  for (const OperatorTime& time : operator_times(result.execution, result.layers)) {
    sum += time.op == wanted ? time.time.base() : 0.0;
  }
  return sum;
}

}  // namespace

// Nothing is dispatched: what is sent are sums over the group, one after the attention and one after the experts of
// each of 16 layers and one after the embedding. In a one-shot all-reduce each of 8 ranks sends its 128 tokens ×
// 2048 × 2 B to 7 others: 33 × 8 × 7 × 524,288 B = 968,884,224 B; the logits of the head, gathered in a ring, add
// 7 × 128 × 50,304 × 2 B = 90,144,768 B. Queries and keys are normed over all heads: 2 sums of squares of 4 B for each
// token and layer, 16 × 8 × 7 × 1,024 B = 917,504 B.
TEST_CASE("tokens that stay in place cost sums over the group and nothing else") {
  const StepResult result = in_place(1);
  CHECK(result.execution.bytes_intra_node == Approx(968884224.0 + 90144768.0 + 917504.0).epsilon(1e-12));
  CHECK(result.execution.bytes_inter_node == 0.0);
  CHECK(time_of(result, StepOperator::kDispatch) == 0.0);
  CHECK(time_of(result, StepOperator::kCombine) == 0.0);
}

// The same over two nodes of 8 in rings: each of 33 sums is sent in 2·15 parts of 1/16 by each of 16 ranks, which is
// 30 × 524,288 B, each of the 16 of squares 30 × 1,024 B, and the logits 15 × 128 × 50,304 × 2 B; of a ring's 16 links
// two lead to the other node.
TEST_CASE("a tensor-parallel group over two nodes sends its sums across them") {
  const std::vector<std::string> over{"/parallelism/ranks=16", "/parallelism/tensor_parallel=16",
                                      "/parallelism/all_reduce=ring"};
  const StepResult result = in_place(1, over);
  const double sums = 33.0 * 30 * 524288 + 16.0 * 30 * 1024;
  const double logits = 15.0 * 128 * 50304 * 2;
  const Execution& done = result.execution;
  CHECK(done.bytes_intra_node + done.bytes_inter_node == Approx(sums + logits).epsilon(1e-9));
  CHECK(done.bytes_inter_node == Approx((sums + logits) / 8.0).epsilon(1e-9));
  CHECK(step_time(result) > step_time(in_place(1, {"/parallelism/all_reduce=ring"})));
}

// Qwen3-235B norms each head by itself, and sums nothing for it: 94 layers have two sums of 128 tokens × 4096 × 2 B
// each and the embedding one, 8 × 7 × 189 × 1,048,576 B, beside the logits, 7 × 128 × 151,936 × 2 B.
TEST_CASE("norms of single heads need no sums over the group") {
  const StepResult result = in_place(1, {"/model=\"qwen3-235b-a22b\""});
  CHECK(result.execution.bytes_intra_node == Approx(8.0 * 7 * 189 * 1048576 + 7.0 * 128 * 151936 * 2).epsilon(1e-12));
}

// However the 64 experts are shared out — 8 whole ones a rank, a quarter of 32, an eighth of 64 — the same products
// are computed, the same weights are held, and the same is sent. Only summing a token's 8 results is done by each of
// the ranks that share them: 2 operations for each of 2048 elements of 1024 copies in 16 layers, once for each way.
TEST_CASE("splitting experts changes neither products nor weights nor bytes") {
  const StepResult whole = in_place(1);
  for (const int ways : {2, 4, 8}) {
    INFO(ways);
    const StepResult split = in_place(ways);
    const double summed_again = (ways - 1) * 2.0 * 2048 * 1024 * 16;
    CHECK(split.execution.work.base() == Approx(whole.execution.work.base() + summed_again).epsilon(1e-12));
    CHECK(split.memory.front().expert_weights.base() ==
          Approx(whole.memory.front().expert_weights.base()).epsilon(1e-12));
    CHECK(split.execution.bytes_intra_node == whole.execution.bytes_intra_node);
  }
}

// An expert split eight ways is as much for each rank, whatever tokens choose; a rank with whole experts waits for the
// one that has most.
TEST_CASE("experts split over all ranks leave nobody waiting") {
  const std::vector<std::string> skewed{R"(/routing={"power_law":{"alpha":1.2}})"};
  CHECK(step_imbalance(in_place(8, skewed)).worst == 1.0);
  CHECK(step_imbalance(in_place(1, skewed)).mean > 1.05);
}

TEST_CASE("time is attributed in full when tokens stay in place") {
  const StepResult result = in_place(4);
  std::int64_t sum = 0;
  for (const SimTime part : attribution(result.execution)) {
    sum += part.ticks();
  }
  CHECK(sum == result.execution.end.ticks());
}

// Where copies are sent, their sender lays out 8 rows of each token and sums them again, at the HBM's rate at least:
// 16 layers, 128 tokens of 2048 elements of 2 B, 1 + 8 parts there and 8 + 1 back; receivers have theirs in any case.
TEST_CASE("sending every copy costs the sender its permutations") {
  const auto permuting = [](const char* protocol) {
    return time_of(
        run_text(kTwoNodes, {"/routing={\"balanced\":{}}", std::string("/dispatch/protocol=\"") + protocol + "\""}),
        StepOperator::kPermute);
  };
  const double least = 16.0 * 128 * 2048 * 2 * 18 / 4.8e12;
  CHECK(permuting("naive") - permuting("per-gpu") > least);
}
