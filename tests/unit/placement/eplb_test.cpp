#include "sim/placement/eplb.hpp"

#include <algorithm>
#include <catch2/catch.hpp>
#include <numeric>

#include "eplb_reference.hpp"
#include "sim/core/random.hpp"
#include "sim/placement/placement.hpp"

using namespace moesim;
using namespace moesim::test;

namespace {

using Row = std::vector<std::uint16_t>;
using Counts = std::vector<std::uint32_t>;

/// The two layers of the README of deepseek-ai/EPLB.
const std::vector<double> kFirst{90, 132, 40, 61, 104, 165, 39, 4, 73, 56, 183, 86};
const std::vector<double> kSecond{20, 107, 104, 64, 19, 197, 187, 157, 172, 86, 16, 27};

double max_over_mean(const std::vector<double>& loads, const Row& phy2log, std::size_t gpus) {
  return load_imbalance(rank_loads(layer_of_slots(loads.size(), gpus, phy2log), loads));
}

}  // namespace

// The values are those that its README prints, and what its code returns for the other two calls.
TEST_CASE("EPLB: the example of its README, hierarchical") {
  const EplbLayer first = eplb(kFirst, {16, 4, 2, 8});
  CHECK(first.phy2log == Row{5, 6, 5, 7, 8, 4, 3, 4, 10, 9, 10, 2, 0, 1, 11, 1});
  CHECK(first.logcnt == Counts{1, 2, 1, 1, 2, 2, 1, 1, 1, 1, 2, 1});
  const EplbLayer second = eplb(kSecond, {16, 4, 2, 8});
  CHECK(second.phy2log == Row{7, 10, 6, 8, 6, 11, 8, 9, 2, 4, 5, 1, 5, 0, 3, 1});
  CHECK(second.logcnt == Counts{1, 2, 1, 1, 1, 2, 2, 1, 2, 1, 1, 1});
  // Copies in the order of their creation: expert 5's first copy went to slot 0, its second to slot 2.
  CHECK(first.log2phy(2)[5] == std::vector<int>{0, 2});
  CHECK(first.log2phy(2)[6] == std::vector<int>{1, -1});
  CHECK(max_over_mean(kFirst, first.phy2log, 8) == Approx(1.2081).margin(5e-5));
  CHECK(max_over_mean(kSecond, second.phy2log, 8) == Approx(1.2422).margin(5e-5));
}

TEST_CASE("EPLB: the same loads by the global policy, which three groups on two nodes fall back to") {
  for (const std::size_t groups : {std::size_t{1}, std::size_t{3}}) {
    const EplbLayer first = eplb(kFirst, {16, groups, 2, 8});
    CHECK(first.phy2log == Row{10, 6, 10, 7, 0, 2, 11, 4, 5, 9, 5, 4, 8, 3, 1, 1});
    const EplbLayer second = eplb(kSecond, {16, groups, 2, 8});
    CHECK(second.phy2log == Row{1, 10, 2, 4, 5, 11, 5, 0, 6, 7, 6, 3, 8, 8, 9, 7});
    CHECK(max_over_mean(kFirst, first.phy2log, 8) == Approx(1.0726).margin(5e-5));
    CHECK(max_over_mean(kSecond, second.phy2log, 8) == Approx(1.1903).margin(5e-5));
  }
}

TEST_CASE("EPLB: without redundant experts it only packs") {
  const EplbLayer first = eplb(kFirst, {12, 4, 2, 4});
  const EplbLayer second = eplb(kSecond, {12, 4, 2, 4});
  CHECK(first.phy2log == Row{5, 3, 7, 4, 8, 6, 10, 11, 2, 1, 0, 9});
  CHECK(second.phy2log == Row{6, 9, 11, 8, 7, 10, 5, 3, 4, 1, 2, 0});
  CHECK(max_over_mean(kFirst, first.phy2log, 4) == Approx(1.1965).margin(5e-5));
  CHECK(max_over_mean(kSecond, second.phy2log, 4) == Approx(1.1938).margin(5e-5));
}

// Small whole numbers make ties, thirds make fp32 rounding matter.
TEST_CASE("EPLB: all three outputs equal the reference on 1,000 random cases") {
  for (std::size_t test = 0; test < 1000; ++test) {
    RandomStream random(7, "eplb.cases", test);
    const std::size_t nodes = 1 + random.below(4);
    const std::size_t gpus = nodes * (1 + random.below(4));
    const std::size_t groups = random.below(4) == 0 ? 3 : nodes * (1 + random.below(3));
    const std::size_t lcm = std::lcm(groups, nodes);  // the experts that both divide
    const std::size_t experts = lcm * (1 + random.below(4));
    std::size_t replicas = gpus * (1 + random.below(5));
    while (replicas < experts) {
      replicas += gpus;
    }
    std::vector<double> loads(experts);
    const bool ties = random.below(2) == 0;
    for (double& load : loads) {
      load = ties ? static_cast<double>(random.below(6)) : static_cast<double>(random.below(1000000)) / 3.0;
    }
    const std::vector<float> weights(loads.begin(), loads.end());
    INFO("case " << test << ": " << experts << " experts, " << replicas << " slots, " << groups << " groups, " << nodes
                 << " nodes, " << gpus << " GPUs");
    const EplbLayer ours = eplb(loads, {replicas, groups, nodes, gpus});
    const ReferenceResult theirs = reference_rebalance(weights, static_cast<int>(replicas), static_cast<int>(groups),
                                                       static_cast<int>(nodes), static_cast<int>(gpus));
    REQUIRE(std::vector<int>(ours.phy2log.begin(), ours.phy2log.end()) == theirs.phy2log);
    REQUIRE(std::vector<int>(ours.logcnt.begin(), ours.logcnt.end()) == theirs.logcnt);
    REQUIRE(ours.log2phy(theirs.log2phy.front().size()) == theirs.log2phy);
  }
}
