#include <catch2/catch.hpp>
#include <nlohmann/json.hpp>

#include "program.hpp"
#include "sim/core/file.hpp"

using namespace moesim;
using namespace moesim::test;

namespace {

/// GEMMs of H200: 5 µs and 1.5 times what 989 TFLOP/s need, so that a fit has something simple to find. Latency in ms.
std::string table(int shapes) {
  std::string text = "framework,version,device,op_name,kernel_source,gemm_dtype,m,n,k,latency\n";
  for (int shape = 1; shape <= shapes; ++shape) {
    for (int m = 64; m <= 64 * 20; m += 64) {
      const double flop = 2.0 * m * 1024.0 * shape * 4096.0;
      const double ms = 5e-3 + 1.5 * flop / 989e12 * 1e3;
      text += "own,1,NVIDIA H200,gemm,law,bfloat16," + std::to_string(m) + "," + std::to_string(1024 * shape) +
              ",4096," + std::to_string(ms) + "\n";
    }
  }
  return text;
}

}  // namespace

TEST_CASE("calibrate writes a profile that validate, check and list can read") {
  const ScratchFolder scratch;
  write_file(scratch.path() / "gemm.csv", table(8));
  const Outcome fitted = run_program(scratch.path(), "calibrate gemm.csv -o law.json --folds 2 --threads 1");
  CHECK(fitted.err == "GPU: h200-sxm (said by the column device)\n");
  REQUIRE(fitted.exit_code == 0);
  const std::string row = "gemm bf16 (law)\n  in grid (other sizes)" + std::string(37, ' ') + "   160 ";
  CHECK(fitted.out.find(row) != std::string::npos);

  const Outcome valid =
      run_program(scratch.path(), "validate kernels --table gemm.csv --profile law.json --format json");
  REQUIRE(valid.exit_code == 0);
  const auto json = nlohmann::json::parse(valid.out);
  CHECK(json.at("schema") == "moesim.result/1");
  CHECK(json.at("command") == "validate kernels");
  CHECK(json.at("accelerator") == "h200-sxm");
  REQUIRE(json.at("operators").size() == 1);
  const auto& figures = json.at("operators").at(0);
  CHECK(figures.at("operator") == "gemm");
  CHECK(figures.at("n") == 160);
  CHECK(figures.at("mape") < 0.05);  // rows that the fit has seen; a constant factor would be off by far more
  CHECK(figures.at("median") <= figures.at("p90"));
  CHECK(figures.at("p90") <= figures.at("worst"));
  CHECK(json.at("metrics").at("mape").at("value") == figures.at("mape"));

  CHECK(run_program(scratch.path(), "check law.json").exit_code == 0);
}

TEST_CASE("bad tables and profiles are refused, by name and line") {
  const ScratchFolder scratch;
  const auto fault = [&](const std::string& content, const std::string& arguments) {
    write_file(scratch.path() / "t.csv", content);
    const Outcome outcome = run_program(scratch.path(), arguments);
    CHECK(outcome.exit_code == 2);
    CHECK(outcome.out.empty());
    return outcome.err;
  };
  const std::string validate = "validate kernels --table t.csv --gpu h200-sxm --profile roofline";
  CHECK(fault("op_name,gemm_dtype,m,n,latency\ngemm,bfloat16,64,64,0.01\n", validate) ==
        "error: t.csv: expected a column \"k\", found none; known: op_name, gemm_dtype, m, n, latency\n");
  CHECK(fault("op_name,gemm_dtype,m,n,k,latency\ngemm,bfloat16,64,64,64,0\n", validate) ==
        "error: t.csv:2: expected a latency above zero, found 0\n");
  CHECK(fault("op_name,gemm_dtype,m,n,k,latency\ngemm,bfloat16,64,64,64,-1\n", validate) ==
        "error: t.csv:2: expected a latency above zero, found -1\n");
  CHECK(fault("op_name,gemm_dtype,m,n,k,latency_ms,latency_us\ngemm,bfloat16,64,64,64,1,1000\n", validate) ==
        "error: t.csv: expected one column of latencies, found several in different units: latency_ms, latency_us\n");
  CHECK(fault("op_name,gemm_dtype,m,n,k,latency\ngemm,bfloat16,4096,4096,4096,0.0002\n", validate) ==
        "error: t.csv:2: expected a latency in the table's unit, found 200 ns where H200 SXM at its peaks needs "
        "139 us\n");
  write_file(scratch.path() / "one.csv",
             table(1) + table(1).substr(table(1).find('\n') + 1) + table(1).substr(table(1).find('\n') + 1));
  const Outcome one = run_program(scratch.path(), "calibrate one.csv -o one.json");
  CHECK(one.exit_code == 2);
  CHECK(one.err ==
        "GPU: h200-sxm (said by the column device)\n"
        "error: one.csv: expected at least 3 shapes of gemm in bf16 (law), found one: measure others, or the error at "
        "unseen shapes stays unknown\n");
  write_file(scratch.path() / "new.json", R"({"schema": "moesim.fitted-profile/2"})");
  const Outcome checked = run_program(scratch.path(), "check new.json");
  CHECK(checked.exit_code == 1);  // the check's answer, on stdout
  CHECK(checked.out.find("moesim.fitted-profile/2") != std::string::npos);
  write_file(
      scratch.path() / "old.json",
      R"({"schema": "moesim.fitted-profile/0", "name": "old", "accelerator": "h200-sxm", "fits": [], "sources": {}})");
  write_file(scratch.path() / "gemm.csv", table(3));
  const Outcome old = run_program(scratch.path(), "validate kernels --table gemm.csv --profile old.json");
  CHECK(old.exit_code == 2);
  CHECK(old.err.find("old.json#/schema: expected \"moesim.fitted-profile/1\", found \"moesim.fitted-profile/0\"") !=
        std::string::npos);
}
