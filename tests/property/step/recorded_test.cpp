#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>
#include <filesystem>
#include <numeric>

#include "scenarios.hpp"
#include "sim/config/document.hpp"
#include "workloads/routing/count_trace.hpp"

using namespace moesim;
using namespace moesim::test;

namespace {

const std::filesystem::path kData = std::filesystem::path(MOESIM_SHARED_DATA) / "routing";

bool absent(const std::filesystem::path& path) {
  if (std::filesystem::exists(path)) {
    return false;
  }
  WARN("skipped: the recorded routing is not here (" << path.string() << ")");
  return true;
}

/// max over ranks / mean over ranks per layer of the file, contiguous placement: the ten-line script.
std::vector<double> imbalances(const std::filesystem::path& path, std::size_t ranks) {
  std::vector<double> result;
  const Document document = Document::read(path);
  for (const Json& layer : document.root().at("logical_count")) {
    std::vector<double> loads(ranks, 0.0);
    for (std::size_t e = 0; e < layer.size(); ++e) {
      loads[e * ranks / layer.size()] += layer[e].get<double>();
    }
    const double sum = std::accumulate(loads.begin(), loads.end(), 0.0);
    if (sum > 0.0) {
      result.push_back(*std::max_element(loads.begin(), loads.end()) / (sum / static_cast<double>(ranks)));
    }
  }
  return result;
}

}  // namespace

TEST_CASE("recorded DeepSeek-V3 counts: the reported imbalance is the file's") {
  const auto path = kData / "deepseek-v3/prefill_in1024.json";
  if (absent(path)) {
    return;
  }
  for (const std::size_t ranks : {std::size_t{8}, std::size_t{32}}) {
    const auto expected = imbalances(path, ranks);
    const StepResult result = run_text(
        scenario_catalogue().find("deepseek-v3-decode-h200", {}).root().dump(),
        {"/routing={\"counts\":{\"path\":\"" + path.string() + "\"}}", "/parallelism/ranks=" + std::to_string(ranks),
         "/step/decode/sequences_per_dp_rank=8", "/cluster=\"gb300-nvl72\""});
    const ImbalanceSummary reported = reported_imbalance(result);
    CHECK(reported.mean ==
          Approx(std::accumulate(expected.begin(), expected.end(), 0.0) / static_cast<double>(expected.size()))
              .epsilon(1e-12));
    CHECK(reported.worst == Approx(*std::max_element(expected.begin(), expected.end())).epsilon(1e-12));
    CHECK(result.inputs.size() == 1);
    CHECK(result.routing_provenance.find("counts") != std::string::npos);
  }
}

TEST_CASE("recorded DeepSeek-V2-Lite tokens: every recorded choice is sent and computed once") {
  const auto path = kData / "deepseek-v2-lite/law_T8327_L26_K6_E64.u8";
  if (absent(path)) {
    return;
  }
  // 8 ranks, 128 decode tokens each; low-latency dispatch sends every copy whose expert is elsewhere, in bf16 both
  // ways.
  const StepResult result =
      run_text(kTwoNodes, {"/model=\"deepseek-v2-lite\"", "/routing={\"trace\":{\"path\":\"" + path.string() + "\"}}",
                           "/parallelism/ranks=8"});
  CHECK(result.tokens == 8 * 128);
  CHECK(result.imbalance.size() == 26);
  const double copy = 2048 * 2;
  const double copies_sent = result.execution.bytes_intra_node / (2 * copy);
  const double all_copies = 8.0 * 128 * 6 * 26;
  CHECK(copies_sent == std::floor(copies_sent));
  // Seven eighths are elsewhere if routing does not know where a token is at home; 160,000 copies leave 0.1 % of noise.
  CHECK(copies_sent / all_copies == Approx(7.0 / 8).epsilon(0.01));
  CHECK(result.warnings.empty());
}
