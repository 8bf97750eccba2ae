#pragma once

#include <array>
#include <cstddef>
#include <span>
#include <string_view>

#include "sim/config/describe.hpp"
#include "workloads/routing/types.hpp"

/// The k experts with the highest scores, group-limited where the model says so: the part of routing that every token
/// of every layer goes through.
namespace moesim {

/// What a group of experts is worth to a token: its best score (DeepSeek-V2), or the sum of its best two (DeepSeek-V3).
enum class GroupScore { kBest, kBestTwo };
template <>
struct EnumNames<GroupScore> {
  static constexpr auto names = std::to_array<std::pair<GroupScore, std::string_view>>(
      {{GroupScore::kBest, "best"}, {GroupScore::kBestTwo, "best-two"}});
};

/// Experts come in `groups` equal blocks; a token's k come from the `groups_per_token` best of them.
struct SelectRule {
  std::size_t experts = 0;
  std::size_t k = 1;
  std::size_t groups = 1;
  std::size_t groups_per_token = 1;
  GroupScore group_score = GroupScore::kBest;
  [[nodiscard]] bool limits() const { return groups_per_token < groups; }
};

/// For each of `tokens` rows of `scores` [tokens, experts] the experts chosen, best first, into `out` [tokens, k]. Of
/// equal scores the expert (or group) of the lower number comes first. Scores are numbers, not NaN.
void select_experts(const SelectRule& rule, const float* scores, std::size_t tokens, ExpertIndex* out);
/// The same without vector instructions beyond what every machine has: the same bytes, slower.
void select_experts_portable(const SelectRule& rule, const float* scores, std::size_t tokens, ExpertIndex* out);

/// out_i = 1 / (1 + e^{−x_i}) + bias_i; `bias` empty: 0. e^x is a polynomial of our own, so that machines agree on
/// every bit; relative error below 2e-7 where |x| ≤ 87.
void biased_sigmoid(std::span<const float> x, std::span<const float> bias, std::span<float> out);
void biased_sigmoid_portable(std::span<const float> x, std::span<const float> bias, std::span<float> out);

/// out_i = e^{x_i − shift} by the same polynomial; `out` may be `x`.
void exponentials(std::span<const float> x, float shift, std::span<float> out);
void exponentials_portable(std::span<const float> x, float shift, std::span<float> out);

}  // namespace moesim
