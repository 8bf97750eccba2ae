// The loops over rows give the same bits with and without vector instructions.
#include <catch2/catch.hpp>
#include <vector>

#include "sim/core/random.hpp"
#include "sim/fluid/aligned.hpp"
#include "sim/fluid/block_kernels.hpp"

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

}  // namespace
}  // namespace moesim::fluid
