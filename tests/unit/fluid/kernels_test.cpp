// The loops over rows give the same bits with and without vector instructions.
#include <algorithm>
#include <catch2/catch.hpp>
#include <vector>

#include "sim/core/random.hpp"
#include "sim/fluid/aligned.hpp"
#include "sim/fluid/block_kernels.hpp"
#include "sim/fluid/run_kernels.hpp"

namespace moesim::fluid {
namespace {

TEST_CASE("Vectors round as scalars do", "[fluid]") {
  RandomStream random(5, "block kernels");
  constexpr std::size_t kBlocks = 5;
  for (int trial = 0; trial < 200; ++trial) {
    AlignedVector<double> level;
    AlignedVector<double> free;
    AlignedVector<double> weights;
    AlignedVector<double> slack;
    for (std::size_t i = 0; i < kBlocks * kBlock; ++i) {
      level.push_back(random.uniform());
      free.push_back(random.uniform() - 0.3);
      slack.push_back(0.1 * random.uniform());
      weights.push_back(random.uniform());
    }
    std::vector<RowBlock> row;
    for (std::uint32_t block = 0; block < kBlocks; block += 2) {
      RowBlock& part = row.emplace_back();
      part.block = block;
      part.owned = static_cast<std::uint32_t>(random.bits());
      part.owning = static_cast<std::uint32_t>(random.bits());
      part.storage = block;
      if (random.below(2) == 0) {
        part.uniform = 0.7;
        for (std::size_t lane = 0; lane < kBlock; ++lane) {
          weights[kBlock * block + lane] = 0.7;
        }
      }
    }
    AlignedVector<double> same = free;
    std::vector<std::uint32_t> below(row.size());
    std::vector<std::uint32_t> same_below(row.size());
    RowMove move{.row = row.data(),
                 .blocks = row.size(),
                 .wanted = trial % 3 == 0   ? Wanted::kBoth
                           : trial % 3 == 1 ? Wanted::kLeastOwned
                                            : Wanted::kGreatestOwning,
                 .weights = weights.data(),
                 .change = random.uniform() - 0.5,
                 .level = level.data(),
                 .free = free.data(),
                 .slack = slack.data(),
                 .below = below.data()};
    const RowLevels fast = block_kernels().move(move);
    move.free = same.data();
    move.below = same_below.data();
    const RowLevels plain = portable_block_kernels().move(move);
    CHECK(fast.least_owned == plain.least_owned);
    CHECK(fast.greatest_owning == plain.greatest_owning);
    CHECK(free == same);
    CHECK(below == same_below);
  }
}

// Two runs: of 21 flows, whose first further link is each another and whose second is one for all, and of 6, the other
// way round; a third of the flows has nothing left.
TEST_CASE("Loops over runs round alike with and without vector instructions") {
  RandomStream random(6, "run kernels");
  constexpr std::size_t kLinks = 64;
  constexpr std::size_t kFlows = 27;
  const std::vector<Run> runs{{0, 21, 0}, {21, 6, 2}};
  const std::vector<RunLink> links{{3, 1}, {40, 0}, {41, 0}, {30, 1}};
  const auto draw = [&](std::size_t count) {
    std::vector<double> values;
    for (std::size_t i = 0; i < count; ++i) {
      values.push_back(random.uniform());
    }
    return values;
  };
  for (int trial = 0; trial < 200; ++trial) {
    std::vector<double> left = draw(kFlows);
    for (std::size_t flow = 0; flow < kFlows; flow += 3) {
      left[flow] = 0.0;
    }
    const std::vector<double> level = draw(kLinks);
    const double inverse_length = trial % 2 == 0 ? 0.0 : 2.0 * random.uniform();
    const double own = random.uniform();
    struct Result {
      std::vector<double> limit = std::vector<double>(kFlows);
      std::vector<double> elsewhere;
      std::vector<double> here;
      Sums sums;
    };
    const std::vector<double> elsewhere = draw(kLinks);
    const std::vector<double> here = draw(kLinks);
    const auto run = [&](const RunKernels& kernels) {
      Result result{.elsewhere = elsewhere, .here = here, .sums = {}};
      const RunRow row{.runs = runs,
                       .links = links.data(),
                       .others = 2,
                       .left = left.data(),
                       .flows = kFlows,
                       .level = level.data(),
                       .limit = result.limit.data(),
                       .elsewhere = result.elsewhere.data(),
                       .here = result.here.data()};
      kernels.limits(row, inverse_length);
      result.sums = kernels.sums(result.limit.data(), kFlows, own);
      kernels.scatter(row, own);
      return result;
    };
    const Result fast = run(run_kernels());
    const Result plain = run(portable_run_kernels());
    CHECK(fast.limit == plain.limit);
    CHECK(fast.elsewhere == plain.elsewhere);
    CHECK(fast.here == plain.here);
    CHECK(fast.sums.held_elsewhere == plain.sums.held_elsewhere);
    CHECK(fast.sums.held_here == plain.sums.held_here);
    // And are what they say, flow by flow.
    for (std::size_t flow = 0; flow < kFlows; ++flow) {
      const double a = flow < 21 ? level[3 + flow] : level[41];
      const double b = flow < 21 ? level[40] : level[30 + flow - 21];
      const double most = inverse_length > 0.0 ? left[flow] * inverse_length : left[flow] > 0.0 ? kNoLimit : 0.0;
      CHECK(plain.limit[flow] == std::min({most, a, b}));
    }
  }
}

}  // namespace
}  // namespace moesim::fluid
