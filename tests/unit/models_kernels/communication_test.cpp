#include <catch2/catch.hpp>
#include <vector>

#include "models/kernels/profile.hpp"

/// The profile's communication terms against the published measurements that they were derived from, with the
/// transfer's time in closed form: uniform routing, every link equally loaded.
using namespace moesim;

namespace {
constexpr double kNvlink = 450e9;  // H200, each direction
constexpr double kNic = 50e9;

CommunicationProfile profile() { return load_profile(ProfileName{"roofline"}, {"test", ""}).communication; }

// DeepSeek-V3's shapes: a dispatched copy is 7168 fp8 values, 56 fp32 scales and 16 B of header, a combined one 7168
// bf16 values.
constexpr double kDispatched = 7168 + 56 * 4 + 16;
constexpr double kCombined = 7168 * 2;

/// µs for `bytes` out of a rank.
double over_nvlink(const TransferTerms& terms, double bytes) {
  return (terms.scale_up_overhead.base() + bytes / (kNvlink * terms.scale_up_efficiency)) * 1e6;
}
double over_network(const TransferTerms& terms, double bytes) {
  return (terms.network_overhead.base() + bytes / (kNic * terms.network_efficiency)) * 1e6;
}

struct Row {
  double tokens;
  double dispatch;
  double combine;
};
}  // namespace

TEST_CASE("Low-latency kernels on one H200 node") {
  // Every copy is sent directly: 8 per token, 7/8 of them to other GPUs. Slope between 128 and 1024 tokens:
  //   dispatch 7·896·7408 B / (211.1 − 35.1) µs = 264 GB/s = .587 of 450; offset 35.1 − 7·128·7408/264e3 = 10.0 µs
  //   combine 7·896·14336 B / (481.0 − 67.7) µs = 217.6 GB/s = .484; offset 67.7 − 59.0 = 8.7 µs
  const DispatchTerms terms = profile().low_latency;
  const std::vector<Row> measured = {{32, 16.5, 24.6}, {128, 35.1, 67.7}, {256, 60.5, 124.5}, {1024, 211.1, 481.0}};
  for (const Row& row : measured) {
    CAPTURE(row.tokens);
    CHECK(over_nvlink(terms.dispatch, 7 * row.tokens * kDispatched) == Approx(row.dispatch).epsilon(0.03));
    CHECK(over_nvlink(terms.combine, 7 * row.tokens * kCombined) == Approx(row.combine).epsilon(0.05));
  }
}

TEST_CASE("Low-latency kernels on four H200 nodes") {
  // 24 of 32 ranks are behind the NIC: 6 copies per token. Slope between 32 and 256 tokens:
  //   dispatch 6·224·7408 B / (264.5 − 55.2) µs = 47.6 GB/s = .95 of 50; offset 143.0 − 119.5 = 23.5 µs
  //   combine 6·224·14336 B / (500.2 − 85.6) µs = 46.5 GB/s = .93; offset 263.3 − 236.8 = 26.5 µs
  const DispatchTerms terms = profile().low_latency;
  const std::vector<Row> measured = {{8, 32.0, 41.8}, {32, 55.2, 85.6}, {128, 143.0, 263.3}, {256, 264.5, 500.2}};
  for (const Row& row : measured) {
    CAPTURE(row.tokens);
    CHECK(over_network(terms.dispatch, 6 * row.tokens * kDispatched) == Approx(row.dispatch).epsilon(0.05));
    CHECK(over_network(terms.combine, 6 * row.tokens * kCombined) == Approx(row.combine).epsilon(0.05));
  }
}

TEST_CASE("Normal kernels on one H200 node") {
  // One copy per destination rank: 8·(1 − C(224,8)/C(256,8)) = 5.295 distinct ranks, 7/8 of them others: 4.633.
  // 20 SMs. .67 and 36 µs, .69 and 55 µs fit the four sizes best in relative error.
  const DispatchTerms terms = profile().high_throughput;
  const double copies = 5.295 * 7 / 8;
  const std::vector<Row> measured = {{128, 50, 85}, {1024, 157, 307}, {4096, 491, 973}, {16384, 1931, 3513}};
  for (const Row& row : measured) {
    CAPTURE(row.tokens);
    CHECK(over_nvlink(terms.dispatch, copies * row.tokens * (kDispatched - 16)) == Approx(row.dispatch).epsilon(0.05));
    CHECK(over_nvlink(terms.combine, copies * row.tokens * kCombined) == Approx(row.combine).epsilon(0.12));
  }
  CHECK(terms.compute_units == 20);
}

TEST_CASE("Normal kernels on four H200 nodes") {
  // One copy per destination node: 4·(1 − C(192,8)/C(256,8)) = 3.614, 3/4 of them remote: 2.711. Measured times are
  // the kernel's and its notification's together. At 46 GB/s combine transfers 108, 865, 3460 and 13840 µs, which
  // leaves 163, 173, 174 and −32: 140 µs fits all four in relative error; dispatch likewise 100 µs.
  const DispatchTerms terms = profile().high_throughput;
  const double copies = 3.614 * 3 / 4;
  const std::vector<Row> measured = {{128, 107 + 57, 217 + 54},
                                     {1024, 498 + 77, 968 + 70},
                                     {4096, 1801 + 59, 3528 + 106},
                                     {16384, 6960 + 68, 13578 + 230}};
  for (const Row& row : measured) {
    CAPTURE(row.tokens);
    CHECK(over_network(terms.dispatch, copies * row.tokens * (kDispatched - 16)) == Approx(row.dispatch).epsilon(0.08));
    CHECK(over_network(terms.combine, copies * row.tokens * kCombined) == Approx(row.combine).epsilon(0.10));
  }
}

TEST_CASE("DeepEP's published bandwidth on H800, 4096 tokens on one node") {
  // 153 and 158 GB/s count the own rank's copy too: 7/8 of them cross NVLink, 134 and 138 of the nominal 200 GB/s.
  const DispatchTerms terms = profile().high_throughput;
  CHECK(terms.dispatch.scale_up_efficiency * 200 == Approx(153 * 7.0 / 8).epsilon(0.05));
  CHECK(terms.combine.scale_up_efficiency * 200 == Approx(158 * 7.0 / 8).epsilon(0.05));
}

TEST_CASE("NCCL on one H200 node") {
  // t = alpha + S/beta fitted to 2, 4 and 8 GPUs; traffic per rank by nccl-tests' convention. Efficiencies are those
  // of 8 GPUs, alpha a line through the three.
  struct Fit {
    ProfiledCollective kind;
    double factor;  // traffic over S at n = 8
    double alpha2, alpha4, alpha8, beta8;
  };
  const std::vector<Fit> fits = {{ProfiledCollective::kAllReduce, 2 * 7.0 / 8, 7.0, 10.6, 18.2, 220.1e9},
                                 {ProfiledCollective::kAllGather, 7.0 / 8, 5.9, 8.2, 12.7, 338.3e9},
                                 {ProfiledCollective::kReduceScatter, 7.0 / 8, 5.9, 7.8, 11.9, 346.9e9},
                                 {ProfiledCollective::kAllToAll, 7.0 / 8, 8.1, 8.3, 9.3, 312.1e9}};
  const CommunicationProfile all = profile();
  for (const Fit& fit : fits) {
    CAPTURE(name_of(fit.kind));
    const CollectiveTerms& terms = all.collective.at(fit.kind);
    const auto alpha = [&](double n) { return (terms.overhead + terms.overhead_per_rank * n).base() * 1e6; };
    CHECK(alpha(2) == Approx(fit.alpha2).epsilon(0.03));
    CHECK(alpha(4) == Approx(fit.alpha4).epsilon(0.03));
    CHECK(alpha(8) == Approx(fit.alpha8).epsilon(0.03));
    CHECK(kNvlink * terms.scale_up_efficiency / fit.factor == Approx(fit.beta8).epsilon(0.01));
  }
}

TEST_CASE("One-shot all-reduce on one H200 node") {
  // Every rank reads all others' S bytes. TensorRT-LLM's kernel in µs: 16 kB on 8 GPUs 3.5, 256 kB on 8 10.1,
  // 512 kB on 4 7.7, 2 MB on 2 9.2.
  const CollectiveTerms terms = profile().collective.at(ProfiledCollective::kOneShotAllReduce);
  const auto time = [&](double n, double size) {
    return (terms.overhead.base() + n * terms.overhead_per_rank.base() +
            (n - 1) * size / (kNvlink * terms.scale_up_efficiency)) *
           1e6;
  };
  CHECK(time(8, 16384) == Approx(3.5).epsilon(0.10));
  CHECK(time(8, 262144) == Approx(10.1).epsilon(0.10));
  CHECK(time(4, 524288) == Approx(7.7).epsilon(0.10));
  CHECK(time(2, 2097152) == Approx(9.2).epsilon(0.10));
}
