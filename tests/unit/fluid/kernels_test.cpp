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
    const BlockKernels& fast = block_kernels();
    const BlockKernels& plain = portable_block_kernels();
    CHECK(fast.least_owned(row.data(), row.size(), level.data()) ==
          plain.least_owned(row.data(), row.size(), level.data()));
    CHECK(fast.greatest_owning(row.data(), row.size(), level.data()) ==
          plain.greatest_owning(row.data(), row.size(), level.data()));
    AlignedVector<double> same = free;
    std::vector<std::uint32_t> below(row.size());
    std::vector<std::uint32_t> same_below(row.size());
    const double change = random.uniform() - 0.5;
    fast.subtract(row.data(), row.size(), weights.data(), change, free.data(), slack.data(), below.data());
    plain.subtract(row.data(), row.size(), weights.data(), change, same.data(), slack.data(), same_below.data());
    CHECK(free == same);
    CHECK(below == same_below);
  }
}

}  // namespace
}  // namespace moesim::fluid
