#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "sim/config/describe.hpp"
#include "sim/core/error.hpp"
#include "sim/core/random.hpp"
#include "workloads/routing/types.hpp"

namespace moesim {

class Vocabulary;

/// Routers that draw, jitter or drop in training only do so in that phase.
enum class RouterPhase { kInference, kTraining };
template <>
struct EnumNames<RouterPhase> {
  static constexpr auto names = std::to_array<std::pair<RouterPhase, std::string_view>>(
      {{RouterPhase::kInference, "inference"}, {RouterPhase::kTraining, "training"}});
};

/// Weights cost exponentials that a simulation of time has no use for.
enum class GateWeights { kWanted, kNotWanted };

/// Tokens of one layer that are routed together: one group of the router, or part of a batch where tokens are
/// independent.
struct RouterInput {
  std::size_t tokens = 0;
  std::size_t experts = 0;
  std::span<const float> scores;                  ///< [tokens, experts]: logits x·W
  std::span<const std::uint32_t> token_ids = {};  ///< [tokens], in the vocabulary; empty where unknown
  std::span<const std::uint32_t> tasks = {};      ///< [tokens], what the token's text is about; empty: all the same
  std::span<const float> bias = {};               ///< [experts], added for the selection only; empty: none
  RouterPhase phase = RouterPhase::kInference;
  GateWeights weights = GateWeights::kWanted;
  std::size_t layer = 0;
};

/// What a router decided.
struct RoutedTokens {
  std::size_t slots = 0;             ///< per token
  std::vector<ExpertIndex> experts;  ///< [tokens, slots], kNoExpert where empty
  std::vector<float> weights;        ///< [tokens, slots], what the expert's output is multiplied with; empty: not asked
  /// [tokens, slots]: what `experts` would be with room for all; where asked like the weights, by routers that drop.
  std::vector<ExpertIndex> wished;
  std::vector<float> noise;  ///< [tokens, experts], added to the scores in training; where asked likewise
  std::size_t choices = 0;   ///< made, before any was dropped
  std::size_t dropped = 0;   ///< found no room

  /// All slots empty, weights 0 where wanted.
  void reset(const RouterInput& input, std::size_t slots_per_token);
  [[nodiscard]] std::span<const ExpertIndex> token(std::size_t index) const {
    return std::span(experts).subspan(index * slots, slots);
  }
};

/// How scores become probabilities in a router's balancing losses.
enum class ScoreFunction { kSoftmax, kSigmoid };

/// Whose form of the importance and load losses: Shazeer's, or V-MoE's (google-research/vmoe, moe/routing.py), which
/// sums the probabilities of all experts, and measures every expert by the k-th largest noisy logit.
enum class LossForm { kShazeer, kVMoe };

/// Weights of the losses that keep a router balanced, as its authors published them (losses.hpp).
struct PublishedBalance {
  double importance = 0.0;
  double load = 0.0;
  double balance = 0.0;
  double gshard = 0.0;
  double device = 0.0;
  double communication = 0.0;
  std::size_t devices = 0;  ///< equal blocks of experts, for the last two; 0: the router knows none
  std::size_t devices_per_token = 1;
  LossForm form = LossForm::kShazeer;
  double z = 0.0;
  double bias_rate = 0.0;  ///< γ of the selection bias
};

/// What a router is made for. The vocabulary outlives the router.
struct RouterContext {
  std::size_t experts = 0;
  std::size_t k = 1;       ///< the model's experts per token; some routers have their own
  std::size_t groups = 1;  ///< blocks of experts that the model limits a token to
  std::size_t groups_per_token = 1;
  std::size_t layers = 1;                                ///< MoE layers of the model
  std::optional<double> capacity_factor = std::nullopt;  ///< the model's, at inference
  const Vocabulary* vocabulary = nullptr;                ///< absent where only scores are known
  std::uint64_t seed = 1;                                ///< of tables and of what stands for learnt policies
  Place place = {};                                      ///< of the router in the user's input
};

/// Decides which experts tokens go to.
class TokenRouter {
 public:
  virtual ~TokenRouter() = default;

  /// Tokens of a batch of `batch` that compete for the same rows or are assigned together: routed in groups of so many
  /// neighbours. 1: each by itself.
  [[nodiscard]] virtual std::size_t group_tokens(std::size_t batch) const {
    static_cast<void>(batch);
    return 1;
  }
  /// Rows of an expert's buffer for a group of so many tokens, where they are sent and computed full or not.
  [[nodiscard]] virtual std::optional<std::size_t> buffer_rows(std::size_t tokens, RouterPhase phase) const {
    static_cast<void>(tokens);
    static_cast<void>(phase);
    return std::nullopt;
  }
  /// ε where each element of the router's input is multiplied by a uniform number of [1−ε, 1+ε] in training. Whoever
  /// computes the scores does it.
  [[nodiscard]] virtual double input_jitter() const { return 0.0; }
  /// Standard deviation of the noise on logits in training; 0: none.
  [[nodiscard]] virtual double noise_deviation() const { return 0.0; }
  [[nodiscard]] virtual ScoreFunction score_function() const { return ScoreFunction::kSoftmax; }
  [[nodiscard]] virtual PublishedBalance published_balance() const { return {}; }

  /// Routes one group (or any number of tokens that are independent). The same input and stream give the same result.
  virtual void route(const RouterInput& input, RandomStream& random, RoutedTokens& out) const = 0;
};

}  // namespace moesim
