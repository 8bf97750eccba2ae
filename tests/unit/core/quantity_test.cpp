#include "sim/core/quantity.hpp"

#include <catch2/catch.hpp>
#include <concepts>
#include <unordered_set>

#include "sim/core/id.hpp"

using namespace moesim;

namespace {

// What must not compile is asked with concepts: each of these is checked when this file is compiled.
template <class A, class B>
concept Addable = requires(A a, B b) { a + b; };
template <class A, class B>
concept Subtractable = requires(A a, B b) { a - b; };
template <class A, class B>
concept Comparable = requires(A a, B b) { a < b; };
template <class A, class B>
concept EqualityComparable = requires(A a, B b) { a == b; };
template <class A, class B>
concept Accumulable = requires(A a, B b) { a += b; };

// Two-sided: the same question answered with yes, so that a typing slip in a concept cannot make it vacuous.
static_assert(Addable<Bytes, Bytes> && Subtractable<Bytes, Bytes> && Comparable<Bytes, Bytes> &&
              EqualityComparable<Bytes, Bytes> && Accumulable<Bytes, Bytes>);

static_assert(!Addable<Bytes, Duration> && !Addable<Duration, Bytes>);
static_assert(!Addable<double, Bytes> && !Addable<Bytes, double> && !Addable<Bytes, int>);
static_assert(!Subtractable<Bytes, Duration> && !Subtractable<double, Bytes>);
static_assert(!Accumulable<Bytes, Duration> && !Accumulable<Bytes, double>);
static_assert(!Comparable<FlopRate, Bandwidth> && !EqualityComparable<FlopRate, Bandwidth>);
static_assert(!Comparable<Flops, Bytes> && !Comparable<Duration, double> && !Comparable<Price, PriceRate>);

// Numbers enter and leave by name only.
static_assert(!std::convertible_to<double, Bytes> && !std::constructible_from<Bytes, double>);
static_assert(!std::convertible_to<Bytes, double> && !std::constructible_from<double, Bytes>);
static_assert(!std::convertible_to<Bytes, Bandwidth> && !std::constructible_from<Bytes, Bandwidth>);

// The algebra: B / (B/s) = s, FLOP / (FLOP/s) = s, B/s · s = B, FLOP / B has its own dimension, B / B is a number.
static_assert(std::same_as<decltype(Bytes{} / Bandwidth{}), Duration>);
static_assert(std::same_as<decltype(Flops{} / FlopRate{}), Duration>);
static_assert(std::same_as<decltype(Bandwidth{} * Duration{}), Bytes>);
static_assert(std::same_as<decltype(Duration{} * Bandwidth{}), Bytes>);
static_assert(std::same_as<decltype(PriceRate{} * Duration{}), Price>);
static_assert(std::same_as<decltype(Bytes{} / Bytes{}), double>);
static_assert(std::same_as<decltype(FlopRate{} / Bandwidth{}), decltype(Flops{} / Bytes{})>);
static_assert(!Addable<decltype(Flops{} / Bytes{}), double>);

// Ids of different kinds do not mix, and a number is no id.
static_assert(std::equality_comparable<RankId> && std::totally_ordered<RankId>);
static_assert(!EqualityComparable<RankId, NodeId> && !Comparable<RankId, LinkId>);
static_assert(!std::convertible_to<std::size_t, RankId> && !std::convertible_to<RankId, std::size_t>);
static_assert(!std::convertible_to<RankId, NodeId> && !Addable<RankId, RankId>);

}  // namespace

TEST_CASE("quantities calculate in base units") {
  // 8 GB at 4 GB/s take 2 s; all of these are exact in double.
  CHECK((bytes(8e9) / bytes_per_second(4e9)).base() == 2.0);
  CHECK((bytes_per_second(4e9) * seconds(2.0)).base() == 8e9);
  CHECK((flops(10) / bytes(4)).base() == 2.5);
  CHECK(bytes(6) / bytes(4) == 1.5);

  Duration time = seconds(1.0);
  time += seconds(2.0);
  time -= seconds(0.5);
  time *= 4.0;
  CHECK(time.base() == 10.0);
  CHECK((2.0 * time / 4.0).base() == 5.0);
  CHECK((time * 2.0).base() == 20.0);
  CHECK((seconds(1.0) - seconds(3.0)).base() == -2.0);
}

TEST_CASE("quantities of one dimension are ordered") {
  CHECK(bytes(1) < bytes(2));
  CHECK_FALSE(bytes(2) < bytes(1));
  CHECK(bytes(2) >= bytes(2));
  CHECK(bytes(2) == bytes(2));
  CHECK(bytes(2) != bytes(3));
  CHECK(Bytes{} == bytes(0));
}

TEST_CASE("ids keep their index, order by it and hash by it") {
  CHECK(RankId(7).index() == 7);
  CHECK(RankId{}.index() == 0);
  CHECK(RankId(3) < RankId(4));
  const std::unordered_set<RankId> set{RankId(1), RankId(2), RankId(1)};
  CHECK(set.size() == 2);
}
