#pragma once

#include <string_view>
#include <variant>
#include <vector>

#include "sim/config/describe.hpp"

/// Speculative decoding with the model's own modules of multi-token prediction (MTP).
namespace moesim {

/// With what probability a draft token is accepted, given that all before it were: the same at every position, or one
/// for each. DeepSeek-V3 report (arXiv 2412.19437), section 5.4.3: 0.85 to 0.9 for the first.
struct Acceptance {
  std::variant<double, std::vector<double>> probability = 0.0;
};

/// In JSON a number, or an array of numbers.
template <>
struct Codec<Acceptance> {
  static bool decode(const Cursor& cursor, const Rules& rules, Acceptance& out);
  static Json encode(const Acceptance& acceptance);
  static Json schema(const Rules& rules);
};

/// Most tokens that a module may draft for one step; servers draft one to seven.
inline constexpr int kMostDraftTokens = 16;

/// Every step verifies the tokens that the one before has drafted, and drafts as many anew.
struct SpeculativeDecoding {
  int draft_tokens = 0;  ///< for each sequence; 0: none
  Acceptance acceptance;

  template <class F>
  static void describe(F& f) {
    f.required("draft_tokens", &SpeculativeDecoding::draft_tokens,
               "Tokens that the model's modules of multi-token prediction draft for each sequence, to be verified by "
               "the next step; 0: none",
               Rules::between(0, kMostDraftTokens));
    f.required("acceptance", &SpeculativeDecoding::acceptance,
               "Probability that a draft token is accepted given that those before it are: one for all positions, or "
               "an array with one for each",
               Rules::between(0, 1));
  }
};

/// Expected tokens that a sequence gains in a step: the one that the model samples itself, and the drafts up to the
/// first that is not accepted,
///   1 + a1 + a1·a2 + … + a1·…·ad,  which for equal a is (1 − a^(d+1))/(1 − a)
/// (Leviathan et al. 2023, arXiv 2211.17192, equation 1). Acceptance has a probability for each position, or one.
double tokens_per_step(const SpeculativeDecoding& speculative);

/// The same probability at all positions with which `draft_tokens` lead to so many expected tokens a step, between 1
/// and 1 + draft_tokens: what published acceptance lengths stand for.
double acceptance_for(double tokens_per_step, int draft_tokens);

}  // namespace moesim
