#include <fmt/format.h>

#include <catch2/catch.hpp>
#include <filesystem>
#include <string>

#include "validate/fit/communication_table.hpp"
#include "validate/fit/communication_validate.hpp"

using namespace moesim;

// Predictions of the shipped profile against measurements of collectives, DeepEP's kernels and one-shot all-reduces
// (ai-dynamo/aiconfigurator@095f58a). The profile was fitted to these very rows: what is tested is that its few terms
// still describe them when they go through the simulation, transfer by transfer. Each group prints its errors.
namespace {

const std::filesystem::path kMeasured = std::filesystem::path(MOESIM_SHARED_DATA) / "measured";

/// Operators whose name has `only` in it have errors below `bound` on average.
void check(const std::string& accelerator, const std::string& file, const std::string& only, double bound) {
  if (!std::filesystem::exists(kMeasured / file)) {
    WARN("skipped: no measurements at " << (kMeasured / file));
    return;
  }
  const auto table = read_communication(kMeasured / file);
  REQUIRE(table);
  const KernelProfile profile = load_kernel_profile(ProfileName{}, {"test", ""});
  std::size_t checked = 0;
  for (const OperatorErrors& row : validate_communication(*table, profile, accelerator, TaskPool(1)).operators) {
    if (row.op.find(only) == std::string::npos) {
      continue;
    }
    fmt::print("{:<10} {:<44} n {:>5}  MAPE {:.3f}  median {:.3f}  p90 {:.3f}  bias {:+.3f}\n", accelerator, row.op,
               row.errors.n, row.errors.mape, row.errors.median, row.errors.p90, row.errors.bias);
    CAPTURE(file, row.op);
    CHECK(row.errors.mape < bound);
    ++checked;
  }
  CHECK(checked > 0);
}

}  // namespace

TEST_CASE("NCCL on one node of H200, H100 and A100") {
  check("h200-sxm", "h200_sxm/comm/nccl/2.29.2/nccl_perf.csv.gz", "", 0.06);
  check("h100-sxm", "h100_sxm/comm/nccl/2.29.2/nccl_perf.csv.gz", "", 0.06);
  check("a100-sxm-80gb", "a100_sxm/comm/nccl/2.27.3/nccl_perf.csv.gz", "", 0.06);
}

TEST_CASE("One-shot and two-shot all-reduce on one node of H200 and H100") {
  check("h200-sxm", "h200_sxm/comm/trtllm/1.3.0rc20/custom_allreduce_perf.csv.gz", "", 0.06);
  check("h100-sxm", "h100_sxm/comm/trtllm/1.3.0rc20/custom_allreduce_perf.csv.gz", "", 0.06);
}

TEST_CASE("DeepEP low latency on one node of H200 and H100, and on two, four and eight of H100") {
  check("h200-sxm", "h200_sxm/comm/sglang/0.5.12/wideep_deepep_ll_perf.csv.gz", "", 0.08);
  check("h100-sxm", "h100_sxm/comm/sglang/0.5.12/wideep_deepep_ll_perf.csv.gz", "", 0.08);
  for (const char* ranks : {"EP16", "EP32", "EP64"}) {
    check("h100-sxm", "h100_sxm/comm/sglang/0.5.6.post2/wideep_deepep_ll_perf.csv.gz", ranks, 0.08);
  }
}

TEST_CASE("DeepEP normal on one node of H200 and H100, and on two and four of H100") {
  check("h200-sxm", "h200_sxm/comm/sglang/0.5.12/wideep_deepep_normal_perf.csv.gz", "", 0.10);
  check("h100-sxm", "h100_sxm/comm/sglang/0.5.12/wideep_deepep_normal_perf.csv.gz", "", 0.10);
  const std::string several = "h100_sxm/comm/sglang/0.5.6.post2/wideep_deepep_normal_perf.csv.gz";
  for (const char* what : {"dispatch, 2", "combine, 2", "dispatch, 4", "combine, 4"}) {
    check("h100-sxm", several, what, 0.12);
  }
}
