#include <algorithm>
#include <catch2/catch.hpp>
#include <vector>

#include "models/kernels/profile.hpp"
#include "sim/core/quantity.hpp"

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

// What the cluster adds: the paths of hgx-h200.
constexpr double kNvlinkLatency = 3.33;
constexpr double kNetworkLatency = 3.7;
constexpr double kRailLatency = 2.8;

double us(Duration time) { return time.base() * 1e6; }

/// µs before anything flows in one domain, 256 experts, messages of `message` bytes.
double fixed(const TransferTerms& terms, double message) {
  const Duration pass = terms.message_rate ? bytes(message) / *terms.message_rate : Duration{};
  return us(terms.scale_up_overhead + terms.per_expert * 256 + pass) + kNvlinkLatency;
}
/// The same over a network of so many nodes, without the paths.
double network_fixed(const TransferTerms& terms, double nodes, double message) {
  const Duration pass = terms.message_rate ? bytes(message) / *terms.message_rate : Duration{};
  return us(terms.network_overhead + terms.network_per_node * nodes + terms.per_expert * 256 + pass + terms.notify +
            terms.notify_per_node * nodes);
}
/// Seconds of one unit for each token that sends so many messages.
double unit_time(const UnitTerms& units, double messages, double message) {
  const double per_byte = (units.scale_up ? 1.0 / units.scale_up->base() : 0.0);
  const double own = units.token ? message / units.token->base() : 0.0;
  return messages * (units.per_message.base() + message * per_byte) + units.per_token.base() + own;
}

struct Row {
  double tokens;
  double dispatch;
  double combine;
};
}  // namespace

TEST_CASE("Low-latency kernels on one H200 node") {
  // Every copy is sent directly: 8 per token, 7/8 of them to other GPUs, 256 experts on 128 blocks. The links set the
  // pace: 7·7392 B at .569·450 GB/s, .202 us a token, against (1.17 us + 7392 B / 4.65 GB/s)/128, .022 us.
  const DispatchTerms terms = profile().low_latency;
  CHECK(unit_time(*terms.dispatch.scale_up_units, 0, kDispatched) / 128 < 0.2e-6);
  const std::vector<Row> measured = {{32, 16.5, 24.6}, {128, 35.1, 67.7}, {256, 60.5, 124.5}, {1024, 211.1, 481.0}};
  for (const Row& row : measured) {
    CAPTURE(row.tokens);
    const auto over_nvlink = [&](const TransferTerms& half, double message) {
      return fixed(half, message) + 7 * row.tokens * message / (kNvlink * half.scale_up_efficiency) * 1e6;
    };
    CHECK(over_nvlink(terms.dispatch, kDispatched) == Approx(row.dispatch).epsilon(0.12));
    CHECK(over_nvlink(terms.combine, kCombined) == Approx(row.combine).epsilon(0.08));
  }
}

TEST_CASE("Low-latency kernels with eight experts run on eight blocks") {
  // 4096 wide, top-2 of 8 experts on one node: (1.17 us + 4224 B / 4.65 GB/s)/8 = .26 us a token, against 1.75 copies
  // of 4224 B on the link, .029 us. Measured on H200: 42 us at 128 tokens, 146 at 512.
  const TransferTerms dispatch = profile().low_latency.dispatch;
  const double token = unit_time(*dispatch.scale_up_units, 0, 4224) / 8 * 1e6;
  CHECK(token == Approx((146.0 - 42.0) / 384).epsilon(0.08));
}

TEST_CASE("Low-latency kernels on four H100 nodes") {
  // 24 of 32 ranks are behind the NIC: 6 copies per token.
  const DispatchTerms terms = profile().low_latency;
  const std::vector<Row> measured = {{8, 32.0, 41.8}, {32, 55.2, 85.6}, {128, 143.0, 263.3}, {256, 264.5, 500.2}};
  for (const Row& row : measured) {
    CAPTURE(row.tokens);
    const auto over_network = [&](const TransferTerms& half, double message) {
      return network_fixed(half, 4, message) + kNetworkLatency +
             6 * row.tokens * message / (kNic * half.network_efficiency) * 1e6;
    };
    CHECK(over_network(terms.dispatch, kDispatched) == Approx(row.dispatch).epsilon(0.06));
    CHECK(over_network(terms.combine, kCombined) == Approx(row.combine).epsilon(0.06));
  }
}

TEST_CASE("Normal kernels on one H200 node: links with 20 SMs, SMs with 4") {
  // One copy per destination rank: 8·(1 − C(224,8)/C(256,8)) = 5.295 distinct ranks, 7/8 of them others: 4.633.
  const DispatchTerms terms = profile().high_throughput;
  const double copies = 5.295 * 7 / 8;
  const auto time = [&](const TransferTerms& half, double tokens, double message, double units) {
    const double link = copies * message / (kNvlink * half.scale_up_efficiency);
    return fixed(half, message) +
           tokens * std::max(link, unit_time(*half.scale_up_units, copies, message) / units) * 1e6;
  };
  const double sent = kDispatched - 16;
  // The terms fit 16 shapes and six numbers of SMs to 6 % on average; single rows lie up to a fifth away.
  const std::vector<Row> with20 = {{128, 50, 85}, {1024, 156, 311}, {4096, 494, 996}, {16384, 1939, 3598}};
  for (const Row& row : with20) {
    CAPTURE(row.tokens);
    CHECK(time(terms.dispatch, row.tokens, sent, 20) == Approx(row.dispatch).epsilon(0.2));
    CHECK(time(terms.combine, row.tokens, kCombined, 20) == Approx(row.combine).epsilon(0.2));
  }
  const std::vector<Row> with4 = {{1024, 555, 1048}, {16384, 8085, 15270}, {65536, 35330, 60346}};
  for (const Row& row : with4) {
    CAPTURE(row.tokens);
    CHECK(time(terms.dispatch, row.tokens, sent, 4) == Approx(row.dispatch).epsilon(0.2));
    CHECK(time(terms.combine, row.tokens, kCombined, 4) == Approx(row.combine).epsilon(0.2));
  }
  CHECK(terms.compute_units == 20);
}

TEST_CASE("Normal kernels on four H100 nodes") {
  // One copy per destination node: 4·(1 − C(192,8)/C(256,8)) = 3.614, 3/4 of them remote: 2.711. Measured times are
  // the kernel's and its notification's together, with 20 SMs, which the NIC keeps waiting.
  const DispatchTerms terms = profile().high_throughput;
  const double copies = 3.614 * 3 / 4;
  const std::vector<Row> measured = {{128, 107 + 57, 217 + 54},
                                     {1024, 498 + 77, 968 + 70},
                                     {4096, 1801 + 59, 3528 + 106},
                                     {16384, 6960 + 68, 13578 + 230}};
  for (const Row& row : measured) {
    CAPTURE(row.tokens);
    const auto over_network = [&](const TransferTerms& half, double message) {
      return network_fixed(half, 4, message) + kRailLatency + kNvlinkLatency +
             us(half.notify_rise) * row.tokens / (row.tokens + half.notify_rise_at * 20) +
             us(half.notify_per_token) * row.tokens / 20 * 3 / 4 +
             copies * row.tokens * message / (kNic * half.network_efficiency) * 1e6;
    };
    CHECK(over_network(terms.dispatch, kDispatched - 16) == Approx(row.dispatch).epsilon(0.15));
    CHECK(over_network(terms.combine, kCombined) == Approx(row.combine).epsilon(0.15));
  }
}

TEST_CASE("DeepEP's published bandwidth on H800, 4096 tokens on one node") {
  // 153 and 158 GB/s count the own rank's copy too: 7/8 of them cross NVLink, 134 and 138 of the nominal 200 GB/s.
  const DispatchTerms terms = profile().high_throughput;
  CHECK(terms.dispatch.scale_up_efficiency * 200 == Approx(153 * 7.0 / 8).epsilon(0.08));
  CHECK(terms.combine.scale_up_efficiency * 200 == Approx(158 * 7.0 / 8).epsilon(0.08));
}

TEST_CASE("NCCL on one H200 node: small and large, 2 to 8 GPUs") {
  // µs of 16 kB and 512 MB (reduce-scatter 16 kB and 256 MB on 4), each by the faster of LL and Simple:
  //   overhead + (n − 1)·(step + share·3.33 us) + S/n / (local·450 GB/s) + S·(n − 1)/n / (efficiency·450 GB/s)
  struct Case {
    ProfiledCollective kind;
    double n, size, measured;
  };
  const std::vector<Case> cases = {{ProfiledCollective::kAllGather, 2, 16384, 6.1},
                                   {ProfiledCollective::kAllGather, 8, 16384, 12.3},
                                   {ProfiledCollective::kAllGather, 2, 536870912, 1041.9},
                                   {ProfiledCollective::kAllGather, 4, 536870912, 1271.7},
                                   {ProfiledCollective::kAllGather, 8, 536870912, 1395.0},
                                   {ProfiledCollective::kReduceScatter, 4, 16384, 7.9},
                                   {ProfiledCollective::kReduceScatter, 2, 536870912, 1083.5},
                                   {ProfiledCollective::kReduceScatter, 8, 536870912, 1393.3}};
  const CommunicationProfile all = profile();
  for (const Case& row : cases) {
    CAPTURE(name_of(row.kind), row.n, row.size);
    double best = 1e300;
    for (const auto& [name, terms] : *all.find(row.kind, "H200 SXM")) {
      const double steps = (row.n - 1) * (us(terms.step) + terms.path_share * kNvlinkLatency);
      const double local = terms.local_copy ? row.size / row.n / (*terms.local_copy * kNvlink) : 0.0;
      const double wire = row.size * (row.n - 1) / row.n / (terms.scale_up_efficiency * kNvlink);
      best = std::min(best, us(terms.overhead) + steps + (local + wire) * 1e6);
    }
    CHECK(best == Approx(row.measured).epsilon(0.12));
  }
}

TEST_CASE("One-shot all-reduce on one H200 node") {
  // Every rank reads all others' S bytes. TensorRT-LLM's kernel in µs: 16 kB on 8 GPUs 3.5, 256 kB on 8 10.1,
  // 512 kB on 4 7.7, 2 MB on 2 9.2.
  const CollectiveTerms terms = profile().collective.at(ProfiledCollective::kOneShotAllReduce).at("flags");
  const auto time = [&](double n, double size) {
    return us(terms.overhead + terms.per_rank * n) + terms.path_share * kNvlinkLatency +
           (n - 1) * size / (kNvlink * terms.scale_up_efficiency) * 1e6;
  };
  CHECK(time(8, 16384) == Approx(3.5).epsilon(0.10));
  CHECK(time(8, 262144) == Approx(10.1).epsilon(0.10));
  CHECK(time(4, 524288) == Approx(7.7).epsilon(0.10));
  CHECK(time(2, 2097152) == Approx(9.2).epsilon(0.10));
}

TEST_CASE("An accelerator that was measured has its own terms, others those of the profile") {
  const CommunicationProfile all = profile();
  const auto* a100 = all.find(ProfiledCollective::kAllGather, "A100 SXM 80GB");
  const auto* other = all.find(ProfiledCollective::kAllGather, "B200 SXM");
  REQUIRE(a100 != nullptr);
  CHECK(other == &all.collective.at(ProfiledCollective::kAllGather));
  CHECK(a100->at("ll").overhead > other->at("ll").overhead);
  // Not measured there: the profile's.
  CHECK(all.find(ProfiledCollective::kOneShotAllReduce, "A100 SXM 80GB") ==
        &all.collective.at(ProfiledCollective::kOneShotAllReduce));
}
