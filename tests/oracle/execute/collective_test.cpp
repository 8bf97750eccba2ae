#include "sim/program/collective.hpp"

#include <catch2/catch.hpp>
#include <cmath>

#include "collective_runs.hpp"
#include "sim/core/quantity.hpp"
#include "sim/core/random.hpp"
#include "sim/execute/choose.hpp"

using namespace moesim;
using namespace moesim::test;

// Collectives against their closed forms. n ranks, S bytes, alpha the latency of a path plus that of a step, B a link.
namespace {

constexpr double kNvlink = 450e9;
constexpr double kNic = 50e9;
constexpr double kNvlinkLatency = 2e-6;
constexpr double kNetworkLatency = 5e-6;

constexpr double kAlpha = kNvlinkLatency + 1e-6;

Cluster nodes_of(std::size_t gpus_per_node, std::size_t nodes, double nvlink = kNvlink) {
  ClusterConfig config;
  config.name = "test";
  config.accelerator = "h200-sxm";
  config.gpus_per_node = gpus_per_node;
  config.nodes = nodes;
  config.scale_up.bandwidth = bytes_per_second(nvlink);
  config.scale_up.latency = seconds(kNvlinkLatency);
  if (nodes > 1) {
    config.network = Network{};
    config.network->nic = "connectx-7-ndr";
    RailLeafSpine fabric;
    fabric.same_leaf_latency = seconds(kNetworkLatency);
    fabric.other_leaf_latency = seconds(kNetworkLatency);
    config.network->fabric = fabric;
  }
  return build_cluster(config, {"test", {}});
}

}  // namespace

TEST_CASE("a ring in one node: 2(n-1)(alpha + S/nB), and half of that to gather or to reduce") {
  for (const std::size_t n : {2u, 3u, 4u, 8u}) {
    CAPTURE(n);
    const Cluster cluster = nodes_of(n, 1);
    const double size = 8e6;
    const double steps = 2.0 * static_cast<double>(n - 1);
    const double step = kAlpha + size / static_cast<double>(n) / kNvlink;
    CHECK(time_of(run(cluster, Collective::kAllReduce, "ring", n, size)) == within_ticks(steps * step, 2 * steps));
    CHECK(time_of(run(cluster, Collective::kAllGather, "ring", n, size)) == within_ticks(steps / 2 * step, steps));
    CHECK(time_of(run(cluster, Collective::kReduceScatter, "ring", n, size)) == within_ticks(steps / 2 * step, steps));
  }
}

TEST_CASE("a folded ring takes as long as all its steps, and carries as much") {
  for (const std::size_t n : {2u, 5u, 8u, 24u}) {
    CAPTURE(n);
    const Cluster cluster = nodes_of(n, 1);
    const CollectiveGroups groups{&cluster, n, n};
    const auto build = [&](RingDetail detail) {
      return ring(StepOperator::kAllReduce, ProfiledCollective::kAllReduce, groups, 3e6, detail);
    };
    const Execution folded = run(cluster, build(RingDetail::kFolded), n);
    const Execution stepped = run(cluster, build(RingDetail::kEveryStep), n);
    const auto steps = static_cast<double>(2 * (n - 1));
    CHECK(time_of(folded) == within_ticks(time_of(stepped), 2 * steps));
    CHECK(folded.bytes_intra_node == Approx(stepped.bytes_intra_node).epsilon(1e-12));
  }
}

// Two nodes of four: four rings of S/4, so that each NIC passes S/32 in 14 steps; two of the eight hops of a ring have
// the network's latency. Step by step a
// part is never sent before it has come, and a rank sends one part at a time, so that the slow hops set the pace from
// the first step on; folded, latencies are averaged over the way round. Both lie between the slow hops' bytes alone and
// every step as slow as the slowest.
// Crossings of all channels, by sender and receiver: along the rail, and each NIC sends for one channel.
TEST_CASE("rings over nodes share the NICs and keep to the rails") {
  for (const std::size_t nodes : {2u, 4u, 6u}) {
    const Cluster cluster = nodes_of(4, nodes);
    const std::size_t ranks = 4 * nodes;
    const CollectivePhases phases =
        find_algorithm(Collective::kAllGather, "ring")->build({&cluster, ranks, ranks}, 1e6);
    std::vector<int> sends(ranks, 0);
    for (const Transfer& transfer : std::get<Exchange>(phases.front()).transfers) {
      if (!cluster.same_scale_up(transfer.from, transfer.to)) {
        ++sends[transfer.from.index()];
        CHECK(transfer.from.index() % 4 == transfer.to.index() % 4);
      }
    }
    CHECK(sends == std::vector<int>(ranks, 1));
  }
}

TEST_CASE("a ring over two nodes lies between its bounds, folded or not") {
  const Cluster cluster = nodes_of(4, 2);
  const CollectiveGroups groups{&cluster, 8, 8};
  for (const double size : {8e3, 8e6, 8e8}) {
    CAPTURE(size);
    const double bytes_alone = 14 * size / 32 / kNic;
    const double all_slow = bytes_alone + 14 * kNetworkLatency;
    for (const RingDetail detail : {RingDetail::kFolded, RingDetail::kEveryStep}) {
      const double time = time_of(
          run(cluster, ring(StepOperator::kAllReduce, ProfiledCollective::kAllReduce, groups, size, detail), 8));
      CHECK(time > bytes_alone);
      CHECK(time <= all_slow * (1 + 1e-9));
    }
  }
}

TEST_CASE("all-reduce by direct sends: one shot S(n-1)/B, two shots twice S(n-1)/nB") {
  const Cluster cluster = nodes_of(8, 1);
  const double size = 1e6;
  CHECK(time_of(run(cluster, Collective::kAllReduce, "one-shot", 8, size)) ==
        within_ticks(kAlpha + 7 * size / kNvlink, 3));
  CHECK(time_of(run(cluster, Collective::kAllReduce, "two-shot", 8, size)) ==
        within_ticks(2 * (kAlpha + 7 * size / 8 / kNvlink), 4));
  // The switch: S + S/n through every port.
  CHECK(time_of(run(cluster, Collective::kAllReduce, "nvls", 8, size)) ==
        within_ticks(kAlpha + size * 9 / 8 / kNvlink, 3));
}

// Four nodes of one GPU, tree 0 in heap order: 0 has children 1 and 2, 1 has child 3; tree 1 is its mirror: 3 has 2 and
// 1, 2 has 0. Three levels up and down: the last byte pays 2·2 network hops. Every node sends and receives S/2 per edge
// of a tree and direction: node 1 up to 0, down to 3 and (tree 1) up to 3: 3·S/2; node 0 down to 1 and 2, up to 2: also
// 3·S/2.
TEST_CASE("a double tree over four nodes: four hops of latency, 3/2 S through the NICs") {
  const Cluster cluster = nodes_of(1, 4);
  const double size = 4e6;
  const Execution execution = run(cluster, Collective::kAllReduce, "tree", 4, size);
  // All flows run side by side; none but the NICs limits them.
  CHECK(time_of(execution) >= 4 * kNetworkLatency + 0.5 * size / kNic);
  CHECK(time_of(execution) <= 4 * kNetworkLatency + 1.5 * size / kNic + 1e-9);
  // Two trees of three edges, up and down, S/2 each.
  CHECK(execution.bytes_inter_node == Approx(2 * 3 * 2 * size / 2).epsilon(1e-12));
}

TEST_CASE("a chain of broadcast pays every hop's latency, and the bytes once") {
  const Cluster cluster = nodes_of(8, 1);
  CHECK(time_of(run(cluster, Collective::kBroadcast, "ring", 8, 9e6)) == within_ticks(7 * kAlpha + 9e6 / kNvlink, 10));
  CHECK(time_of(run(cluster, Collective::kSendRecv, "ring", 8, 9e6)) == within_ticks(kAlpha + 9e6 / kNvlink, 3));
}

// Four chains of S/4, each over another pair of NICs. The one that ends last passes two ranks of its own node, crosses,
// passes three hops, and crosses back to the rank before its first.
TEST_CASE("a broadcast over two nodes takes all their NICs") {
  const Cluster cluster = nodes_of(4, 2);
  const double size = 80e6;
  const Execution execution = run(cluster, Collective::kBroadcast, "ring", 8, size);
  CHECK(time_of(execution) == within_ticks(5 * kAlpha + 2 * kNetworkLatency + size / 4 / kNic, 10));
  CHECK(execution.bytes_inter_node == Approx(7 * size / 4));  // but one chain, which starts at the root, crosses twice
}

// Two nodes of four, S = 8 MB, 1 MB for each rank. Pairwise: 4 MB through every NIC.
//   two-level: 3 · 2 MB inside, then 4 MB along the rail (the stride copy is a kernel that costs nothing here).
//   pxn: 4 MB through every NIC too, of which 3 came over NVLink meanwhile; one hop's latency more.
TEST_CASE("all-to-all over two nodes: pairwise, in two levels, by rail") {
  const Cluster cluster = nodes_of(4, 2);
  const double size = 8e6;
  const Execution pairwise = run(cluster, Collective::kAllToAll, "pairwise", 8, size);
  CHECK(time_of(pairwise) == within_ticks(kNetworkLatency + 4e6 / kNic, 4));
  CHECK(pairwise.bytes_inter_node == Approx(8 * 4e6));
  CHECK(pairwise.bytes_intra_node == Approx(8 * 3e6));

  CollectivePhases phases = find_algorithm(Collective::kAllToAll, "two-level")->build({&cluster, 8, 8}, size);
  REQUIRE(phases.size() == 3);
  phases[1] = std::vector<Kernel>(8, Gemm{.m = 7});  // 7 us in place of the copy
  const Execution two_level = run(cluster, std::move(phases), 8);
  CHECK(time_of(two_level) == within_ticks(kAlpha + 6e6 / kNvlink + 7e-6 + kNetworkLatency + 4e6 / kNic, 6));
  CHECK(two_level.bytes_inter_node == Approx(8 * 4e6));
  CHECK(two_level.bytes_intra_node == Approx(8 * 6e6));

  const Execution rail = run(cluster, Collective::kAllToAll, "pxn", 8, size);
  CHECK(time_of(rail) == within_ticks(kAlpha + kNetworkLatency + 4e6 / kNic, 6));
  CHECK(rail.bytes_inter_node == Approx(8 * 4e6));
}

// Two nodes of four: S·3/4 inside in 1/4 parts, half of S/4 across, and both again.
TEST_CASE("hierarchical all-reduce: twice S(G-1)/GB inside and twice S/G (N-1)/N across") {
  const Cluster cluster = nodes_of(4, 2);
  const double size = 8e6;
  const double inside = kAlpha + 0.75 * size / kNvlink;
  const double across = kNetworkLatency + size / 8 / kNic;
  CHECK(time_of(run(cluster, Collective::kAllReduce, "hierarchical", 8, size)) ==
        within_ticks(2 * (inside + across), 10));
}

TEST_CASE("collectives: more bandwidth never takes longer, more bytes never less") {
  for (const CollectiveAlgorithm& algorithm : collective_algorithms()) {
    CAPTURE(name_of(algorithm.collective), algorithm.name);
    for (const std::size_t nodes : {1u, 2u}) {
      const Cluster slow = nodes_of(4, nodes, 100e9);
      const Cluster fast = nodes_of(4, nodes, 300e9);
      const std::size_t ranks = 4 * nodes;
      if (algorithm.name == "two-level" || !algorithm.obstacle({&slow, ranks, ranks}).empty()) {
        continue;  // the stride copy's cost is not of this test's kind
      }
      double before = 0.0;
      for (const double size : {1e3, 1e5, 1e7}) {
        const Execution slowly = run(slow, algorithm.build({&slow, ranks, ranks}, size), ranks);
        const Execution quickly = run(fast, algorithm.build({&fast, ranks, ranks}, size), ranks);
        CHECK(time_of(quickly) <= time_of(slowly) * (1 + 1e-9));
        CHECK(time_of(slowly) >= before);
        CHECK(quickly.bytes_intra_node == slowly.bytes_intra_node);
        before = time_of(slowly);
      }
    }
  }
}

// A protocol's compute units: 2 units of 10 GB/s each carry 20 GB/s, whatever the link could. 7 messages of 1 MB take
// 350 us; with 1 us of each unit for every message, 7 · (100 + 1) / 2.
TEST_CASE("few compute units hold a dispatch back") {
  const Cluster cluster = nodes_of(8, 1);
  Program program;
  program.stages = 1;
  program.ranks.assign(8, {Send{0}, Receive{0}});
  Exchange exchange;
  exchange.protocol = Protocol::kHighThroughput;
  exchange.message_bytes = 1e6;
  exchange.units = 2;
  for (std::size_t from = 0; from < 8; ++from) {
    for (std::size_t to = 0; to < 8; ++to) {
      if (from != to) {
        exchange.add(RankId(from), RankId(to), 1e6);
      }
    }
  }
  program.exchanges.push_back(exchange);
  CommunicationProfile profile = stepwise();
  profile.high_throughput.dispatch.scale_up_units = UnitTerms{.scale_up = bytes_per_second(10e9)};
  const double fixed = 2e-6 + kNvlinkLatency;
  CHECK(time_of(execute(program, cluster, CountedMicroseconds(), profile)) == within_ticks(fixed + 350e-6, 3));
  profile.high_throughput.dispatch.scale_up_units->per_message = seconds(1e-6);
  CHECK(time_of(execute(program, cluster, CountedMicroseconds(), profile)) == within_ticks(fixed + 353.5e-6, 3));
  // The rank's own tokens take of the same units: 4 MB read at 40 GB/s each, 50 us with two. They have no path to take
  // and begin as soon as the kernel does, so that the units are busy from 2 us on.
  for (std::size_t rank = 0; rank < 8; ++rank) {
    program.exchanges[0].add(RankId(rank), RankId(rank), 4e6);
  }
  profile.high_throughput.dispatch.scale_up_units->token = bytes_per_second(40e9);
  const Execution execution = execute(program, cluster, CountedMicroseconds(), profile);
  CHECK(time_of(execution) == within_ticks(2e-6 + 403.5e-6, 3));
  CHECK(execution.bytes_intra_node == 56e6);
}

// The library's protocols: one quick to start, one quick to send. 1 us + S/(.1·450 GB/s) or 11 us + S/450 GB/s of a
// send to the next: equal at 10 us · 450 GB/s / 9 = 500 kB.
TEST_CASE("of a library's protocols the faster one runs") {
  const Cluster cluster = nodes_of(2, 1);
  CommunicationProfile profile = stepwise();
  profile.collective[ProfiledCollective::kPointToPoint] = {
      {"quick", {.scale_up_efficiency = 0.1, .overhead = seconds(1e-6), .path_share = 0.0}},
      {"wide", {.overhead = seconds(11e-6), .path_share = 0.0}}};
  const auto time = [&](double size) {
    const auto* algorithm = find_algorithm(Collective::kSendRecv, "ring");
    return time_of(execute(collective_program(algorithm->build({&cluster, 2, 2}, size), 2), cluster,
                           CountedMicroseconds(), profile));
  };
  CHECK(time(450e3) == within_ticks(1e-6 + 10e-6, 3));
  CHECK(time(900e3) == within_ticks(11e-6 + 2e-6, 3));
}

// Of 24 ranks on nodes of eight, groups of six: the first is inside a node, the second is not.
TEST_CASE("what is chosen runs on all groups, not only on the first") {
  const Cluster cluster = nodes_of(8, 3);
  for (const double size : {1e3, 1e6, 1e9}) {
    const CollectiveGroups groups{&cluster, 24, 6};
    const CollectiveAlgorithm& chosen =
        fastest_algorithm(Collective::kAllReduce, groups, size, CountedMicroseconds(), stepwise());
    CAPTURE(chosen.name);
    CHECK(chosen.obstacle(groups).empty());
  }
}

namespace {

constexpr double kMeshLink = 64e9;

Cluster mesh_of(std::size_t gpus_per_node, std::size_t nodes) {
  ClusterConfig config = nodes_of(gpus_per_node, nodes).config();
  config.scale_up.kind = ScaleUpKind::kMesh;
  config.scale_up.bandwidth = bytes_per_second(kMeshLink * static_cast<double>(gpus_per_node - 1));
  return build_cluster(config, {"test", {}});
}

}  // namespace

// n − 1 rings of S/(n−1), each link in one of them: 2(n−1) steps of S/n/(n−1), whatever else the node has.
TEST_CASE("on a mesh every link is in a ring") {
  const double size = 56e6;
  for (const std::size_t n : {2u, 3u, 4u, 8u}) {
    CAPTURE(n);
    const Cluster cluster = mesh_of(8, 1);
    const double steps = 2.0 * static_cast<double>(n - 1);
    const double once = steps / 2 * kAlpha + size / static_cast<double>(n) / kMeshLink;
    const Execution reduced = run(cluster, Collective::kAllReduce, "ring", n, size);
    CHECK(time_of(reduced) == within_ticks(2 * once, 2 * steps));
    CHECK(reduced.bytes_intra_node == Approx(steps * size).epsilon(1e-12));
    CHECK(time_of(run(cluster, Collective::kAllGather, "ring", n, size)) == within_ticks(once, steps));
    CHECK(time_of(run(cluster, Collective::kReduceScatter, "ring", n, size)) == within_ticks(once, steps));
    CHECK(time_of(run(cluster, Collective::kBroadcast, "ring", n, size)) ==
          within_ticks(steps / 2 * kAlpha + size / static_cast<double>(n - 1) / kMeshLink, steps));
    // Two shots put as much on each link, in two steps.
    CHECK(time_of(run(cluster, Collective::kAllReduce, "two-shot", n, size)) ==
          within_ticks(2 * (kAlpha + size / static_cast<double>(n) / kMeshLink), 4));
  }
}

// Four channels of S/4 over three nodes of four: in each node four ways of three hops, which take all twelve links.
TEST_CASE("rings over meshes take each link once, and each NIC") {
  const Cluster cluster = mesh_of(4, 3);
  const double size = 12e6;
  const Execution execution = run(cluster, Collective::kAllGather, "ring", 12, size);
  for (std::size_t link = 0; link < cluster.links().size(); ++link) {
    if (cluster.links()[link].kind == LinkKind::kScaleUp) {
      CAPTURE(cluster.link_name(LinkId(link)));
      CHECK(execution.link_bytes[link] == Approx(11.0 / 12.0 * size / 4.0).epsilon(1e-12));
    }
  }
  CHECK(execution.bytes_inter_node == Approx(3 * 4 * 11.0 / 12.0 * size / 4.0).epsilon(1e-12));
}

// Every second GPU of a node, two groups at once, each with links of its own: as four neighbours. Every eighth GPU of
// four nodes: a group on each rail, which all hops keep to.
TEST_CASE("rings of ranks with a stride take as long as rings of neighbours on links like theirs") {
  const double size = 8e6;
  const auto strided = [&](const Cluster& cluster, std::size_t ranks, std::size_t stride) {
    return ring(StepOperator::kReduceScatter, ProfiledCollective::kReduceScatter, {&cluster, ranks, 4, stride}, size,
                RingDetail::kFolded);
  };
  const Cluster node = nodes_of(8, 1);
  CHECK(time_of(run(node, strided(node, 8, 2), 8)) == within_ticks(3 * (kAlpha + size / 4 / kNvlink), 6));

  const Cluster four = nodes_of(8, 4);
  const CollectivePhases phases = strided(four, 32, 8);
  for (const Transfer& transfer : std::get<Exchange>(phases.front()).transfers) {
    CHECK(transfer.from.index() % 8 == transfer.to.index() % 8);
  }
  CHECK(time_of(run(four, phases, 32)) == within_ticks(3 * (kNetworkLatency + size / 4 / kNic), 6));
}
