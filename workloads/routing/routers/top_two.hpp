#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <vector>

#include "sim/config/describe.hpp"
#include "workloads/routing/routers/router.hpp"

/// Top-2 gating with capacity: one level of GShard, or each of the two levels of a hierarchical router.
namespace moesim {

/// When a token's second expert is used: always, never, where its normalised gate passes a threshold, with probability
/// min(1, g2/threshold) (mesh-tensorflow), or with probability min(1, 2·g2) (GShard, algorithm 1).
enum class SecondExpert { kAll, kNone, kThreshold, kRandom, kGshard };
template <>
struct EnumNames<SecondExpert> {
  static constexpr auto names =
      std::to_array<std::pair<SecondExpert, std::string_view>>({{SecondExpert::kAll, "all"},
                                                                {SecondExpert::kNone, "none"},
                                                                {SecondExpert::kThreshold, "threshold"},
                                                                {SecondExpert::kRandom, "random"},
                                                                {SecondExpert::kGshard, "gshard"}});
};

/// What one token got: the expert where there was room, and its normalised gate.
struct TopTwo {
  std::optional<std::size_t> first;
  std::optional<std::size_t> second;
  std::optional<std::size_t> first_wish;  ///< what it would have got with room for all
  std::optional<std::size_t> second_wish;
  float first_gate = 0.0F;
  float second_gate = 0.0F;
};

struct TopTwoRule {
  std::size_t rows = 0;  ///< of each expert
  SecondExpert second = SecondExpert::kGshard;
  double threshold = 0.2;
};

struct TopTwoResult {
  std::vector<TopTwo> tokens;
  std::size_t choices = 0;
  std::size_t dropped = 0;
};

/// Gates one group. `gates` [inputs, experts], softmax; `wanted` [inputs]: 2, 1 or 0 experts at most (the importance 1,
/// 0.5, 0 of mesh-tensorflow). First choices take rows in the order of inputs, then second ones, in that order too.
/// With kGshard a second choice counts against the room whether the token uses it or not.
TopTwoResult gate_top_two(std::span<const float> gates, std::size_t experts, std::span<const int> wanted,
                          const TopTwoRule& rule, RandomStream& random);

}  // namespace moesim
