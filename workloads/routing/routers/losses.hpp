#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <vector>

#include "sim/config/describe.hpp"
#include "workloads/routing/routers/router.hpp"

/// The losses that keep routers balanced, and their gradients with respect to the logits.
///
/// T tokens, E experts, k experts per token; s [T, E] logits; p [T, E] probabilities, the softmax of s, or σ(s) divided
/// by its sum over experts; S_t the experts that token t chose; g [T, E] the softmax of s over S_t, 0 elsewhere.
/// CV²(v) = var(v)/(mean(v)² + 1e-10) over experts, var with divisor E.
namespace moesim {

struct LossWeights {
  std::optional<double> importance = std::nullopt;
  std::optional<double> load = std::nullopt;
  std::optional<double> balance = std::nullopt;
  std::optional<double> gshard = std::nullopt;
  std::optional<double> device = std::nullopt;
  std::optional<double> communication = std::nullopt;
  std::optional<double> z = std::nullopt;
  std::optional<double> mean_entropy = std::nullopt;
  std::optional<double> token_entropy = std::nullopt;
  std::optional<double> skill = std::nullopt;

  template <class F>
  static void describe(F& f) {
    f.optional("importance", &LossWeights::importance, "CV^2 of the experts' summed gates; absent: as published",
               Rules::at_least(0));
    f.optional("load", &LossWeights::load, "CV^2 of the experts' expected loads under noise; absent: as published",
               Rules::at_least(0));
    f.optional("balance", &LossWeights::balance,
               "E * sum of (share of choices * mean probability), Switch's; absent: as published", Rules::at_least(0));
    f.optional("gshard", &LossWeights::gshard,
               "GShard's form of it, by first choices: E * sum of (first choices/T * mean probability); absent: as "
               "published",
               Rules::at_least(0));
    f.optional("device", &LossWeights::device,
               "DeepSeek-V2's balance of devices: the same by blocks of experts; absent: as published",
               Rules::at_least(0));
    f.optional("communication", &LossWeights::communication,
               "DeepSeek-V2's balance of what devices receive: by tokens sent to each; absent: as published",
               Rules::at_least(0));
    f.optional("z", &LossWeights::z, "Mean of (log sum exp)^2; absent: as published", Rules::at_least(0));
    f.optional("mean_entropy", &LossWeights::mean_entropy, "Minus the entropy of the mean probabilities",
               Rules::at_least(0));
    f.optional("token_entropy", &LossWeights::token_entropy, "Mean entropy of a token's probabilities",
               Rules::at_least(0));
    f.optional(
        "skill", &LossWeights::skill,
        "Stands for the language model: experts get better at what they are given, and are then preferred. With 0 "
        "how much other losses weigh makes no difference to Adam; absent: 0.03, which is ours, or 0 where the "
        "published balance is a selection bias",
        Rules::at_least(0));
  }
};

/// What the losses look at.
struct LossInput {
  std::size_t tokens = 0;
  std::size_t experts = 0;
  std::span<const float> scores;         ///< [T, E]
  std::span<const ExpertIndex> choices;  ///< [T, slots], kNoExpert where empty
  std::size_t slots = 0;
  ScoreFunction function = ScoreFunction::kSoftmax;
  LossForm form = LossForm::kShazeer;
  std::span<const float> noise = {};  ///< [T, E] added to the scores before choosing, for the load loss
  double noise_deviation = 1.0;       ///< of it
  std::size_t devices = 0;            ///< D equal blocks of experts, for the losses of devices
  std::size_t devices_per_token = 1;  ///< M: of which a token's experts are
  std::span<const float> skill = {};  ///< [T, E]: what expert e would gain token t
};

/// Each returns the loss, unweighted, and adds weight · ∂loss/∂s to `gradient` [T, E]. Choices and noise are constants.
/// importance: CV²(Σ_t g_te). Shazeer et al. 2017, equation 6. V-MoE's form has p in place of g.
double importance_loss(const LossInput& input, double weight, std::span<double> gradient);
/// load: CV²(Σ_t Φ((s_te − thr_te)/std)), thr the (k+1)-th largest of s + noise where e is among the k largest, else
/// the k-th; thr moves with its own logit. Shazeer et al. 2017, equations 8 to 11. In V-MoE's form thr is the k-th for
/// all.
double load_loss(const LossInput& input, double weight, std::span<double> gradient);
/// balance: E·Σ_e f_e·P_e, f_e the share of all choices, P_e the mean of p. Fedus et al. 2021, equation 4.
double balance_loss(const LossInput& input, double weight, std::span<double> gradient);
/// gshard: E·Σ_e (c_e/T)·P_e, c_e first choices (slot 0). Lepikhin et al. 2020, algorithm 1, which writes 1/E in place
/// of E; its code (mesh-tensorflow, _top_2_gating) has E, to which published weights belong.
double gshard_loss(const LossInput& input, double weight, std::span<double> gradient);
/// device: Σ_d f'_d·P'_d, f'_d the mean of E·f_e over the experts of device d, P'_d the sum of their P_e. DeepSeek-V2,
/// arXiv 2405.04434, equations 26 to 28.
double device_loss(const LossInput& input, double weight, std::span<double> gradient);
/// communication: Σ_d f''_d·P'_d, f''_d = D/(M·T) times the tokens with an expert on device d. Equations 29 to 31.
double communication_loss(const LossInput& input, double weight, std::span<double> gradient);
/// z: mean_t (log Σ_e e^{s_te})². Zoph et al. 2022, equation 5.
double z_loss(const LossInput& input, double weight, std::span<double> gradient);
/// mean_entropy: −H(P) = Σ_e P_e·log P_e. Mustafa et al. 2022 (LIMoE), the global entropy loss.
double mean_entropy_loss(const LossInput& input, double weight, std::span<double> gradient);
/// token_entropy: mean_t H(p_t). Its local entropy loss.
double token_entropy_loss(const LossInput& input, double weight, std::span<double> gradient);
/// skill: −(1/T)·Σ_t Σ_{e∈S_t} p_te·skill_te.
double skill_loss(const LossInput& input, double weight, std::span<double> gradient);

/// The weights to train with: given ones, else what the router's authors published.
LossWeights resolved(const LossWeights& given, const PublishedBalance& published);
/// Σ weight·loss, its gradient added to `gradient`.
double total_loss(const LossInput& input, const LossWeights& weights, std::span<double> gradient);

}  // namespace moesim
