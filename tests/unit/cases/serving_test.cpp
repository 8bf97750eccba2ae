#include "validate/cases/serving.hpp"

#include <catch2/catch.hpp>
#include <filesystem>

#include "sim/core/error.hpp"
#include "sim/core/file.hpp"
#include "sim/scenario/run.hpp"

using namespace moesim;

namespace {

constexpr const char* kHeader =
    "id,backend,model_path,system,precision,mode,isl,osl,batch_size,tp_size,pp_size,attention_dp_size,moe_tp_size,"
    "silicon_ttft_ms,silicon_tpot_ms\n";
constexpr const char* kRun = "a,vllm,openai/gpt-oss-120b,h200_sxm,fp4,agg,1024,512,8,2,1,,2,90,6.5\n";

struct TemporaryTable {
  explicit TemporaryTable(const std::string& text) { write_file(path, text); }
  ~TemporaryTable() { std::filesystem::remove(path); }
  TemporaryTable(const TemporaryTable&) = delete;
  TemporaryTable& operator=(const TemporaryTable&) = delete;
  std::filesystem::path path = std::filesystem::temp_directory_path() / "moesim-serving-runs.csv";
};

ServingTable read(const std::string& text) { return read_serving_table(TemporaryTable(text).path); }

std::string refusal(const std::string& text) {
  try {
    read(text);
  } catch (const ConfigError& error) {
    return error.what();
  }
  return "";
}

}  // namespace

TEST_CASE("A serving run becomes a scenario laid out like the server") {
  const ServingTable table = read(std::string(kHeader) + kRun);
  REQUIRE(table.runs.size() == 1);
  std::string reason;
  const auto scenario = scenario_of(table.runs.front(), DecodeStep{8, 1280}, reason);
  REQUIRE(scenario);
  CHECK(scenario->parallelism.ranks == 2);
  CHECK(scenario->parallelism.tensor_parallel == 2);
  CHECK(scenario->parallelism.expert_parallel() == 1);
  CHECK(scenario->dispatch.protocol == DispatchProtocol::kAllReduce);
  CHECK(scenario->precision.expert_weights({}) == DataType::kMxFp4);
  CHECK(std::get<ProfileName>(scenario->kernels).value == "h200-vllm");
}

// 8 sequences of 512 tokens of output: while one is generated, 8 prompts come in, so that every token waits for 1/64 of
// a prompt's prefill beside its own step, at a context of 1024 + 256.
TEST_CASE("Time per output token is a decode step and its share of the prompts that come in") {
  const ServingValidation result = validate_serving(read(std::string(kHeader) + kRun), "", TaskPool(2));
  REQUIRE(result.predictions.size() == 1);
  const ServingPrediction& found = result.predictions.front();
  std::string reason;
  const TaskPool pool(1);
  const auto decode = run_step(*scenario_of(found.run, DecodeStep{8, 1280}, reason), {"", ""}, pool).execution.end;
  const auto prefill = run_step(*scenario_of(found.run, PrefillStep{1, 1024, 0}, reason), {"", ""}, pool).execution.end;
  CHECK(found.per_output_token.base() ==
        Approx(decode.duration().base() + prefill.duration().base() / 64.0).epsilon(1e-12));
  CHECK(found.error() == Approx(found.per_output_token.base() / 6.5e-3 - 1.0).epsilon(1e-12));
  REQUIRE(result.all);
  CHECK(result.all->bias == Approx(found.error()));
}

TEST_CASE("Runs that are no single server, or of unknown models, are left out with the reason") {
  std::string text = kHeader;
  text += "b,vllm,openai/gpt-oss-120b,h200_sxm,fp4,disagg,1024,512,,,,,,90,6.5\n";
  text += "c,vllm,openai/gpt-oss-120b,h200_sxm,fp4,agg,1024,512,8,2,2,,2,90,6.5\n";
  text += "d,vllm,nobody/unheard-of,h200_sxm,fp4,agg,1024,512,8,2,1,,2,90,6.5\n";
  // 3.4 s to the first token, 512 × 6.5 ms = 3.328 s for the others.
  text += "e,vllm,openai/gpt-oss-120b,h200_sxm,fp4,agg,1024,512,8,2,1,,2,3400,6.5\n";
  const ServingValidation result = validate_serving(read(text), "", TaskPool(1));
  CHECK(result.predictions.empty());
  CHECK_FALSE(result.all);
  REQUIRE(result.skipped.size() == 4);
  CHECK(result.skipped[0].id == "b");
  CHECK(result.skipped[1].kind == "pipeline parallelism");
  CHECK(result.skipped[2].id == "e");
  CHECK(result.skipped[3].kind == "nobody/unheard-of is in no catalogue");
}

TEST_CASE("Tables that cannot be meant are refused with their place") {
  std::string zero = std::string(kHeader) + kRun;
  zero.replace(zero.rfind("6.5"), 3, "0.0");
  CHECK(refusal(zero).find("moesim-serving-runs.csv:2") != std::string::npos);
  CHECK(refusal(zero).find("expected a number above 0 in column \"silicon_tpot_ms\", found \"0.0\"") !=
        std::string::npos);
  std::string renamed = std::string(kHeader) + kRun;
  renamed.replace(renamed.find("batch_size"), 10, "batch_sise");
  CHECK(refusal(renamed).find("expected a column \"batch_size\", found none") != std::string::npos);
}
