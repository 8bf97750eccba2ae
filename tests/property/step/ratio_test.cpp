#include <catch2/catch.hpp>
#include <filesystem>

#include "scenarios.hpp"
#include "sim/config/document.hpp"
#include "sim/core/file.hpp"
#include "tests/scratch.hpp"

using namespace moesim;
using namespace moesim::test;

namespace {

/// A cluster file with another NIC, as an assignment.
std::string with_nic(const std::filesystem::path& folder, const std::string& nic) {
  Json cluster = cluster_catalogue().find("hgx-h200", {}).root();
  cluster["network"]["nic"] = nic;
  cluster["nodes"] = 2;
  write_file(folder / (nic + ".json"), cluster.dump());
  return "/cluster={\"file\": \"" + (folder / (nic + ".json")).string() + "\"}";
}

}  // namespace

// At 16 KB of bf16 per copy and 128 tokens a rank this step is bound by the NICs. From 200 to 400 to 800 Gb/s it must
// get faster each time; no more than twice as fast, since nothing but the network changed.
TEST_CASE("twice the NIC bandwidth makes a network-bound step faster, at most twice") {
  const auto folder = moesim::test::scratch_path("moesim-nics");
  const double slow = step_time(run_text(kTwoNodes, {with_nic(folder, "connectx-6-hdr")}));
  const double normal = step_time(run_text(kTwoNodes, {with_nic(folder, "connectx-7-ndr")}));
  const double fast = step_time(run_text(kTwoNodes, {with_nic(folder, "connectx-8-xdr")}));
  CHECK(normal < 0.9 * slow);
  CHECK(normal > 0.5 * slow);
  CHECK(fast < normal);
  CHECK(fast > 0.5 * normal);
  std::filesystem::remove_all(folder);
}

TEST_CASE("experts spread inside one node send nothing across nodes") {
  const StepResult result = run_text(kTwoNodes, {"/parallelism/ranks=8"});
  CHECK(result.execution.bytes_inter_node == 0.0);
  CHECK(result.execution.bytes_intra_node > 0.0);
}

// Balanced routing sends and computes as many copies; only their spread differs.
TEST_CASE("balanced routing is never slower than skewed routing of the same volume") {
  const StepResult balanced = run_text(kTwoNodes, {"/routing={\"balanced\":{}}"});
  for (const char* skewed : {R"({"uniform":{}})", R"({"power_law":{"alpha":1.01}})", R"({"power_law":{"alpha":1.2}})",
                             R"({"generator":{"name":"deepseek-v3-decode"}})"}) {
    INFO(skewed);
    const StepResult other = run_text(kTwoNodes, {std::string("/routing=") + skewed});
    CHECK(step_time(balanced) < step_time(other));
    CHECK(step_imbalance(balanced).mean < step_imbalance(other).mean);
    CHECK(balanced.execution.work.base() == Approx(other.execution.work.base()).epsilon(1e-9));
  }
}

TEST_CASE("more work takes longer: context, sequences, prompt") {
  CHECK(step_time(run_text(kTwoNodes)) < step_time(run_text(kTwoNodes, {"/step/decode/context=4096"})));
  CHECK(step_time(run_text(kTwoNodes)) < step_time(run_text(kTwoNodes, {"/step/decode/sequences_per_dp_rank=256"})));
  const char* prefill = R"(/step={"prefill":{"sequences_per_dp_rank":1,"prompt":512}})";
  CHECK(step_time(run_text(kTwoNodes, {prefill})) <
        step_time(run_text(kTwoNodes, {prefill, "/step/prefill/prompt=1024"})));
  CHECK(step_time(run_text(kTwoNodes, {prefill})) <
        step_time(run_text(kTwoNodes, {prefill, "/step/prefill/cached_prefix=8192"})));
}

// 16 layers, 16·128 tokens with 8 experts of 3·2048·1024 weights each; fp8 has twice the rate of bf16.
TEST_CASE("MFU takes routed experts by their rows, and each part at the rate of its type") {
  const auto needed = [](const char* experts, const char* attention = "bf16") {
    const std::string precision = std::string("/precision={\"weights\":\"bf16\",\"experts\":\"") + experts +
                                  "\",\"attention\":\"" + attention + "\"}";
    return run_text(kTwoNodes, {precision}).model_time.base();
  };
  const double experts = 16.0 * 16 * 128 * 8 * 2 * 3 * 2048 * 1024;
  const double gained = 1 / 989e12 - 1 / 1978e12;
  CHECK(needed("bf16") - needed("fp8") == Approx(experts * gained).epsilon(1e-9));
  // Four matrices 2048·2048 and the norms of queries and keys for each token, and 4·16·128 for each of 1024 keys or
  // one more with the new token.
  const double attention = 16.0 * 16 * 128 * (2.0 * 4 * 2048 * 2048 + 4.0 * 16 * 128 * 1024);
  CHECK(needed("bf16") - needed("bf16", "fp8") == Approx(attention * gained).epsilon(2e-3));
}

// Whole HBM of 143771 MiB or a part of it.
TEST_CASE("a server that may use less of the memory is refused sooner, and told so") {
  CHECK_NOTHROW(run_text(kTwoNodes, {"/memory={\"fraction\":0.5}"}));
  CHECK_THROWS_WITH(run_text(kTwoNodes, {"/memory={\"fraction\":0.1}"}), Catch::Contains("(0.1 of it)"));
}

// A token has at most as many destinations as copies, and as many nodes as destinations.
TEST_CASE("deduplication sends less: per copy, per GPU, per node") {
  const auto across = [](const char* protocol) {
    return run_text(kTwoNodes, {std::string("/dispatch/protocol=\"") + protocol + "\""}).execution.bytes_inter_node;
  };
  CHECK(across("per-gpu") < across("deepep-low-latency"));
  CHECK(across("deepep-normal") < across("per-gpu"));
}

TEST_CASE("tensor parallelism splits attention, keeps the work") {
  const StepResult one = run_text(kTwoNodes);
  const StepResult two =
      run_text(kTwoNodes, {"/parallelism/tensor_parallel=2", "/step/decode/sequences_per_dp_rank=256"});
  CHECK(two.tokens == one.tokens);
  CHECK(two.imbalance.size() == one.imbalance.size());
  // Routers, embedding and norms before the split run on all tokens of the group in both its ranks; all else is split.
  CHECK(two.execution.work.base() == Approx(one.execution.work.base()).epsilon(0.01));
  CHECK(two.execution.bytes_intra_node > one.execution.bytes_intra_node);
  CHECK(two.memory[0].mixer_weights < one.memory[0].mixer_weights);
}

// Nothing but attention's matrices has another type: its GEMMs read twice the bytes at few sequences, all else stays.
TEST_CASE("attention's weights may have a type of their own") {
  const auto with = [](const char* precision) {
    return run_text(kTwoNodes, {precision, R"(/step={"decode":{"sequences_per_dp_rank":1,"context":64}})"});
  };
  const StepResult narrow = with(R"(/precision={"weights": "fp8"})");
  const StepResult wide = with(R"(/precision={"weights": "fp8", "attention": "bf16"})");
  CHECK(narrow.attention_weights == DataType::kFp8);
  CHECK(wide.attention_weights == DataType::kBf16);
  CHECK(wide.memory[0].mixer_weights.base() == 2.0 * narrow.memory[0].mixer_weights.base());
  CHECK(wide.memory[0].expert_weights == narrow.memory[0].expert_weights);
  CHECK(wide.execution.work.base() == narrow.execution.work.base());
  CHECK(step_time(wide) != step_time(narrow));
}

TEST_CASE("what a checkpoint has that three types cannot say is a warning of the run") {
  const auto folder = moesim::test::scratch_path("moesim-checkpoint");
  std::filesystem::create_directories(folder);
  Json config =
      Document::read(std::filesystem::path(MOESIM_SOURCE_DIR) / "tests/unit/models/fixtures/olmoe-1b-7b.json").root();
  config["quantization_config"] = {{"quant_method", "awq"}, {"bits", 4}, {"group_size", 128}, {"zero_point", true}};
  write_file(folder / "config.json", config.dump());
  const std::string model = "/model={\"huggingface\": \"" + (folder / "config.json").string() + "\"}";
  const StepResult result = run_text(kTwoNodes, {model, "/parallelism/ranks=8", R"(/precision={})"});
  REQUIRE_FALSE(result.warnings.empty());
  CHECK(result.warnings.front() == "4-bit integers of 4.16 bits a weight with their scales are taken as int4, of 4.5");
  CHECK(result.weights == DataType::kInt4);
  CHECK(result.expert_weights == DataType::kInt4);
  std::filesystem::remove_all(folder);
}

TEST_CASE("every model of the catalogue runs a prefill step, and a decode step if it can generate") {
  for (const std::string_view name : model_catalogue().names()) {
    INFO(name);
    const std::string model = "/model=\"" + std::string(name) + "\"";
    const int ranks = name.starts_with("qwen1.5") ? 4 : 8;
    const std::vector<std::string> small{model, "/cluster=\"gb300-nvl72\"",
                                         "/parallelism/ranks=" + std::to_string(ranks),
                                         R"(/precision={"weights": "fp8", "experts": "mxfp4", "kv": "fp8"})",
                                         R"(/step={"prefill":{"sequences_per_dp_rank":1,"prompt":64}})"};
    const StepResult prefill = run_text(kTwoNodes, small);
    CHECK(step_time(prefill) > 0.0);
    CHECK(prefill.execution.work.base() > 0.0);
    auto decode = small;
    decode.push_back(R"(/step={"decode":{"sequences_per_dp_rank":2,"context":64}})");
    if (name == "v-moe-15b") {
      CHECK_THROWS_WITH(run_text(kTwoNodes, decode), Catch::Contains("expected a prefill step"));
    } else {
      CHECK(step_time(run_text(kTwoNodes, decode)) > 0.0);
    }
  }
}
