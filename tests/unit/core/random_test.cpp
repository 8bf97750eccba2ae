#include "sim/core/random.hpp"

#include <algorithm>
#include <array>
#include <catch2/catch.hpp>
#include <cmath>
#include <map>
#include <numeric>
#include <set>
#include <span>
#include <vector>

#include "sim/core/error.hpp"

using namespace moesim;

TEST_CASE("Philox4x32-10 gives the known answers of Random123") {
  // kat_vectors of the Random123 distribution, philox4x32 10.
  using Counter = std::array<std::uint32_t, 4>;
  CHECK(philox4x32({0, 0, 0, 0}, {0, 0}) == Counter{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8});
  CHECK(philox4x32({0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff}, {0xffffffff, 0xffffffff}) ==
        Counter{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd});
  CHECK(philox4x32({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}) ==
        Counter{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1});
}

namespace {
std::vector<std::uint64_t> draw(RandomStream stream, std::size_t count) {
  std::vector<std::uint64_t> bits(count);
  std::generate(bits.begin(), bits.end(), [&] { return stream.bits(); });
  return bits;
}
}  // namespace

TEST_CASE("a stream repeats itself, and differs by seed, name and index") {
  const auto reference = draw(RandomStream(1, "arrivals", 0), 16);
  CHECK(draw(RandomStream(1, "arrivals"), 16) == reference);
  CHECK(draw(RandomStream(2, "arrivals"), 16) != reference);
  CHECK(draw(RandomStream(1, "lengths"), 16) != reference);
  CHECK(draw(RandomStream(1, "arrivals", 1), 16) != reference);
}

TEST_CASE("streams do not run into each other") {
  // 64-bit numbers from 1000 streams, 100 each: 1e5 draws collide with probability 1e10 / 2^65 = 3e-10. Equal numbers
  // would mean overlapping streams.
  std::set<std::uint64_t> seen;
  for (std::uint64_t seed = 0; seed < 10; ++seed) {
    for (const std::string_view name : {"a", "b", "ab", "ba", ""}) {
      for (std::uint64_t index = 0; index < 20; ++index) {
        for (const std::uint64_t bits : draw(RandomStream(seed, name, index), 100)) {
          seen.insert(bits);
        }
      }
    }
  }
  CHECK(seen.size() == 10 * 5 * 20 * 100);
}

TEST_CASE("what one stream draws does not depend on another") {
  RandomStream first(1, "x");
  RandomStream second(1, "y");
  std::vector<std::uint64_t> mixed;
  for (int i = 0; i < 8; ++i) {
    mixed.push_back(first.bits());
    static_cast<void>(second.normal());
  }
  CHECK(mixed == draw(RandomStream(1, "x"), 8));
}

TEST_CASE("neighbouring streams are not correlated") {
  // The mean of n products of independent standard normals has standard deviation 1/√n: five of them, n = 1e5, is
  // exceeded by chance once in 1.7 million.
  constexpr int kDraws = 100000;
  RandomStream a(1, "pair", 0);
  RandomStream b(1, "pair", 1);
  RandomStream c(2, "pair", 0);
  double ab = 0;
  double ac = 0;
  for (int i = 0; i < kDraws; ++i) {
    const double x = a.normal();
    ab += x * b.normal();
    ac += x * c.normal();
  }
  const double bound = 5.0 / std::sqrt(double{kDraws});
  CHECK(std::abs(ab / kDraws) < bound);
  CHECK(std::abs(ac / kDraws) < bound);
}

TEST_CASE("below stays below, also at the ends of its range") {
  RandomStream random(4, "below");
  for (int i = 0; i < 100; ++i) {
    REQUIRE(random.below(1) == 0);
    REQUIRE(random.below(3) < 3);
    REQUIRE(random.below(UINT64_MAX) < UINT64_MAX);
  }
  CHECK_THROWS_AS(random.below(0), InternalError);
}

TEST_CASE("below has no bias where a plain multiplication would have a large one") {
  // bound = 3·2^62: the high half of bits·bound, unrejected, takes values ≡ 0 (mod 3) twice as often as the others
  // (four 64-bit numbers fall on three results). Without bias each residue has p = 1/3: a count of 30000 draws has
  // standard deviation √(n·1/3·2/3) = 81.6, and the bound of five of them is far from the 15000 a bias would show.
  constexpr int kDraws = 30000;
  const std::uint64_t bound = std::uint64_t{3} << 62;
  RandomStream random(5, "bias");
  std::array<int, 3> counts{};
  for (int i = 0; i < kDraws; ++i) {
    ++counts[random.below(bound) % 3];
  }
  for (const int count : counts) {
    CHECK(count == Approx(kDraws / 3.0).margin(5 * 81.6));
  }
}

TEST_CASE("shuffle permutes, and every permutation comes up equally often") {
  std::vector<int> many(1000);
  std::iota(many.begin(), many.end(), 0);
  const auto sorted = many;
  RandomStream random(6, "shuffle");
  random.shuffle(std::span(many));
  CHECK(many != sorted);
  CHECK(std::is_permutation(many.begin(), many.end(), sorted.begin()));

  // 4! = 24 orders, 24000 times: expected 1000 each, standard deviation √(1000·23/24) = 31; five of them for each.
  std::map<std::array<int, 4>, int> counts;
  for (int i = 0; i < 24000; ++i) {
    std::array<int, 4> four{0, 1, 2, 3};
    random.shuffle(std::span<int>(four));
    ++counts[four];
  }
  REQUIRE(counts.size() == 24);
  for (const auto& [order, count] : counts) {
    CHECK(count == Approx(1000).margin(155));
  }
  std::vector<int> none;
  random.shuffle(std::span(none));
  CHECK(none.empty());
}
