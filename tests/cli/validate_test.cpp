#include <catch2/catch.hpp>
#include <cmath>
#include <nlohmann/json.hpp>

#include "program.hpp"
#include "sim/core/file.hpp"

using namespace moesim;
using namespace moesim::test;

namespace {

/// All-reduces of 4 and 8 H200 that take 12 us and their 2(n-1)/n S over 300 GB/s, as tables of NCCL have them.
std::string nccl_table() {
  std::string text = "framework,version,device,op_name,nccl_dtype,num_gpus,message_size,latency\n";
  for (const int ranks : {4, 8}) {
    for (int power = 9; power <= 29; ++power) {
      const double bytes = std::exp2(power);
      const double ms = 12e-3 + 2.0 * (ranks - 1) / ranks * bytes / 300e9 * 1e3;
      text += "own,1,NVIDIA H200,all_reduce,int8," + std::to_string(ranks) + "," +
              std::to_string(static_cast<long>(bytes)) + "," + std::to_string(ms) + "\n";
    }
  }
  return text;
}

/// 1 MB of a ring of four takes some ten microseconds: published as `time`.
std::string case_file(const std::string& time) {
  return R"({"schema": "moesim.cases/1", "name": "own", "source": "nobody", "conditions": "none",
             "tolerance_because": "a test", "cases": [
    {"name": "ring", "published": {"time": ")" +
         time + R"("}, "tolerance": 0.9, "remark": "why it is so",
     "run": {"collective": {"operation": "all_reduce", "cluster": "hgx-h200", "ranks": 4, "protocol": "ring",
                            "size": "1 MB"}}},
    {"name": "later", "published": {"tokens_per_second_per_gpu": 1000}, "tolerance": 0.2,
     "run": {"waits_for": "training"}}]})";
}

}  // namespace

TEST_CASE("calibrate turns a table of NCCL into a profile by which it is predicted") {
  const ScratchFolder scratch;
  write_file(scratch.path() / "nccl.csv", nccl_table());
  const Outcome fitted =
      run_program(scratch.path(), "calibrate nccl.csv -o law.json --source mine --threads 1 --format json");
  REQUIRE(fitted.exit_code == 0);
  const auto fit = nlohmann::json::parse(fitted.out);
  CHECK(fit.at("command") == "calibrate");
  REQUIRE(fit.at("operators").size() == 2);
  CHECK(fit.at("operators").at(0).at("operator") == "all_reduce");
  CHECK(fit.at("operators").at(0).at("ranks") == 4);
  CHECK(fit.at("operators").at(0).at("in_grid").at("n") == 21);
  CHECK(run_program(scratch.path(), "check law.json").exit_code == 0);

  const Outcome valid =
      run_program(scratch.path(), "validate kernels --table nccl.csv --profile law.json --threads 1 --format json");
  REQUIRE(valid.exit_code == 0);
  const auto json = nlohmann::json::parse(valid.out);
  CHECK(json.at("schema") == "moesim.result/1");
  REQUIRE(json.at("operators").size() == 2);
  CHECK(json.at("operators").at(0).at("operator") == "all_reduce, 4 GPUs");
  CHECK(json.at("operators").at(1).at("n") == 21);
  // Rows that the fit has seen, of a law that it can describe; the shipped terms would be off by far more.
  CHECK(json.at("metrics").at("mape").at("value") < 0.02);
}

TEST_CASE("Tables of kernels and of communication do not make one profile") {
  const ScratchFolder scratch;
  write_file(scratch.path() / "nccl.csv", nccl_table());
  write_file(scratch.path() / "gemm.csv", "op_name,gemm_dtype,m,n,k,latency\ngemm,bfloat16,64,64,64,0.01\n");
  const Outcome outcome = run_program(scratch.path(), "calibrate nccl.csv gemm.csv -o law.json");
  CHECK(outcome.exit_code == 2);
  CHECK(outcome.err ==
        "error: gemm.csv: expected another table of communication, found one of kernels: they make profiles of two "
        "kinds\n");
}

TEST_CASE("validate cases: exit code 0 within the tolerance, 1 with a miss, and what waits is said") {
  const ScratchFolder scratch;
  write_file(scratch.path() / "near.json", case_file("12 us"));
  const Outcome near = run_program(scratch.path(), "validate cases near.json");
  CHECK(near.exit_code == 0);
  CHECK(near.out.find("own: ring") != std::string::npos);
  CHECK(near.out.find("  waits for training\n1 of 1 within their tolerance, 1 waiting\n") != std::string::npos);

  write_file(scratch.path() / "far.json", case_file("1 s"));
  const Outcome far = run_program(scratch.path(), "validate cases far.json --out done --format json");
  CHECK(far.exit_code == 1);
  const auto json = nlohmann::json::parse(far.out);
  REQUIRE(json.at("cases").size() == 2);
  CHECK(json.at("cases").at(0).at("verdict") == "miss");
  CHECK(json.at("cases").at(0).at("error") < -0.99);
  CHECK(json.at("cases").at(0).at("remark") == "why it is so");
  CHECK(json.at("cases").at(1).at("predicted").is_null());
  CHECK(json.at("metrics").at("missed").at("value") == 1);
  CHECK(read_file(scratch.path() / "done" / "cases.md").find("| own: ring | 1 s |") != std::string::npos);
  CHECK(run_program(scratch.path(), "check far.json").exit_code == 0);
}

TEST_CASE("validate all: writes the section between the marks of a file, and wants the marks first") {
  const ScratchFolder scratch;
  write_file(scratch.path() / "near.json", case_file("12 us"));
  write_file(scratch.path() / "README.md", "Before\n<!-- accuracy: begin -->\nold\n<!-- accuracy: end -->\nAfter\n");
  const Outcome done = run_program(scratch.path(), "validate all --cases near.json --readme README.md");
  CHECK(done.exit_code == 0);
  const std::string text = read_file(scratch.path() / "README.md");
  CHECK(text.starts_with("Before\n<!-- accuracy: begin -->\nPublished runs"));
  CHECK(text.find("| own: ring | 12 us |") != std::string::npos);
  CHECK(text.find("old") == std::string::npos);
  CHECK(text.ends_with("<!-- accuracy: end -->\nAfter\n"));

  write_file(scratch.path() / "bare.md", "no marks\n");
  const Outcome bare = run_program(scratch.path(), "validate all --cases near.json --readme bare.md");
  CHECK(bare.exit_code == 2);
  CHECK(bare.err ==
        "error: bare.md: expected the marks <!-- accuracy: begin --> and <!-- accuracy: end -->, found none\n");
  CHECK(read_file(scratch.path() / "bare.md") == "no marks\n");
}
