#include "workloads/routing/routers/top_two.hpp"

#include "workloads/routing/routers/gate.hpp"

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
  std::vector<std::size_t> seconds(wanted.size(), 0);
  ExpertRoom room(experts, rule.rows);
  std::vector<float> rest(experts);
  for (std::size_t i = 0; i < wanted.size(); ++i) {
    if (wanted[i] == 0) {
      continue;
    }
    const auto row = gates.subspan(i * experts, experts);
    const std::size_t first = best_expert(row);
    rest.assign(row.begin(), row.end());
    rest[first] = -1.0F;
    seconds[i] = best_expert(rest);
    TopTwo& token = result.tokens[i];
    token.first_gate = row[first];
    token.second_gate = experts > 1 ? row[seconds[i]] : 0.0F;
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
  for (std::size_t i = 0; i < wanted.size() && experts > 1; ++i) {
    if (wanted[i] < 2) {
      continue;
    }
    TopTwo& token = result.tokens[i];
    const bool kept = keeps_second(rule, token.second_gate, random);
    if (!kept && rule.second != SecondExpert::kGshard) {
      continue;
    }
    const bool fits = room.take(seconds[i]);
    result.choices += kept ? 1 : 0;
    result.dropped += kept && !fits ? 1 : 0;
    if (kept) {
      token.second_wish = seconds[i];
    }
    if (kept && fits) {
      token.second = seconds[i];
    }
  }
  return result;
}

}  // namespace moesim
