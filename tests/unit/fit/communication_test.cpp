#include <catch2/catch.hpp>
#include <cmath>
#include <filesystem>

#include "sim/core/error.hpp"
#include "sim/core/file.hpp"
#include "tests/scratch.hpp"
#include "validate/fit/communication_bench.hpp"
#include "validate/fit/communication_fit.hpp"
#include "validate/fit/communication_validate.hpp"
#include "validate/fit/dispatch_fit.hpp"
#include "validate/fit/domain_fit.hpp"

using namespace moesim;

namespace {

struct TemporaryTable {
  explicit TemporaryTable(const std::string& text) { write_file(path, text); }
  ~TemporaryTable() { std::filesystem::remove(path); }
  TemporaryTable(const TemporaryTable&) = delete;
  TemporaryTable& operator=(const TemporaryTable&) = delete;
  std::filesystem::path path = moesim::test::scratch_path("moesim-communication.csv");
};

std::optional<CommunicationTable> read(const std::string& text) {
  return read_communication(TemporaryTable(text).path);
}

std::string refusal(const std::string& text) {
  try {
    static_cast<void>(read(text));
  } catch (const ConfigError& error) {
    return error.what();
  }
  return "";
}

constexpr const char* kNccl = "framework,version,device,op_name,nccl_dtype,num_gpus,message_size,latency\n";
constexpr const char* kNormal =
    "version,device,node_num,hidden_size,num_token,num_topk,num_experts,dispatch_sms,dispatch_transmit_us,"
    "dispatch_notify_us,combine_sms,combine_transmit_us,combine_notify_us\n";

}  // namespace

// message_size counts elements: 1024 of half are 2048 bytes, of int8 1024. Latencies are in ms.
TEST_CASE("Tables of NCCL: sizes in elements, latencies in ms") {
  const auto table = read(std::string(kNccl) +
                          "TRTLLM,2.29,NVIDIA H100 80GB HBM3,all_reduce,half,8,1024,0.0156\n"
                          "TRTLLM,2.29,NVIDIA H100 80GB HBM3,alltoall,int8,4,1024,0.0069\n"
                          "TRTLLM,2.29,NVIDIA H100 80GB HBM3,broadcast,half,4,1024,0.0069\n");
  REQUIRE(table);
  CHECK(table->source == CommunicationSource::kNccl);
  CHECK(table->head.device == "NVIDIA H100 80GB HBM3");
  REQUIRE(table->collectives.size() == 2);
  CHECK(table->collectives[0].collective == Collective::kAllReduce);
  CHECK(table->collectives[0].ranks == 8);
  CHECK(table->collectives[0].bytes == 2048.0);
  CHECK(table->collectives[0].time.base() == Approx(15.6e-6).epsilon(1e-12));
  CHECK(table->collectives[1].collective == Collective::kAllToAll);
  CHECK(table->collectives[1].bytes == 1024.0);
  CHECK(table->head.skipped == 1);
  REQUIRE(table->head.warnings.size() == 1);
  CHECK(table->head.warnings[0].find("1 rows of broadcast skipped") != std::string::npos);
}

TEST_CASE("Tables of DeepEP: microseconds, the exchange of counts apart") {
  const auto table = read(std::string(kNormal) + "0.5,NVIDIA H100,2,7168,128,8,256,24,61.4,38.17,24,142.4,0\n");
  REQUIRE(table);
  CHECK(table->source == CommunicationSource::kDeepEpNormal);
  REQUIRE(table->dispatches.size() == 1);
  const MeasuredDispatch& row = table->dispatches.front();
  CHECK(row.nodes == 2);
  CHECK(row.units == 24);
  CHECK(row.dispatch.base() == Approx(61.4e-6).epsilon(1e-12));
  CHECK(row.dispatch_notify.base() == Approx(38.17e-6).epsilon(1e-12));
  CHECK(row.combine_notify == Duration{});
}

TEST_CASE("A table of kernels is none of communication, and bad cells are named by line") {
  CHECK_FALSE(read("op_name,gemm_dtype,m,n,k,latency\ngemm,bfloat16,64,64,64,0.01\n"));
  CHECK(refusal(std::string(kNccl) + "a,1,H100,all_reduce,half,8,x,0.01\n")
            .find(":2: expected a whole number of at "
                  "least 1 in column \"message_size\", found \"x\"") != std::string::npos);
  CHECK(refusal(std::string(kNccl) + "a,1,H100,all_reduce,half,8,1024,0\n")
            .find(":2: expected a number above 0 in "
                  "column \"latency\", found \"0\"") != std::string::npos);
  CHECK(refusal("op_name,nccl_dtype,latency\nall_reduce,half,1\n").find("expected a column \"num_gpus\", found none") !=
        std::string::npos);
}

// 5 us and bytes over half of 400 GB/s, at sizes between the fit's points: what the law describes it finds, and so at
// sizes that were held back.
TEST_CASE("A fit finds the law that made its samples") {
  std::vector<DomainSample> samples;
  for (double size = 3000.0; size < 4e8; size *= 2.3) {
    samples.push_back({size, seconds(1e-6), seconds(5e-6 + size / 200e9)});
  }
  const DomainTerms terms =
      fit_domain(samples, 4, {.folds = 4, .path_share = 0.2, .bandwidth = bytes(400e9) / seconds(1)});
  CHECK(terms.ranks == 4);
  CHECK(terms.overhead.base() == Approx(4e-6).epsilon(0.03));
  CHECK(port_efficiency(terms.efficiency, 1e8) == Approx(0.5).epsilon(0.02));
  REQUIRE(terms.unseen_sizes);
  CHECK(terms.unseen_sizes->n == samples.size());
  CHECK(terms.unseen_sizes->mape < 0.03);
}

// Efficiencies may rise by at most as much as the bytes do, or more bytes would take less time, whatever was measured.
TEST_CASE("More bytes never take less time, even where measurements say so") {
  std::vector<DomainSample> samples;
  for (int i = 0; i < 18; ++i) {
    const double size = 4096.0 * std::exp2(i);
    samples.push_back({size, Duration{}, seconds(i == 9 ? 300e-6 : 5e-6 + size / 200e9)});
    samples.push_back({size, Duration{}, seconds(i == 9 ? 310e-6 : 5e-6 + size / 200e9)});
  }
  const DomainTerms terms = fit_domain(samples, 2, {.bandwidth = bytes(400e9) / seconds(1)});
  for (std::size_t i = 1; i < terms.efficiency.size(); ++i) {
    const PortEfficiency& before = terms.efficiency[i - 1];
    const PortEfficiency& here = terms.efficiency[i];
    CHECK(here.bytes / here.efficiency >= before.bytes / before.efficiency * (1.0 - 1e-9));
  }
}

// Between points log η is linear in log b: from .1 at 1 KB to .4 at 16 KB, .2 at 4 KB; beyond them constant.
TEST_CASE("Efficiency between and beyond its points") {
  const std::vector<PortEfficiency> points{{bytes(1e3), 0.1}, {bytes(16e3), 0.4}};
  CHECK(port_efficiency(points, 4e3) == Approx(0.2).epsilon(1e-12));
  CHECK(port_efficiency(points, 1.0) == 0.1);
  CHECK(port_efficiency(points, 1e9) == 0.4);
  const std::vector<DomainTerms> terms{{.ranks = 2, .overhead = seconds(4e-6), .efficiency = {{bytes(1), 0.2}}},
                                       {.ranks = 8, .overhead = seconds(6e-6), .efficiency = {{bytes(1), 0.8}}}};
  // Four ranks are half way from two to eight in the logarithm.
  CHECK(domain_cost(terms, 4, 100.0).overhead.base() == Approx(5e-6).epsilon(1e-12));
  CHECK(domain_cost(terms, 4, 100.0).efficiency == Approx(0.4).epsilon(1e-12));
  CHECK(domain_cost(terms, 64, 100.0).efficiency == 0.8);
}

// What the shipped profile says of a collective is what its simulation takes: overhead, the latencies of 2(n - 1) steps
// at the profile's share, and 2(n - 1)/n S over the efficiency's part of the port.
TEST_CASE("A ring inside a node takes the time that its terms say") {
  const KernelProfile profile = load_kernel_profile(ProfileName{}, {"test", ""});
  const double size = 3e6;
  CommunicationTable table;
  table.collectives.push_back({Collective::kAllReduce, "all_reduce", 4, size, DataType::kBf16, seconds(1e-5)});
  const CommunicationBench bench("hgx-h200", table, profile);
  const auto* terms = profile.communication.find_in_domain(ProfiledCollective::kAllReduce, "H200 SXM");
  REQUIRE(terms != nullptr);
  const double port = 1.5 * size;
  const DomainCost cost = domain_cost(*terms, 4, port);
  const double expected = cost.overhead.base() + 6 * cost.path_share * 3.33e-6 + port / (450e9 * cost.efficiency);
  CHECK(bench.predict(table.collectives.front()).base() == Approx(expected).epsilon(1e-6));
}

TEST_CASE("Rows on eight nodes of DeepEP's normal kernels are left out, with a warning") {
  const auto table = read(std::string(kNormal) + "0.5,NVIDIA H100,1,7168,128,8,256,24,61.4,0,24,142.4,0\n" +
                          "0.5,NVIDIA H100,8,7168,128,8,256,24,61.4,38.17,24,142.4,30\n");
  REQUIRE(table);
  const Validation result =
      validate_communication(*table, load_kernel_profile(ProfileName{}, {"test", ""}), "h100-sxm", TaskPool(1));
  REQUIRE(result.operators.size() == 2);
  CHECK(result.operators[0].op == "deepep normal combine, 1 node");
  CHECK(result.operators[1].op == "deepep normal dispatch, 1 node");
  REQUIRE(result.warnings.size() == 1);
  CHECK(result.warnings[0].find("1 rows on 8 nodes left out") != std::string::npos);
}

// Rows as terms that differ from the profile's would have them: the fit finds terms that predict the same, and rows and
// shapes that it had not seen.
TEST_CASE("A fit of DeepEP's terms predicts what other terms had made") {
  const KernelProfile profile = load_kernel_profile(ProfileName{}, {"test", ""});
  CommunicationProfile truth = profile.communication;
  for (TransferTerms* terms : {&truth.low_latency.dispatch, &truth.low_latency.combine}) {
    terms->scale_up_efficiency *= 0.8;
    terms->scale_up_overhead = 1.6 * terms->scale_up_overhead;
    terms->scale_up_units->per_token = 1.3 * terms->scale_up_units->per_token;
  }
  CommunicationTable table;
  table.source = CommunicationSource::kDeepEpLowLatency;
  for (const std::int64_t hidden : {2048, 4096, 7168}) {
    for (std::int64_t tokens = 1; tokens <= 1024; tokens *= 2) {
      for (const std::int64_t experts : {64, 256}) {
        table.dispatches.push_back(
            {.tokens = tokens, .hidden = hidden, .experts = experts, .experts_per_token = 8, .units = std::nullopt});
      }
    }
  }
  const CommunicationBench bench("hgx-h200", table, profile);
  for (MeasuredDispatch& row : table.dispatches) {
    row.dispatch = bench.predict(row, StepOperator::kDispatch, truth).total;
    row.combine = bench.predict(row, StepOperator::kCombine, truth).total;
  }
  const DispatchFit fit = fit_dispatch({table}, "h200-sxm", profile, 3, TaskPool(1));
  CHECK_FALSE(fit.high_throughput);
  REQUIRE(fit.low_latency);
  REQUIRE(fit.errors.size() == 2);
  for (const DispatchErrors& found : fit.errors) {
    CHECK(found.rows == 66);
    REQUIRE(found.in_grid);
    CHECK(found.in_grid->n == 66);
    CHECK(found.in_grid->mape < 0.03);
    REQUIRE(found.out_of_grid);
    CHECK(found.out_of_grid->n == 66);
    CHECK(found.out_of_grid->mape < 0.06);
  }
  CommunicationProfile fitted = profile.communication;
  fitted.low_latency = *fit.low_latency;
  for (const MeasuredDispatch& row : table.dispatches) {
    CHECK(bench.predict(row, StepOperator::kDispatch, fitted).total / row.dispatch == Approx(1.0).margin(0.05));
  }
}
