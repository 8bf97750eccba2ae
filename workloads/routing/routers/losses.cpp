#include "workloads/routing/routers/losses.hpp"

#include <algorithm>
#include <cmath>
#include <functional>
#include <numbers>

#include "workloads/routing/routers/gate.hpp"

namespace moesim {

namespace {

double number(std::size_t value) { return static_cast<double>(value); }

std::span<const float> row_of(const LossInput& input, std::size_t token) {
  return input.scores.subspan(token * input.experts, input.experts);
}

/// p [T, E], and the way back from gradients with respect to it.
class Probabilities {
 public:
  explicit Probabilities(const LossInput& input) : input_(input), p_(input.scores.size()), mean_(input.experts, 0.0) {
    for (std::size_t t = 0; t < input.tokens; ++t) {
      const auto scores = row_of(input, t);
      const double largest = *std::max_element(scores.begin(), scores.end());
      double sum = 0.0;
      for (std::size_t e = 0; e < input.experts; ++e) {
        double& p = p_[t * input.experts + e];
        p = input.function == ScoreFunction::kSoftmax ? std::exp(scores[e] - largest)
                                                      : 1.0 / (1.0 + std::exp(-scores[e]));
        sum += p;
      }
      sums_.push_back(sum);
      for (std::size_t e = 0; e < input.experts; ++e) {
        p_[t * input.experts + e] /= sum;
        mean_[e] += p_[t * input.experts + e] / number(input.tokens);
      }
    }
  }

  [[nodiscard]] double at(std::size_t token, std::size_t expert) const { return p_[token * input_.experts + expert]; }
  /// P_e = mean_t p_te.
  [[nodiscard]] const std::vector<double>& mean() const { return mean_; }

  /// Adds weight·∂/∂s of a loss whose derivative with respect to p_te is slope(t, e). Softmax: ∂p_i/∂s_j =
  /// p_j(δ_ij − p_i). Normalised sigmoid, with Z the sum of σ: ∂p_i/∂s_j = σ_j(1 − σ_j)/Z·(δ_ij − p_i).
  void back(const std::function<double(std::size_t, std::size_t)>& slope, double weight,
            std::span<double> gradient) const {
    std::vector<double> slopes(input_.experts);
    for (std::size_t t = 0; t < input_.tokens; ++t) {
      double inner = 0.0;
      for (std::size_t e = 0; e < input_.experts; ++e) {
        slopes[e] = slope(t, e);
        inner += at(t, e) * slopes[e];
      }
      for (std::size_t e = 0; e < input_.experts; ++e) {
        double factor = at(t, e);
        if (input_.function == ScoreFunction::kSigmoid) {
          const double value = at(t, e) * sums_[t];
          factor = value * (1.0 - value) / sums_[t];
        }
        gradient[t * input_.experts + e] += weight * factor * (slopes[e] - inner);
      }
    }
  }

 private:
  const LossInput& input_;
  std::vector<double> p_;
  std::vector<double> mean_;
  std::vector<double> sums_;
};

struct Variation {
  double value = 0.0;
  std::vector<double> slope;  ///< ∂CV²/∂v_e
};

/// CV² = var/(mean² + ε): ∂var/∂v_e = 2(v_e − mean)/E, ∂mean/∂v_e = 1/E.
Variation variation(const std::vector<double>& v) {
  constexpr double kTiny = 1e-10;
  const double count = number(v.size());
  double mean = 0.0;
  for (const double value : v) {
    mean += value / count;
  }
  double variance = 0.0;
  for (const double value : v) {
    variance += (value - mean) * (value - mean) / count;
  }
  const double below = mean * mean + kTiny;
  Variation result{variance / below, {}};
  for (const double value : v) {
    result.slope.push_back(2.0 * (value - mean) / count / below - variance * 2.0 * mean / count / (below * below));
  }
  return result;
}

double normal_cdf(double x) { return 0.5 * std::erfc(-x / std::numbers::sqrt2); }
double normal_density(double x) { return std::exp(-0.5 * x * x) / std::sqrt(2.0 * std::numbers::pi); }

std::span<const ExpertIndex> chosen(const LossInput& input, std::size_t token) {
  return input.choices.subspan(token * input.slots, input.slots);
}

}  // namespace

double importance_loss(const LossInput& input, double weight, std::span<double> gradient) {
  if (input.form == LossForm::kVMoe) {
    const Probabilities p(input);  // CV² does not change with the scale: means do as well as sums
    const Variation cv = variation(p.mean());
    p.back([&](std::size_t, std::size_t e) { return cv.slope[e] / number(input.tokens); }, weight, gradient);
    return cv.value;
  }
  std::vector<double> gates(input.choices.size(), 0.0);
  std::vector<double> importance(input.experts, 0.0);
  for (std::size_t t = 0; t < input.tokens; ++t) {
    double sum = 0.0;
    double largest = -std::numeric_limits<double>::infinity();
    for (const ExpertIndex e : chosen(input, t)) {
      largest = e == kNoExpert ? largest : std::max<double>(largest, row_of(input, t)[e]);
    }
    for (std::size_t i = 0; i < input.slots; ++i) {
      const ExpertIndex e = chosen(input, t)[i];
      gates[t * input.slots + i] = e == kNoExpert ? 0.0 : std::exp(row_of(input, t)[e] - largest);
      sum += gates[t * input.slots + i];
    }
    for (std::size_t i = 0; i < input.slots && sum > 0.0; ++i) {
      const ExpertIndex e = chosen(input, t)[i];
      gates[t * input.slots + i] /= sum;
      if (e != kNoExpert) {
        importance[e] += gates[t * input.slots + i];
      }
    }
  }
  const Variation cv = variation(importance);
  for (std::size_t t = 0; t < input.tokens; ++t) {
    double inner = 0.0;
    for (std::size_t i = 0; i < input.slots; ++i) {
      const ExpertIndex e = chosen(input, t)[i];
      inner += e == kNoExpert ? 0.0 : gates[t * input.slots + i] * cv.slope[e];
    }
    for (std::size_t i = 0; i < input.slots; ++i) {
      const ExpertIndex e = chosen(input, t)[i];
      if (e != kNoExpert) {
        gradient[t * input.experts + e] += weight * gates[t * input.slots + i] * (cv.slope[e] - inner);
      }
    }
  }
  return cv.value;
}

double load_loss(const LossInput& input, double weight, std::span<double> gradient) {
  const std::size_t k = input.slots;
  if (k >= input.experts) {
    return 0.0;  // every expert is chosen whatever the noise
  }
  // Place of the k-th and (k+1)-th largest noisy logit of each token.
  std::vector<std::size_t> kth(input.tokens);
  std::vector<std::size_t> next(input.tokens);
  std::vector<double> noisy(input.scores.begin(), input.scores.end());
  for (std::size_t i = 0; i < input.noise.size(); ++i) {
    noisy[i] += input.noise[i];
  }
  std::vector<std::size_t> order(input.experts);
  std::vector<double> load(input.experts, 0.0);
  const double deviation = input.noise_deviation;
  const auto threshold_of = [&](std::size_t t, std::size_t e) {
    const double* row = noisy.data() + t * input.experts;
    const bool in = row[e] > row[next[t]] || e == kth[t];
    return in && input.form == LossForm::kShazeer ? next[t] : kth[t];
  };
  for (std::size_t t = 0; t < input.tokens; ++t) {
    const double* row = noisy.data() + t * input.experts;
    for (std::size_t e = 0; e < input.experts; ++e) {
      order[e] = e;
    }
    std::partial_sort(order.begin(), order.begin() + static_cast<std::ptrdiff_t>(k + 1), order.end(),
                      [&](std::size_t a, std::size_t b) { return row[a] > row[b] || (row[a] == row[b] && a < b); });
    kth[t] = order[k - 1];
    next[t] = order[k];
    for (std::size_t e = 0; e < input.experts; ++e) {
      load[e] += normal_cdf((input.scores[t * input.experts + e] - row[threshold_of(t, e)]) / deviation);
    }
  }
  const Variation cv = variation(load);
  for (std::size_t t = 0; t < input.tokens; ++t) {
    const double* row = noisy.data() + t * input.experts;
    for (std::size_t e = 0; e < input.experts; ++e) {
      const std::size_t threshold = threshold_of(t, e);
      const double z = (input.scores[t * input.experts + e] - row[threshold]) / deviation;
      const double slope = weight * cv.slope[e] * normal_density(z) / deviation;
      gradient[t * input.experts + e] += slope;
      gradient[t * input.experts + threshold] -= slope;
    }
  }
  return cv.value;
}

double balance_loss(const LossInput& input, double weight, std::span<double> gradient) {
  const Probabilities p(input);
  std::vector<double> share(input.experts, 0.0);
  double made = 0.0;
  for (const ExpertIndex e : input.choices) {
    if (e != kNoExpert) {
      share[e] += 1.0;
      made += 1.0;
    }
  }
  double loss = 0.0;
  for (std::size_t e = 0; e < input.experts; ++e) {
    share[e] *= made > 0.0 ? number(input.experts) / made : 0.0;
    loss += share[e] * p.mean()[e];
  }
  p.back([&](std::size_t, std::size_t e) { return share[e] / number(input.tokens); }, weight, gradient);
  return loss;
}

double gshard_loss(const LossInput& input, double weight, std::span<double> gradient) {
  const Probabilities p(input);
  std::vector<double> share(input.experts, 0.0);
  for (std::size_t t = 0; t < input.tokens; ++t) {
    if (input.slots > 0 && chosen(input, t)[0] != kNoExpert) {
      share[chosen(input, t)[0]] += number(input.experts) / number(input.tokens);
    }
  }
  double loss = 0.0;
  for (std::size_t e = 0; e < input.experts; ++e) {
    loss += share[e] * p.mean()[e];
  }
  p.back([&](std::size_t, std::size_t e) { return share[e] / number(input.tokens); }, weight, gradient);
  return loss;
}

namespace {

/// Σ_e share_{d(e)}·P_e, d(e) the device of expert e.
double loss_of_devices(const LossInput& input, const std::vector<double>& share, double weight,
                       std::span<double> gradient) {
  const Probabilities p(input);
  const std::size_t each = input.experts / input.devices;
  double loss = 0.0;
  for (std::size_t e = 0; e < input.experts; ++e) {
    loss += share[e / each] * p.mean()[e];
  }
  p.back([&](std::size_t, std::size_t e) { return share[e / each] / number(input.tokens); }, weight, gradient);
  return loss;
}

}  // namespace

double device_loss(const LossInput& input, double weight, std::span<double> gradient) {
  const std::size_t each = input.experts / input.devices;
  std::vector<double> share(input.devices, 0.0);
  double made = 0.0;
  for (const ExpertIndex e : input.choices) {
    if (e != kNoExpert) {
      share[e / each] += 1.0;
      made += 1.0;
    }
  }
  for (double& value : share) {
    value *= made > 0.0 ? number(input.devices) / made : 0.0;  // (E/made)·(a device's choices)/(its E/D experts)
  }
  return loss_of_devices(input, share, weight, gradient);
}

double communication_loss(const LossInput& input, double weight, std::span<double> gradient) {
  const std::size_t each = input.experts / input.devices;
  std::vector<double> share(input.devices, 0.0);
  std::vector<std::size_t> last_token(input.devices, input.tokens);
  const double part = number(input.devices) / number(input.devices_per_token * input.tokens);
  for (std::size_t t = 0; t < input.tokens; ++t) {
    for (const ExpertIndex e : chosen(input, t)) {
      if (e != kNoExpert && last_token[e / each] != t) {
        last_token[e / each] = t;
        share[e / each] += part;
      }
    }
  }
  return loss_of_devices(input, share, weight, gradient);
}

double z_loss(const LossInput& input, double weight, std::span<double> gradient) {
  double loss = 0.0;
  for (std::size_t t = 0; t < input.tokens; ++t) {
    const auto scores = row_of(input, t);
    const double z = log_sum_exp(scores);
    loss += z * z / number(input.tokens);
    for (std::size_t e = 0; e < input.experts; ++e) {
      gradient[t * input.experts + e] += weight * 2.0 * z * std::exp(scores[e] - z) / number(input.tokens);
    }
  }
  return loss;
}

namespace {

double log_of(double p) { return std::log(std::max(p, 1e-300)); }

}  // namespace

double mean_entropy_loss(const LossInput& input, double weight, std::span<double> gradient) {
  const Probabilities p(input);
  double loss = 0.0;
  for (const double mean : p.mean()) {
    loss += mean * log_of(mean);
  }
  p.back([&](std::size_t, std::size_t e) { return (log_of(p.mean()[e]) + 1.0) / number(input.tokens); }, weight,
         gradient);
  return loss;
}

double token_entropy_loss(const LossInput& input, double weight, std::span<double> gradient) {
  const Probabilities p(input);
  double loss = 0.0;
  for (std::size_t t = 0; t < input.tokens; ++t) {
    for (std::size_t e = 0; e < input.experts; ++e) {
      loss -= p.at(t, e) * log_of(p.at(t, e)) / number(input.tokens);
    }
  }
  p.back([&](std::size_t t, std::size_t e) { return -(log_of(p.at(t, e)) + 1.0) / number(input.tokens); }, weight,
         gradient);
  return loss;
}

double skill_loss(const LossInput& input, double weight, std::span<double> gradient) {
  const Probabilities p(input);
  double loss = 0.0;
  std::vector<double> slope(input.scores.size(), 0.0);
  for (std::size_t t = 0; t < input.tokens; ++t) {
    for (const ExpertIndex e : chosen(input, t)) {
      if (e != kNoExpert) {
        const double gain = input.skill[t * input.experts + e] / number(input.tokens);
        loss -= p.at(t, e) * gain;
        slope[t * input.experts + e] = -gain;
      }
    }
  }
  p.back([&](std::size_t t, std::size_t e) { return slope[t * input.experts + e]; }, weight, gradient);
  return loss;
}

LossWeights resolved(const LossWeights& given, const PublishedBalance& published) {
  LossWeights weights = given;
  weights.importance = given.importance.value_or(published.importance);
  weights.load = given.load.value_or(published.load);
  weights.balance = given.balance.value_or(published.balance);
  weights.gshard = given.gshard.value_or(published.gshard);
  weights.device = given.device.value_or(published.device);
  weights.communication = given.communication.value_or(published.communication);
  weights.z = given.z.value_or(published.z);
  weights.mean_entropy = given.mean_entropy.value_or(0.0);
  weights.token_entropy = given.token_entropy.value_or(0.0);
  // The published weights of losses then do about what they are published for. A bias has a step of its own, which our
  // few and large steps of W would leave far behind.
  constexpr double kSkill = 0.03;
  weights.skill = given.skill.value_or(published.bias_rate > 0.0 ? 0.0 : kSkill);
  return weights;
}

double total_loss(const LossInput& input, const LossWeights& weights, std::span<double> gradient) {
  double sum = 0.0;
  const auto add = [&](std::optional<double> weight, auto loss) {
    if (weight.value_or(0.0) > 0.0) {
      sum += *weight * loss(input, *weight, gradient);
    }
  };
  add(weights.importance, importance_loss);
  add(weights.load, load_loss);
  add(weights.balance, balance_loss);
  add(weights.gshard, gshard_loss);
  add(weights.device, device_loss);
  add(weights.communication, communication_loss);
  add(weights.z, z_loss);
  add(weights.mean_entropy, mean_entropy_loss);
  add(weights.token_entropy, token_entropy_loss);
  add(weights.skill, skill_loss);
  return sum;
}

}  // namespace moesim
