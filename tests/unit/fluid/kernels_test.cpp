// The loops over rows give the same bits with and without vector instructions.
#include <algorithm>
#include <catch2/catch.hpp>
#include <vector>

#include "sim/core/random.hpp"
#include "sim/fluid/aligned.hpp"
#include "sim/fluid/block_kernels.hpp"
#include "sim/fluid/lane_kernels.hpp"

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
    RowMove move{.row = row.data(),
                 .blocks = row.size(),
                 .wanted = trial % 3 == 0   ? Wanted::kBoth
                           : trial % 3 == 1 ? Wanted::kLeastOwned
                                            : Wanted::kGreatestOwning,
                 .weights = weights.data(),
                 .change = random.uniform() - 0.5,
                 .level = level.data(),
                 .free = nullptr,
                 .slack = slack.data(),
                 .below = nullptr};
    struct Result {
      AlignedVector<double> free;
      std::vector<std::uint32_t> below;
      RowLevels levels = {};
    };
    const auto run = [&](const BlockKernels& kernels) {
      Result result{.free = free, .below = std::vector<std::uint32_t>(row.size())};
      move.free = result.free.data();
      move.below = result.below.data();
      result.levels = kernels.move(move);
      return result;
    };
    const std::vector<const BlockKernels*> all = all_block_kernels();
    const Result plain = run(*all[0]);
    for (const BlockKernels* const kernels : all) {
      const Result fast = run(*kernels);
      CHECK(fast.levels.least_owned == plain.levels.least_owned);
      CHECK(fast.levels.greatest_owning == plain.levels.greatest_owning);
      CHECK(fast.free == plain.free);
      CHECK(fast.below == plain.below);
    }
  }
}

TEST_CASE("The earliest of a block is the same with and without vector instructions", "[fluid]") {
  RandomStream random(7, "earliest");
  for (int trial = 0; trial < 200; ++trial) {
    AlignedVector<std::int64_t> ticks;
    for (std::size_t lane = 0; lane < kBlock; ++lane) {
      ticks.push_back(static_cast<std::int64_t>(random.bits()));  // of either sign, up to the ends of the range
    }
    for (const BlockKernels* const kernels : all_block_kernels()) {
      CHECK(kernels->earliest(ticks.data()) == *std::min_element(ticks.begin(), ticks.end()));
    }
  }
}

// Five packs of flows to the tails of packs 2, 0, 3, 0 and 1, some of them of the same; a third has nothing left.
TEST_CASE("Loops over packs round alike with and without vector instructions, and are what they say", "[fluid]") {
  RandomStream random(6, "lane kernels");
  constexpr std::size_t kTails = 4 * kLanes;
  const std::vector<std::uint32_t> pack_tail{2, 0, 3, 0, 1};
  const std::size_t flows = kLanes * pack_tail.size();
  const auto draw = [&](std::size_t count) {
    AlignedVector<float> values;
    for (std::size_t i = 0; i < count; ++i) {
      values.push_back(static_cast<float>(random.uniform()));
    }
    return values;
  };
  for (int trial = 0; trial < 200; ++trial) {
    AlignedVector<float> left = draw(flows);
    for (std::size_t flow = 0; flow < flows; flow += 3) {
      left[flow] = 0.0F;
    }
    const AlignedVector<float> level = draw(kTails);
    const AlignedVector<float> elsewhere = draw(kTails);
    const AlignedVector<float> here = draw(kTails);
    const auto inverse_length = static_cast<float>(0.5 + 2.0 * random.uniform());
    const auto least = trial % 2 == 0 ? kNoLevel : static_cast<float>(random.uniform());
    const auto own = static_cast<float>(random.uniform());
    const float most = std::min(least, own);
    struct Result {
      AlignedVector<float> left, elsewhere, here;
      AlignedVector<float> limit;
      Sums limits = {}, sums = {}, scattered = {};
      std::size_t ends = 0;
      std::vector<std::uint32_t> places = {};
      std::vector<float> had = {};
    };
    const auto run = [&](const LaneKernels& kernels) {
      Result result{.left = left, .elsewhere = elsewhere, .here = here, .limit = AlignedVector<float>(flows)};
      const Packs packs{pack_tail.size(), pack_tail.data(), result.left.data(), result.limit.data()};
      result.limits = kernels.limits(packs, level.data(), inverse_length, least, own);
      result.sums = kernels.sums(result.limit.data(), pack_tail.size(), 0.5F * own);
      result.scattered =
          kernels.scatter(packs, {level.data(), result.elsewhere.data(), result.here.data()}, least, own);
      result.ends = kernels.ends(packs, level.data(), most, 1.0F / inverse_length);
      result.places.resize(flows);
      result.had.resize(flows);
      const std::size_t through = kernels.advance(packs, level.data(), most, 1.0F / inverse_length, 1e-6F,
                                                  result.places.data(), result.had.data());
      result.places.resize(through);
      result.had.resize(through);
      return result;
    };
    const std::vector<const LaneKernels*> all = all_lane_kernels();
    const Result plain = run(*all[0]);
    for (const LaneKernels* const kernels : all) {
      const Result fast = run(*kernels);
      CHECK(fast.left == plain.left);
      CHECK(fast.limit == plain.limit);
      CHECK(fast.elsewhere == plain.elsewhere);
      CHECK(fast.here == plain.here);
      for (const auto sums : {&Result::limits, &Result::sums, &Result::scattered}) {
        CHECK((fast.*sums).held_elsewhere == (plain.*sums).held_elsewhere);
        CHECK((fast.*sums).held_here == (plain.*sums).held_here);
      }
      CHECK(fast.ends == plain.ends);
      CHECK(fast.places == plain.places);
      CHECK(fast.had == plain.had);
    }
    // Flow by flow.
    double held_elsewhere = 0.0;
    double held_here = 0.0;
    AlignedVector<float> tail_here = here;
    std::vector<std::uint32_t> through;
    for (std::size_t flow = 0; flow < flows; ++flow) {
      const std::size_t tail = kLanes * pack_tail[flow / kLanes] + flow % kLanes;
      const float limit = std::min({left[flow] * inverse_length, level[tail], least});
      CHECK(plain.limit[flow] == limit);
      (limit >= own ? held_here : held_elsewhere) += limit >= own ? 1.0 : static_cast<double>(limit);
      tail_here[tail] += std::min(limit, own) >= level[tail] ? 1.0F : 0.0F;
      if (left[flow] > 0.0F && left[flow] <= std::min(level[tail], most) / inverse_length) {
        through.push_back(static_cast<std::uint32_t>(flow));
      }
    }
    CHECK(plain.limits.held_elsewhere == Approx(held_elsewhere).epsilon(1e-6).margin(0.0));
    CHECK(plain.limits.held_here == held_here);
    CHECK(plain.here == tail_here);
    CHECK(plain.ends == Approx(static_cast<double>(through.size())).margin(1.0));  // one may be on the edge
    CHECK(plain.places.size() == Approx(static_cast<double>(through.size())).margin(1.0));
    for (const std::uint32_t place : plain.places) {
      CHECK(plain.left[place] == 0.0F);
    }
  }
}

}  // namespace
}  // namespace moesim::fluid
