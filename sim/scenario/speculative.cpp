#include "sim/scenario/speculative.hpp"

#include <algorithm>
#include <cstddef>

#include "sim/config/codec.hpp"
#include "sim/core/error.hpp"

namespace moesim {

bool Codec<Acceptance>::decode(const Cursor& cursor, const Rules& rules, Acceptance& out) {
  if (cursor.value().is_number()) {
    return Codec<double>::decode(cursor, rules, out.probability.emplace<double>());
  }
  if (!cursor.value().is_array()) {
    return cursor.expected("a number, or an array of numbers");
  }
  Rules own = rules;
  own.min_items = 1;
  return Codec<std::vector<double>>::decode(cursor, own, out.probability.emplace<std::vector<double>>());
}

Json Codec<Acceptance>::encode(const Acceptance& acceptance) {
  return std::visit([]<class T>(const T& value) -> Json { return Codec<T>::encode(value); }, acceptance.probability);
}

Json Codec<Acceptance>::schema(const Rules& rules) {
  Rules own = rules;
  own.min_items = 1;
  return {{"oneOf", Json::array({Codec<double>::schema(rules), Codec<std::vector<double>>::schema(own)})}};
}

double tokens_per_step(const SpeculativeDecoding& speculative) {
  const auto& probability = speculative.acceptance.probability;
  const auto* by_position = std::get_if<std::vector<double>>(&probability);
  double expected = 1.0;
  double all_before = 1.0;
  for (int draft = 0; draft < speculative.draft_tokens; ++draft) {
    all_before *=
        by_position != nullptr ? by_position->at(static_cast<std::size_t>(draft)) : std::get<double>(probability);
    expected += all_before;
  }
  return expected;
}

double acceptance_for(double tokens_per_step, int draft_tokens) {
  ensure(tokens_per_step >= 1.0 && tokens_per_step <= 1.0 + draft_tokens, "more or fewer tokens a step than can be");
  double low = 0.0;
  double high = 1.0;
  constexpr int kHalvings = 60;  // to the last bit of a double
  for (int i = 0; i < kHalvings; ++i) {
    const double middle = (low + high) / 2.0;
    (moesim::tokens_per_step({draft_tokens, {middle}}) < tokens_per_step ? low : high) = middle;
  }
  return high;
}

}  // namespace moesim
