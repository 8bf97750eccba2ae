#include "workloads/routing/routers/losses.hpp"

#include <cmath>
#include <functional>

#include "tests/unit/routers/fixture.hpp"

using namespace moesim;
using namespace moesim::test;

namespace {

constexpr std::size_t kLossTokens = 7;
constexpr std::size_t kLossExperts = 5;
constexpr std::size_t kLossSlots = 2;

using Loss = std::function<double(const LossInput&, double, std::span<double>)>;

/// Random scores with fixed choices; one slot is empty.
struct Sample {
  std::vector<float> scores = random_scores(kLossTokens, kLossExperts, 42);
  std::vector<ExpertIndex> choices;
  std::vector<float> noise = random_scores(kLossTokens, kLossExperts, 43);
  std::vector<float> skill = random_scores(kLossTokens, kLossExperts, 44);

  Sample() {
    for (std::size_t t = 0; t < kLossTokens; ++t) {
      choices.push_back(static_cast<ExpertIndex>(t % kLossExperts));
      choices.push_back(static_cast<ExpertIndex>((t + 2) % kLossExperts));
    }
    choices[3] = kNoExpert;
  }
  [[nodiscard]] LossInput input(ScoreFunction function, LossForm form) const {
    LossInput in{
        .tokens = kLossTokens, .experts = kLossExperts, .scores = scores, .choices = choices, .slots = kLossSlots};
    in.function = function;
    in.form = form;
    in.noise = noise;
    in.noise_deviation = 0.7;
    in.skill = skill;
    in.devices = kLossExperts;  // one expert each, since five is prime
    in.devices_per_token = 2;
    return in;
  }
};

/// Central differences; float scores are stepped by a power of two, so that the step is exact.
void check_gradient(const Loss& loss, ScoreFunction function, LossForm form = LossForm::kShazeer) {
  constexpr float kStep = 1.0F / 256.0F;
  Sample sample;
  std::vector<double> gradient(kLossTokens * kLossExperts, 0.0);
  loss(sample.input(function, form), 2.0, gradient);
  for (std::size_t i = 0; i < gradient.size(); ++i) {
    std::vector<double> unused(gradient.size(), 0.0);
    const float at = sample.scores[i];
    const float up = at + kStep;
    const float down = at - kStep;
    sample.scores[i] = up;
    const double above = loss(sample.input(function, form), 1.0, unused);
    sample.scores[i] = down;
    const double below = loss(sample.input(function, form), 1.0, unused);
    sample.scores[i] = at;
    const double slope = (above - below) / (static_cast<double>(up) - static_cast<double>(down));
    CAPTURE(i);
    CHECK(gradient[i] == Approx(2.0 * slope).epsilon(2e-3).margin(2e-5));
  }
}

}  // namespace

TEST_CASE("losses: gradients are those of finite differences") {
  const std::vector<std::pair<std::string, Loss>> losses = {{"importance", importance_loss},
                                                            {"load", load_loss},
                                                            {"balance", balance_loss},
                                                            {"gshard", gshard_loss},
                                                            {"device", device_loss},
                                                            {"communication", communication_loss},
                                                            {"z", z_loss},
                                                            {"mean entropy", mean_entropy_loss},
                                                            {"token entropy", token_entropy_loss},
                                                            {"skill", skill_loss}};
  for (const auto& [name, loss] : losses) {
    for (const ScoreFunction function : {ScoreFunction::kSoftmax, ScoreFunction::kSigmoid}) {
      CAPTURE(name, function == ScoreFunction::kSigmoid);
      check_gradient(loss, function);
      check_gradient(loss, function, LossForm::kVMoe);
    }
  }
}

TEST_CASE("losses: hand-worked values") {
  // Two tokens, two experts; p = (3/4, 1/4) and (1/2, 1/2).
  const std::vector<float> scores{std::log(3.0F), 0.0F, 0.0F, 0.0F};
  const std::vector<ExpertIndex> choices{0, 0};
  const LossInput input{.tokens = 2, .experts = 2, .scores = scores, .choices = choices, .slots = 1};
  std::vector<double> gradient(4, 0.0);
  // f = (1, 0), P = (5/8, 3/8): E·Σ f·P = 2·5/8.
  CHECK(balance_loss(input, 0.0, gradient) == Approx(1.25));
  // The same, since k = 1: E·Σ (c/T)·m = 2·5/8.
  CHECK(gshard_loss(input, 0.0, gradient) == Approx(1.25));
  // log(3 + 1) and log 2, squared, halved.
  CHECK(z_loss(input, 0.0, gradient) == Approx(0.5 * (std::log(4.0) * std::log(4.0) + std::log(2.0) * std::log(2.0))));
  // Gates over one kept expert are 1: importance (2, 0), mean 1, variance 1.
  CHECK(importance_loss(input, 0.0, gradient) == Approx(1.0).epsilon(1e-9));
  CHECK(mean_entropy_loss(input, 0.0, gradient) == Approx(0.625 * std::log(0.625) + 0.375 * std::log(0.375)));
  CHECK(token_entropy_loss(input, 0.0, gradient) ==
        Approx(0.5 * (-0.75 * std::log(0.75) - 0.25 * std::log(0.25) + std::log(2.0))));
  CHECK(gradient == std::vector<double>(4, 0.0));
}

TEST_CASE("losses: the load loss is the variation of expected counts under fresh noise") {
  // One token, k = 1, noise 0 but of deviation 1: expert 0 (score 1) is kept, threshold for it is the next, 0; expert 1
  // (score 0) is out, its threshold is 1. Loads Φ(1), Φ(−1): mean 1/2, variance (Φ(1) − 1/2)².
  const std::vector<float> scores{1.0F, 0.0F};
  const std::vector<ExpertIndex> choices{0};
  LossInput input{.tokens = 1, .experts = 2, .scores = scores, .choices = choices, .slots = 1};
  std::vector<double> gradient(2, 0.0);
  const double phi = 0.8413447460685429;
  CHECK(load_loss(input, 0.0, gradient) == Approx((phi - 0.5) * (phi - 0.5) / 0.25).epsilon(1e-9));
}

TEST_CASE("losses: GShard's looks at first choices only") {
  // One token, p = (.4, .3, .2, .1), first choice 0 and second 1: E·p_0 = 1.6, where the share of all choices would
  // give 4·(.5·.4 + .5·.3) = 1.4.
  const std::vector<float> scores{std::log(0.4F), std::log(0.3F), std::log(0.2F), std::log(0.1F)};
  const std::vector<ExpertIndex> choices{0, 1};
  const LossInput input{.tokens = 1, .experts = 4, .scores = scores, .choices = choices, .slots = 2};
  std::vector<double> gradient(4, 0.0);
  CHECK(gshard_loss(input, 0.0, gradient) == Approx(1.6));
  CHECK(balance_loss(input, 0.0, gradient) == Approx(1.4));
}

TEST_CASE("losses: DeepSeek-V2's of devices") {
  // One token, p = (.4, .3, .2, .1), two devices of two experts.
  const std::vector<float> scores{std::log(0.4F), std::log(0.3F), std::log(0.2F), std::log(0.1F)};
  LossInput input{.tokens = 1, .experts = 4, .scores = scores, .choices = {}, .slots = 2, .devices = 2};
  std::vector<double> gradient(4, 0.0);
  // Both choices on device 0: E·f = (2, 2, 0, 0), of which the means are f' = (2, 0), P' = (.7, .3); one token sent, of
  // T/D·M = 1/2 with M = 1: f'' = (2, 0).
  const std::vector<ExpertIndex> same{0, 1};
  input.choices = same;
  CHECK(device_loss(input, 0.0, gradient) == Approx(1.4));
  CHECK(communication_loss(input, 0.0, gradient) == Approx(1.4));
  // One on each: f' = (1, 1). Sent to two devices, f'' = (2, 2); that being allowed, M = 2, (1, 1).
  const std::vector<ExpertIndex> apart{0, 2};
  input.choices = apart;
  CHECK(device_loss(input, 0.0, gradient) == Approx(1.0));
  CHECK(communication_loss(input, 0.0, gradient) == Approx(2.0));
  input.devices_per_token = 2;
  CHECK(communication_loss(input, 0.0, gradient) == Approx(1.0));
}

TEST_CASE("losses: V-MoE's importance is of all probabilities, its load measured by the last that is chosen") {
  // Two tokens with p = (.4, .3, .2, .1) and (.3, .4, .1, .2): importance (.7, .7, .3, .3), mean 1/2, variance .04.
  const std::vector<float> scores{std::log(0.4F), std::log(0.3F), std::log(0.2F), std::log(0.1F),
                                  std::log(0.3F), std::log(0.4F), std::log(0.1F), std::log(0.2F)};
  const std::vector<ExpertIndex> choices{0, 1, 1, 0};
  LossInput input{.tokens = 2, .experts = 4, .scores = scores, .choices = choices, .slots = 2};
  input.form = LossForm::kVMoe;
  std::vector<double> gradient(8, 0.0);
  CHECK(importance_loss(input, 0.0, gradient) == Approx(0.16).epsilon(1e-5));
  // One token with scores 1 and 0, k = 1, noise of deviation 1: both are measured by 1, Φ(0) = 1/2 and Φ(−1).
  const std::vector<float> two{1.0F, 0.0F};
  const std::vector<ExpertIndex> first{0};
  LossInput single{.tokens = 1, .experts = 2, .scores = two, .choices = first, .slots = 1};
  single.form = LossForm::kVMoe;
  const double low = 0.15865525393145707;
  const double mean = 0.5 * (0.5 + low);
  const double deviation = 0.5 * (0.5 - low);
  CHECK(load_loss(single, 0.0, gradient) == Approx(deviation * deviation / (mean * mean)).epsilon(1e-9));
}

TEST_CASE("losses: weights are the given ones, else the published") {
  LossWeights given;
  given.z = 0.5;
  given.balance = 0.0;
  const LossWeights weights = resolved(given, {.importance = 0.1, .balance = 0.2, .z = 0.3});
  CHECK(weights.importance == 0.1);
  CHECK(weights.balance == 0.0);
  CHECK(weights.z == 0.5);
  CHECK(weights.load == 0.0);
  CHECK(weights.gshard == 0.0);
  // What works against them is ours, and left out where a bias balances.
  CHECK(weights.skill == 0.03);
  CHECK(resolved(given, {.bias_rate = 1e-3}).skill == 0.0);
  given.skill = 0.5;
  CHECK(resolved(given, {.bias_rate = 1e-3}).skill == 0.5);
}
