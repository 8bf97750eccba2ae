#include <catch2/catch.hpp>
#include <map>
#include <numeric>
#include <span>
#include <variant>

#include "sim/core/random.hpp"
#include "sim/program/dispatch.hpp"
#include "sim/program/step.hpp"

using namespace moesim;

namespace {

Cluster cluster_of(std::size_t gpus_per_node, std::size_t nodes) {
  ClusterConfig config;
  config.name = "test";
  config.accelerator = "h200-sxm";
  config.gpus_per_node = gpus_per_node;
  config.nodes = nodes;
  if (nodes > 1) {
    config.network = Network{};
    config.network->nic = "connectx-7-ndr";
  }
  return build_cluster(config, {"test", {}});
}

LayerPlacement contiguous(std::size_t experts, std::size_t ranks) {
  return place_experts({}, {.layers = 1, .experts = experts, .ranks = ranks}, {}).layers.front();
}

/// Payload by pair of GPUs, over all phases.
std::map<std::pair<std::size_t, std::size_t>, double> by_pair(const CollectivePhases& phases) {
  std::map<std::pair<std::size_t, std::size_t>, double> bytes;
  for (const CollectivePhase& phase : phases) {
    if (const auto* exchange = std::get_if<Exchange>(&phase)) {
      for (const Transfer& transfer : exchange->transfers) {
        if (transfer.bytes > 0.0 && transfer.from != transfer.to) {
          bytes[{transfer.from.index(), transfer.to.index()}] += transfer.bytes;
        }
      }
    }
  }
  return bytes;
}

}  // namespace

// Two nodes of two GPUs, two experts each (0,1 | 2,3 || 4,5 | 6,7). One token at rank 0, which chooses experts
// 2 and 3 (both on rank 1), 5 (rank 2) and 6 (rank 3).
TEST_CASE("one token under the three protocols") {
  const Cluster cluster = cluster_of(2, 2);
  const LayerPlacement placement = contiguous(8, 4);
  const std::vector<std::uint16_t> choices{2, 3, 5, 6};
  const std::vector<std::size_t> first_token{0, 1, 1, 1, 1};
  const LayerTraffic traffic = count_traffic(placement, cluster, choices, 4, first_token);
  CHECK(traffic.rows[1] == std::vector<std::int64_t>{1, 1});
  CHECK(traffic.rows[2] == std::vector<std::int64_t>{0, 1});
  CHECK(traffic.rows[3] == std::vector<std::int64_t>{1, 0});
  CHECK(traffic.copies_between(0, 1) == 2);
  CHECK(traffic.tokens_between(0, 1) == 1);
  using Bytes4 = std::map<std::pair<std::size_t, std::size_t>, double>;

  // Every copy by itself: two to rank 1, one each to ranks 2 and 3.
  CHECK(by_pair(dispatch_phases(traffic, {&cluster, DispatchProtocol::kDeepEpLowLatency, {}, 10.0})) ==
        Bytes4{{{0, 1}, 20.0}, {{0, 2}, 10.0}, {{0, 3}, 10.0}});
  CHECK(by_pair(combine_phases(traffic, {&cluster, DispatchProtocol::kDeepEpLowLatency, {}, 10.0})) ==
        Bytes4{{{1, 0}, 20.0}, {{2, 0}, 10.0}, {{3, 0}, 10.0}});
  // Once per GPU.
  CHECK(by_pair(dispatch_phases(traffic, {&cluster, DispatchProtocol::kPerGpu, {}, 10.0})) ==
        Bytes4{{{0, 1}, 10.0}, {{0, 2}, 10.0}, {{0, 3}, 10.0}});
  // Once over the network, to rank 2 (index 0 of node 1, as rank 0 of node 0), forwarded to rank 3.
  CHECK(by_pair(dispatch_phases(traffic, {&cluster, DispatchProtocol::kDeepEpNormal, {}, 10.0})) ==
        Bytes4{{{0, 1}, 10.0}, {{0, 2}, 10.0}, {{2, 3}, 10.0}});
  CHECK(by_pair(combine_phases(traffic, {&cluster, DispatchProtocol::kDeepEpNormal, {}, 10.0})) ==
        Bytes4{{{1, 0}, 10.0}, {{2, 0}, 10.0}, {{3, 2}, 10.0}});
}

TEST_CASE("rows, copies and transfers agree on random routing") {
  for (std::uint64_t seed = 0; seed < 20; ++seed) {
    RandomStream random(seed, "traffic");
    const std::size_t nodes = 1 + random.below(3);
    const std::size_t ranks = nodes * 4;
    const std::size_t experts = ranks * (1 + random.below(4));
    const std::size_t k = 1 + random.below(4);
    const Cluster cluster = cluster_of(4, nodes);
    const auto first_token = token_offsets(ranks, 2, static_cast<std::int64_t>(random.below(20)));
    std::vector<std::uint16_t> choices;
    for (std::size_t token = 0; token < first_token.back(); ++token) {
      std::vector<std::uint16_t> all(experts);
      std::iota(all.begin(), all.end(), std::uint16_t{0});
      random.shuffle(std::span(all));
      choices.insert(choices.end(), all.begin(), all.begin() + static_cast<std::ptrdiff_t>(k));
    }
    const LayerTraffic traffic = count_traffic(contiguous(experts, ranks), cluster, choices, k, first_token);
    // Every copy is computed once, by the rank it was sent to.
    for (std::size_t to = 0; to < ranks; ++to) {
      std::int64_t arrived = 0;
      for (std::size_t from = 0; from < ranks; ++from) {
        arrived += traffic.copies_between(from, to);
        CHECK(traffic.tokens_between(from, to) <= traffic.copies_between(from, to));
      }
      CHECK(std::accumulate(traffic.rows[to].begin(), traffic.rows[to].end(), std::int64_t{0}) == arrived);
    }
    CHECK(std::accumulate(traffic.copies.begin(), traffic.copies.end(), std::uint64_t{0}) == choices.size());
    for (const auto& [protocol, name] : EnumNames<DispatchProtocol>::names) {
      if (protocol == DispatchProtocol::kAllGather) {
        continue;  // a ring goes one way round in both
      }
      const auto sent = by_pair(dispatch_phases(traffic, {&cluster, protocol, {}, 1.0}));
      const auto back = by_pair(combine_phases(traffic, {&cluster, protocol, {}, 1.0}));
      double there_bytes = 0.0;
      for (const auto& [pair, bytes] : sent) {
        there_bytes += bytes;
        // What goes out one way comes back the other, hop by hop.
        const auto reverse = back.find({pair.second, pair.first});
        REQUIRE(reverse != back.end());
        CHECK(reverse->second == bytes);
      }
      CHECK(sent.size() == back.size());
      if (protocol == DispatchProtocol::kDeepEpLowLatency) {
        double remote = 0.0;
        for (std::size_t r = 0; r < ranks; ++r) {
          remote -= traffic.copies_between(r, r);
        }
        CHECK(there_bytes == remote + static_cast<double>(choices.size()));
      }
    }
  }
}

TEST_CASE("a group's tokens are split as evenly as whole tokens allow") {
  CHECK(token_offsets(4, 2, 5) == std::vector<std::size_t>{0, 3, 5, 8, 10});
  CHECK(token_offsets(3, 1, 2) == std::vector<std::size_t>{0, 2, 4, 6});
}

// 4 ranks in groups of 2, 600 B in all: each rank sends half of that to its partner.
TEST_CASE("group collectives stay in their group") {
  const Cluster cluster = cluster_of(4, 1);
  const auto* gather = find_algorithm(Collective::kAllGather, "ring");
  REQUIRE(gather != nullptr);
  CHECK(by_pair(gather->build({&cluster, 4, 2}, 600.0)) ==
        std::map<std::pair<std::size_t, std::size_t>, double>{
            {{0, 1}, 300.0}, {{1, 0}, 300.0}, {{2, 3}, 300.0}, {{3, 2}, 300.0}});
}

// Two nodes of two GPUs, one expert each. Rank 0's only token chooses expert 3, on the other node and the other rail:
// inside the node to rank 1, which has index 1, then along the rail to rank 3; and back.
TEST_CASE("hierarchical dispatch goes to the rail first") {
  const Cluster cluster = cluster_of(2, 2);
  const LayerTraffic traffic = count_traffic(contiguous(4, 4), cluster, std::vector<std::uint16_t>{3}, 1,
                                             std::vector<std::size_t>{0, 1, 1, 1, 1});
  const DispatchPlan plan{&cluster, DispatchProtocol::kHierarchical, {}, 10.0};
  using Pairs = std::map<std::pair<std::size_t, std::size_t>, double>;
  const CollectivePhases there = dispatch_phases(traffic, plan);
  REQUIRE(there.size() == 3);
  CHECK(by_pair({there[0]}) == Pairs{{{0, 1}, 10.0}});
  CHECK(by_pair({there[2]}) == Pairs{{{1, 3}, 10.0}});
  const CollectivePhases back = combine_phases(traffic, plan);
  CHECK(by_pair({back[0]}) == Pairs{{{3, 1}, 10.0}});
  CHECK(by_pair({back[2]}) == Pairs{{{1, 0}, 10.0}});
}

// Tokens per rank 3, 0, 2, 1: six in all. Gathering, rank r hands rank r+1 all but the latter's own; reducing, all but
// its own.
TEST_CASE("an uneven all-gather passes everything but the receiver's own") {
  const Cluster cluster = cluster_of(4, 1);
  const LayerTraffic traffic = count_traffic(contiguous(4, 4), cluster, std::vector<std::uint16_t>(6, 0), 1,
                                             std::vector<std::size_t>{0, 3, 3, 5, 6});
  const DispatchPlan plan{&cluster, DispatchProtocol::kAllGather, {}, 1.0};
  using Pairs = std::map<std::pair<std::size_t, std::size_t>, double>;
  CHECK(by_pair(dispatch_phases(traffic, plan)) == Pairs{{{0, 1}, 6.0}, {{1, 2}, 4.0}, {{2, 3}, 5.0}, {{3, 0}, 3.0}});
  CHECK(by_pair(combine_phases(traffic, plan)) == Pairs{{{0, 1}, 3.0}, {{1, 2}, 6.0}, {{2, 3}, 4.0}, {{3, 0}, 5.0}});
}

TEST_CASE("chunked attention runs what its pairs need, whatever was cached") {
  GroupedQueryAttention attention{.heads = 4, .kv_heads = 2, .head_dim = 8, .window = 8};
  attention.window_kind = WindowKind::kChunked;
  OperatorContext context;
  context.hidden = 32;
  RandomStream random(5, "stretches");
  for (int i = 0; i < 100; ++i) {
    BatchShape batch{.sequences = 3, .query = static_cast<std::int64_t>(1 + random.below(40))};
    batch.keys = batch.query + static_cast<std::int64_t>(random.below(40));
    batch.phase = i % 2 == 0 ? StepPhase::kPrefill : StepPhase::kDecode;
    batch.query = batch.phase == StepPhase::kDecode ? 1 : batch.query;
    double work = 0.0;
    for (const OperatorKernel& kernel : mixer_kernels(context, attention, batch)) {
      work += kernel.op == StepOperator::kAttention ? demand_of(kernel.kernel).work.base() : 0.0;
    }
    CAPTURE(batch.query, batch.keys);
    CHECK(work == 4.0 * 3 * 4 * 8 * chunked_pairs(batch.query, batch.keys, 8));  // 4·S·heads·d for each pair
  }
}

TEST_CASE("empty slots are sent nowhere") {
  const Cluster cluster = cluster_of(2, 1);
  const std::vector<std::uint16_t> choices{2, kNoExpert, kNoExpert, kNoExpert};
  const LayerTraffic traffic = count_traffic(contiguous(4, 2), cluster, choices, 2, std::vector<std::size_t>{0, 1, 2});
  CHECK(traffic.rows == std::vector<std::vector<std::int64_t>>{{0, 0}, {1, 0}});
  CHECK(traffic.computed == traffic.rows);
  CHECK(traffic.copies == std::vector<std::uint32_t>{0, 1, 0, 0});
}

// Two ranks of three and five tokens, four experts, groups of four tokens: the first group has three tokens of rank 0
// and one of rank 1, the second four of rank 1. Capacity 6: rank 0 sends each expert ⌊6·3/4⌋ = 4 rows and rank 1 the
// 2 left, and then 6 of its own group: 4 rows from rank 0 and 8 from rank 1, whoever chose what.
TEST_CASE("buffers of fixed size are sent and computed whole") {
  const Cluster cluster = cluster_of(2, 1);
  const std::vector<std::uint16_t> choices{0, 0, 0, 0, 0, 0, 1, kNoExpert};
  const CapacityLayout layout{4, {6, 6}};
  const LayerTraffic traffic =
      count_traffic(contiguous(4, 2), cluster, choices, 1, std::vector<std::size_t>{0, 3, 8}, {}, {.buffers = &layout});
  CHECK(traffic.rows == std::vector<std::vector<std::int64_t>>{{6, 1}, {0, 0}});
  CHECK(traffic.computed == std::vector<std::vector<std::int64_t>>{{12, 12}, {12, 12}});
  CHECK(traffic.copies == std::vector<std::uint32_t>{8, 8, 16, 16});
  CHECK(traffic.tokens == traffic.copies);
  CHECK(traffic.node_tokens == std::vector<std::uint32_t>{16, 32});
  // Dispatch of ten bytes a row: rank 0 sends its 8 rows for rank 1's two experts, rank 1 its 16.
  const DispatchPlan plan{&cluster, DispatchProtocol::kNaive, std::nullopt, 10.0};
  CHECK(by_pair(dispatch_phases(traffic, plan)) ==
        std::map<std::pair<std::size_t, std::size_t>, double>{{{0, 1}, 80.0}, {{1, 0}, 160.0}});
}

TEST_CASE("rows of a buffer are shared out among an expert's copies") {
  const Cluster cluster = cluster_of(2, 1);
  PlacementConfig config;
  config.strategy = "contiguous";
  config.redundant_experts = 2;
  const LayerPlacement placement =
      place_experts(config, {.layers = 1, .experts = 4, .ranks = 2, .redundant = 2}, {}).layers.front();
  const std::vector<std::uint16_t> choices(6, 3);
  const CapacityLayout layout{6, {5}};
  const LayerTraffic traffic =
      count_traffic(placement, cluster, choices, 1, std::vector<std::size_t>{0, 2, 6}, {}, {.buffers = &layout});
  std::int64_t computed = 0;
  std::vector<std::int64_t> of_expert(4, 0);
  for (std::size_t rank = 0; rank < 2; ++rank) {
    for (std::size_t slot = 0; slot < placement.slots_of(RankId(rank)).size(); ++slot) {
      of_expert[placement.slots_of(RankId(rank))[slot]] += traffic.computed[rank][slot];
      computed += traffic.computed[rank][slot];
      CHECK(traffic.computed[rank][slot] >= 2);  // of two copies each has ⌊5/2⌋ at least
    }
  }
  CHECK(computed == 20);
  CHECK(of_expert == std::vector<std::int64_t>(4, 5));
}

TEST_CASE("tiles fill each expert's rows up, and idle experts have none") {
  const Cluster cluster = cluster_of(2, 1);
  std::vector<std::uint16_t> choices(129, 0);
  choices.resize(129 + 128, 1);
  choices.push_back(3);
  const LayerTraffic traffic =
      count_traffic(contiguous(4, 2), cluster, choices, 1, std::vector<std::size_t>{0, 200, 258}, {}, {.tile = 128});
  CHECK(traffic.rows == std::vector<std::vector<std::int64_t>>{{129, 128}, {0, 1}});
  CHECK(traffic.computed == std::vector<std::vector<std::int64_t>>{{256, 128}, {0, 128}});
  CHECK(traffic.copies[1] == 0);
  CHECK(traffic.copies[3] == 1);  // what is sent is what was routed
}
