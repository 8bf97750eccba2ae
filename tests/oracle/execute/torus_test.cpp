#include <catch2/catch.hpp>
#include <numeric>
#include <set>
#include <utility>
#include <vector>

#include "collective_runs.hpp"
#include "sim/core/quantity.hpp"

using namespace moesim;
using namespace moesim::test;

// Collectives on tori against their closed forms: S bytes, alpha the latency of a link plus that of a step, B a link.
namespace {

constexpr double kChipLink = 45e9;
constexpr double kChipLatency = 1e-6;
constexpr double kChipAlpha = kChipLatency + 1e-6;

Cluster torus_of(std::vector<std::size_t> shape, TorusEdge edge) {
  ClusterConfig config;
  config.name = "test";
  config.accelerator = "tpu-v4";
  config.gpus_per_node = 1;
  for (const std::size_t chips : shape) {
    config.gpus_per_node *= chips;
  }
  config.nodes = 1;
  config.scale_up.kind = ScaleUpKind::kTorus;
  config.scale_up.bandwidth = bytes_per_second(2.0 * static_cast<double>(shape.size()) * kChipLink);
  config.scale_up.latency = seconds(kChipLatency);
  config.scale_up.torus = Torus{shape, std::vector<TorusEdge>(shape.size(), edge)};
  return build_cluster(config, {"test", {}});
}

}  // namespace

// 4 x 4 chips, S in two shares of S/2, half of each both ways round its ring. While share 0 is reduced along one
// dimension share 1 is along the other: 3/4 · S/4 over every link, to chips at most 2 hops away. Then they change
// dimensions with a quarter each: 3/4 · S/16. To gather, the same again.
TEST_CASE("on a torus all links work at once, dimension by dimension") {
  const Cluster cluster = torus_of({4, 4}, TorusEdge::kWrap);
  const double size = 16e6;
  const double once = 4.0 * kChipAlpha + (3.0 / 16.0 + 3.0 / 64.0) * size / kChipLink;
  const Execution reduced = run(cluster, Collective::kReduceScatter, "torus", 16, size);
  CHECK(time_of(reduced) == within_ticks(once, 12));
  CHECK(time_of(run(cluster, Collective::kAllGather, "torus", 16, size)) == within_ticks(once, 12));
  const Execution all = run(cluster, Collective::kAllReduce, "torus", 16, size);
  CHECK(time_of(all) == within_ticks(2.0 * once, 24));
  CHECK(all.bytes_intra_node == Approx(16.0 * 2.0 * size * 15.0 / 16.0).epsilon(1e-12));  // 2 S (N-1)/N a chip
  // One ring through all chips uses one link of four, in 2 · 15 steps.
  CHECK(time_of(run(cluster, Collective::kAllReduce, "ring", 16, size)) > 3.0 * time_of(all));
}

// On a line of four, what is bound for the three chips beyond the first link passes it: 3/4 S.
TEST_CASE("on a line the end links carry (n-1)/n of the data") {
  const Cluster cluster = torus_of({4}, TorusEdge::kOpen);
  const double size = 8e6;
  const double expected = 3.0 * kChipAlpha + 0.75 * size / kChipLink;
  CHECK(time_of(run(cluster, Collective::kReduceScatter, "torus", 4, size)) == within_ticks(expected, 8));
  CHECK(time_of(run(cluster, Collective::kAllGather, "torus", 4, size)) == within_ticks(expected, 8));
}

TEST_CASE("groups that are boxes run side by side, others do not") {
  const Cluster cluster = torus_of({2, 4, 4}, TorusEdge::kWrap);
  const CollectiveAlgorithm& torus = *find_algorithm(Collective::kAllReduce, "torus");
  for (const std::size_t size : {2u, 4u, 8u, 16u, 32u}) {
    CHECK(torus.obstacle({&cluster, 32, size}).empty());
  }
  const char* const no_boxes = "it needs boxes of chips: last dimensions, whole but for the first of them";
  CHECK(torus.obstacle({&cluster, 3, 3}).empty());
  CHECK(torus.obstacle({&cluster, 12, 12}).empty());
  CHECK(torus.obstacle({&cluster, 6, 3}) == no_boxes);    // the second would go round a corner
  CHECK(torus.obstacle({&cluster, 24, 12}) == no_boxes);  // as would this
  CHECK(torus.obstacle({&cluster, 5, 5}) == no_boxes);
  const Cluster node = h200_nodes(8, 1);
  CHECK(torus.obstacle({&node, 8, 8}) == "it needs a torus");
  const double size = 16e6;
  const Execution groups = run(cluster, torus.build({&cluster, 32, 16}, size), 32);
  const Cluster one = torus_of({4, 4}, TorusEdge::kWrap);
  // The same rings, on chips with a third pair of links.
  CHECK(time_of(groups) == within_ticks(time_of(run(one, Collective::kAllReduce, "torus", 16, size)), 24));
}

// Eight chips are a ring of four by a line of two. While one half of S goes round the ring, 3/8 of it over each link in
// 2 steps, the other is halved along the line: S/4. Then S/8 along the line, S/16 over its link, and S/4 round the
// ring, 3/32 S.
TEST_CASE("a dimension that is filled in part is a line") {
  const Cluster cluster = torus_of({2, 4, 4}, TorusEdge::kWrap);
  const double size = 64e6;
  const double expected = 3.0 * kChipAlpha + (1.0 / 4.0 + 3.0 / 32.0) * size / kChipLink;
  const CollectiveAlgorithm& torus = *find_algorithm(Collective::kReduceScatter, "torus");
  CHECK(time_of(run(cluster, torus.build({&cluster, 8, 8}, size), 8)) == within_ticks(expected, 8));
  CHECK(time_of(run(cluster, torus.build({&cluster, 32, 8}, size), 32)) == within_ticks(expected, 8));
}

// Blocks of S/n to chips at most n/2 away: half of n²/4 blocks over each link (a quarter less than a block's half for
// an odd n), which is what the ring's bisection allows: half of the data of half of the chips over two links each way.
TEST_CASE("all-to-all on a ring: n/2 steps, n/8 S over each link") {
  const double size = 64e6;
  for (const std::size_t n : {3u, 4u, 5u, 8u}) {
    CAPTURE(n);
    const Cluster cluster = torus_of({n}, TorusEdge::kWrap);
    const double blocks = n % 2 == 0 ? static_cast<double>(n * n) / 8.0 : static_cast<double>(n * n - 1) / 8.0;
    const double bytes_alone = blocks * size / static_cast<double>(n) / kChipLink;
    const auto hops = static_cast<double>(n / 2);
    CHECK(time_of(run(cluster, Collective::kAllToAll, "torus", n, size)) ==
          within_ticks(hops * kChipAlpha + bytes_alone, 8));
    // Flows between all pairs keep the links busy from when the nearest begin.
    CHECK(time_of(run(cluster, Collective::kAllToAll, "pairwise", n, size)) ==
          within_ticks(kChipAlpha + bytes_alone, 8));
  }
}

// What is sent from one half of a line of n to the other, n/2 · S/2, has one link.
TEST_CASE("all-to-all on a line: n-1 steps, n/4 S over the link in the middle") {
  const Cluster cluster = torus_of({4}, TorusEdge::kOpen);
  const double size = 8e6;
  CHECK(time_of(run(cluster, Collective::kAllToAll, "torus", 4, size)) ==
        within_ticks(3.0 * kChipAlpha + size / kChipLink, 8));
}

// D shares of S/D at once, each along another dimension, D times: n/8 S for the longest dimension's n, as with direct
// flows, which the bisection across that dimension bounds.
TEST_CASE("all-to-all on a torus is as long as its longest dimension's") {
  const double size = 64e6;
  const auto carried = [](const Execution& execution) {
    return std::accumulate(execution.link_bytes.begin(), execution.link_bytes.end(), 0.0);
  };
  const auto compare = [&](const std::vector<std::size_t>& shape, double longest, double steps) {
    const Cluster cluster = torus_of(shape, TorusEdge::kWrap);
    const std::size_t chips = cluster.gpus();
    const double bytes_alone = longest / 8.0 * size / kChipLink;
    const Execution torus = run(cluster, Collective::kAllToAll, "torus", chips, size);
    const Execution direct = run(cluster, Collective::kAllToAll, "pairwise", chips, size);
    CHECK(time_of(torus) == within_ticks(steps * kChipAlpha + bytes_alone, 20));
    CHECK(time_of(direct) > bytes_alone);
    CHECK(time_of(direct) < time_of(torus));
    CHECK(carried(torus) == Approx(carried(direct)).epsilon(1e-12));
  };
  compare({4, 4}, 4.0, 4.0);
  compare({4, 4, 4}, 4.0, 6.0);
}

namespace {

/// Who sends to whom in a broadcast: no hop twice, each over one link, and everybody but the root gets all of S.
void check_trees(const Cluster& cluster, const CollectiveGroups& groups, double size) {
  const CollectivePhases phases = find_algorithm(Collective::kBroadcast, "torus")->build(groups, size);
  REQUIRE(phases.size() == 1);
  std::set<std::pair<RankId, RankId>> hops;
  std::vector<double> got(groups.ranks, 0.0);
  for (const Transfer& transfer : std::get<Exchange>(phases.front()).transfers) {
    CHECK(hops.emplace(transfer.from, transfer.to).second);
    CHECK(cluster.route(transfer.from, transfer.to).hops.size() == 1);
    got[transfer.to.index()] += transfer.bytes;
  }
  for (std::size_t rank = 0; rank < groups.ranks; ++rank) {
    CHECK(got[rank] == Approx(rank % groups.size == 0 ? 0.0 : size).margin(1e-6));
  }
}

}  // namespace

TEST_CASE("the trees of a broadcast have no link in common") {
  using Shape = std::vector<std::size_t>;
  for (const TorusEdge edge : {TorusEdge::kWrap, TorusEdge::kOpen}) {
    for (const Shape& shape : {Shape{5}, Shape{2, 2}, Shape{4, 3}, Shape{3, 1, 5}, Shape{3, 4, 5}, Shape{2, 3, 4}}) {
      const Cluster cluster = torus_of(shape, edge);
      check_trees(cluster, {&cluster, cluster.gpus(), cluster.gpus()}, 60e6);
    }
  }
  const Cluster cluster = torus_of({2, 4, 4}, TorusEdge::kWrap);
  check_trees(cluster, {&cluster, 32, 8}, 60e6);
}

// As many shares as the root has links. Round two rings of four the farthest chip is one whose place is the root's in
// the dimension that its tree leaves by: 3 + 3 hops to the chip before it there, and one more. On a line of four all
// of S takes the root's one link; on a line of two by a ring of four, half of it each of the root's sides.
TEST_CASE("a broadcast takes all links of the root at once") {
  const double size = 36e6;
  const auto time = [&](const std::vector<std::size_t>& shape, TorusEdge edge) {
    const Cluster cluster = torus_of(shape, edge);
    return time_of(run(cluster, Collective::kBroadcast, "torus", cluster.gpus(), size));
  };
  CHECK(time({4, 4}, TorusEdge::kWrap) == within_ticks(7 * kChipAlpha + size / 4 / kChipLink, 20));
  CHECK(time({4, 4, 4}, TorusEdge::kWrap) == within_ticks(10 * kChipAlpha + size / 6 / kChipLink, 20));
  CHECK(time({4}, TorusEdge::kOpen) == within_ticks(3 * kChipAlpha + size / kChipLink, 20));
  CHECK(time({2, 4}, TorusEdge::kWrap) == within_ticks(5 * kChipAlpha + size / 2 / kChipLink, 20));
}

// The next rank is the next chip, or at the end of a row two hops away, over links that nobody else uses: no way by
// dimension could be faster, but for the ring's long way round.
TEST_CASE("send and receive on a torus have a link each") {
  const Cluster cluster = torus_of({4, 4}, TorusEdge::kWrap);
  const double size = 9e6;
  CHECK(time_of(run(cluster, Collective::kSendRecv, "ring", 16, size)) ==
        within_ticks(2 * kChipLatency + 1e-6 + size / kChipLink, 4));
}

TEST_CASE("a step's groups gather by dimension where they can") {
  const Cluster torus = torus_of({4, 4}, TorusEdge::kWrap);
  CHECK(usual_algorithm(Collective::kAllGather, {&torus, 16, 8}).name == "torus");
  CHECK(usual_algorithm(Collective::kReduceScatter, {&torus, 6, 3}).name == "ring");
  const Cluster node = h200_nodes(8, 1);
  CHECK(usual_algorithm(Collective::kAllGather, {&node, 8, 8}).name == "ring");
}
