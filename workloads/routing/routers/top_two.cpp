#include "workloads/routing/routers/top_two.hpp"

#include <algorithm>

#include "workloads/routing/routers/gate.hpp"
#include "workloads/routing/routers/select.hpp"

namespace moesim {

namespace {

bool keeps_second(const TopTwoRule& rule, float gate, RandomStream& random) {
  switch (rule.second) {
    case SecondExpert::kAll:
      return true;
    case SecondExpert::kNone:
      return false;
    case SecondExpert::kThreshold:
      return gate > rule.threshold;
    case SecondExpert::kRandom:
      return random.uniform() * rule.threshold < gate;
    case SecondExpert::kGshard:
      return 2.0 * gate > random.uniform();
  }
  return false;
}

}  // namespace

TopTwoResult gate_top_two(std::span<const float> gates, std::size_t experts, std::span<const int> wanted,
                          const TopTwoRule& rule, RandomStream& random) {
  TopTwoResult result;
  result.tokens.resize(wanted.size());
  const std::size_t two = std::min<std::size_t>(2, experts);
  std::vector<ExpertIndex> best(wanted.size() * two);
  select_experts({.experts = experts, .k = two}, gates.data(), wanted.size(), best.data());
  ExpertRoom room(experts, rule.rows);
  for (std::size_t i = 0; i < wanted.size(); ++i) {
    if (wanted[i] == 0) {
      continue;
    }
    const auto row = gates.subspan(i * experts, experts);
    const std::size_t first = best[i * two];
    TopTwo& token = result.tokens[i];
    token.first_gate = row[first];
    token.second_gate = two > 1 ? row[best[i * two + 1]] : 0.0F;
    const float sum = token.first_gate + token.second_gate + 1e-9F;
    token.first_gate /= sum;
    token.second_gate /= sum;
    token.first_wish = first;
    ++result.choices;
    if (room.take(first)) {
      token.first = first;
    } else {
      ++result.dropped;
    }
  }
  for (std::size_t i = 0; i < wanted.size() && two > 1; ++i) {
    if (wanted[i] < 2) {
      continue;
    }
    TopTwo& token = result.tokens[i];
    const bool kept = keeps_second(rule, token.second_gate, random);
    if (!kept && rule.second != SecondExpert::kGshard) {
      continue;
    }
    const bool fits = room.take(best[i * two + 1]);
    result.choices += kept ? 1 : 0;
    result.dropped += kept && !fits ? 1 : 0;
    if (kept) {
      token.second_wish = best[i * two + 1];
    }
    if (kept && fits) {
      token.second = best[i * two + 1];
    }
  }
  return result;
}

}  // namespace moesim
