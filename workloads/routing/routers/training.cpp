#include "workloads/routing/routers/training.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <numeric>

#include "workloads/routing/routers/gate.hpp"

namespace moesim {

namespace {

/// Kingma and Ba 2015, arXiv 1412.6980, algorithm 1.
class Adam {
 public:
  explicit Adam(std::size_t size) : first_(size, 0.0), second_(size, 0.0) {}

  void update(std::span<float> weights, std::span<const double> gradient, double rate) {
    constexpr double kFirst = 0.9;
    constexpr double kSecond = 0.999;
    constexpr double kTiny = 1e-8;
    first_power_ *= kFirst;
    second_power_ *= kSecond;
    for (std::size_t i = 0; i < weights.size(); ++i) {
      first_[i] = kFirst * first_[i] + (1.0 - kFirst) * gradient[i];
      second_[i] = kSecond * second_[i] + (1.0 - kSecond) * gradient[i] * gradient[i];
      const double mean = first_[i] / (1.0 - first_power_);
      const double square = second_[i] / (1.0 - second_power_);
      weights[i] -= static_cast<float>(rate * mean / (std::sqrt(square) + kTiny));
    }
  }

 private:
  std::vector<double> first_;
  std::vector<double> second_;
  double first_power_ = 1.0;
  double second_power_ = 1.0;
};

TokenBatch batch_of(const TrainingOptions& options, std::size_t step) {
  TokenBatch batch;
  for (std::size_t t = 0; t < options.batch_tokens; ++t) {
    const std::size_t sequence = step * options.batch_tokens + t / options.sequence_tokens;
    batch.tokens.push_back(
        {static_cast<std::uint32_t>(sequence), static_cast<std::uint32_t>(t % options.sequence_tokens)});
  }
  return batch;
}

/// x of all tokens in every layer, [layers][tokens, width].
std::vector<std::vector<float>> inputs_of(const TokenModel& model, DrawnTokens& tokens, std::size_t layers,
                                          std::uint64_t seed) {
  const std::size_t width = model.width();
  std::vector<RandomStream> streams;
  for (const std::uint64_t key : tokens.keys) {
    streams.push_back(model.layer_stream(key, seed));
  }
  std::vector<std::vector<float>> inputs(layers);
  for (std::size_t layer = 0; layer < layers; ++layer) {
    for (std::size_t t = 0; layer > 0 && t < streams.size(); ++t) {
      model.advance(std::span(tokens.context).subspan(t * width, width), streams[t]);
    }
    inputs[layer].resize(tokens.fixed.size());
    for (std::size_t i = 0; i < tokens.fixed.size(); ++i) {
      inputs[layer][i] = tokens.fixed[i] + tokens.context[i];
    }
  }
  return inputs;
}

/// One layer's router and what training keeps of it.
class LayerTrainer {
 public:
  LayerTrainer(const TokenModel& model, GateMatrix& gates, const TokenRouter& router, const TrainingOptions& options,
               std::size_t layer, std::uint64_t seed)
      : width_(model.width()),
        experts_(gates.experts),
        layer_(layer),
        seed_(seed),
        router_(router),
        options_(options),
        losses_(resolved(options.losses, router.published_balance())),
        bias_rate_(options.bias_rate.value_or(router.published_balance().bias_rate)),
        weights_(std::span(gates.weights).subspan(layer * width_ * experts_, width_ * experts_)),
        adam_(width_ * experts_),
        skills_(losses_.skill.value_or(0.0) > 0.0 ? width_ * experts_ : 0, 0.0F) {
    if (!gates.bias.empty()) {
      bias_ = std::span(gates.bias).subspan(layer * experts_, experts_);
    }
  }

  TrainingRecord step(std::size_t step, std::vector<float> x, const DrawnTokens& tokens) {
    const std::size_t count = tokens.ids.size();
    RandomStream random(seed_, "training.step", step << 16 | layer_);
    if (router_.input_jitter() > 0.0) {
      for (float& value : x) {
        value *= static_cast<float>(1.0 + router_.input_jitter() * (2.0 * random.uniform() - 1.0));
      }
    }
    std::vector<float> scores(count * experts_);
    multiply(x, weights_, width_, experts_, scores);
    TrainingRecord record{.step = step, .layer = layer_};
    learn(x, scores, route(scores, tokens, random, record), record);
    return record;
  }

  /// Choices that the last step's tokens made of each expert.
  [[nodiscard]] const std::vector<double>& wanted() const { return wanted_; }

 private:
  /// All groups of the step, side by side.
  struct Routed {
    std::size_t slots = 0;
    std::vector<ExpertIndex> wished;  ///< [tokens, slots]
    std::vector<ExpertIndex> experts;
    std::vector<float> noise;  ///< [tokens, experts]
  };

  Routed route(std::span<const float> scores, const DrawnTokens& tokens, RandomStream& random, TrainingRecord& record) {
    const std::size_t count = tokens.ids.size();
    const std::size_t group = router_.group_tokens(count);
    const std::size_t each = group > 1 ? std::min(group, count) : count;
    std::vector<RoutedTokens> parts;
    Routed all;
    std::size_t choices = 0;
    std::size_t dropped = 0;
    for (std::size_t first = 0; first < count; first += each) {
      RouterInput input{.tokens = std::min(each, count - first), .experts = experts_, .scores = {}};
      input.scores = scores.subspan(first * experts_, input.tokens * experts_);
      input.token_ids = std::span(tokens.ids).subspan(first, input.tokens);
      input.tasks = std::span(tokens.topics).subspan(first, input.tokens);
      input.bias = bias_;
      input.phase = RouterPhase::kTraining;
      input.layer = layer_;
      router_.route(input, random, parts.emplace_back());
      all.slots = std::max(all.slots, parts.back().slots);
      choices += parts.back().choices;
      dropped += parts.back().dropped;
    }
    std::size_t unserved = 0;
    for (const RoutedTokens& part : parts) {
      all.noise.insert(all.noise.end(), part.noise.begin(), part.noise.end());
      const auto& wished = part.wished.empty() ? part.experts : part.wished;
      for (std::size_t first = 0; first < part.experts.size(); first += part.slots) {
        const auto token = std::span(part.experts).subspan(first, part.slots);
        unserved += std::all_of(token.begin(), token.end(), [](ExpertIndex e) { return e == kNoExpert; }) ? 1 : 0;
        all.experts.insert(all.experts.end(), token.begin(), token.end());
        all.experts.resize(all.experts.size() + all.slots - part.slots, kNoExpert);
        const auto wish = std::span(wished).subspan(first, part.slots);
        all.wished.insert(all.wished.end(), wish.begin(), wish.end());
        all.wished.resize(all.wished.size() + all.slots - part.slots, kNoExpert);
      }
    }
    record.dropped = choices > 0 ? static_cast<double>(dropped) / static_cast<double>(choices) : 0.0;
    record.unserved = static_cast<double>(unserved) / static_cast<double>(count);
    return all;
  }

  void learn(std::span<const float> x, std::span<const float> scores, const Routed& routed, TrainingRecord& record) {
    const std::size_t count = x.size() / width_;
    measure(scores, routed, record);
    LossInput input{.tokens = count, .experts = experts_, .scores = scores, .choices = routed.wished};
    input.slots = routed.slots;
    input.function = router_.score_function();
    input.form = router_.published_balance().form;
    input.devices = router_.published_balance().devices;
    input.devices_per_token = router_.published_balance().devices_per_token;
    input.noise = routed.noise;
    input.noise_deviation = router_.noise_deviation();
    std::vector<float> gains;
    if (!skills_.empty()) {
      gains.resize(scores.size());
      multiply(x, skills_, width_, experts_, gains);
      for (float& gain : gains) {
        gain /= static_cast<float>(width_);
      }
      input.skill = gains;
    }
    std::vector<double> slope(scores.size(), 0.0);
    record.loss = total_loss(input, losses_, slope);
    std::vector<double> gradient(width_ * experts_, 0.0);
    for (std::size_t t = 0; t < count; ++t) {
      for (std::size_t j = 0; j < width_; ++j) {
        for (std::size_t e = 0; e < experts_; ++e) {
          gradient[j * experts_ + e] += x[t * width_ + j] * slope[t * experts_ + e];
        }
      }
    }
    adam_.update(weights_, gradient, options_.learning_rate);
    improve(x, routed);
    const double mean = record_mean();
    for (std::size_t e = 0; e < bias_.size(); ++e) {  // b += γ·sign(mean load − load)
      const double sign = wanted_[e] < mean ? 1.0 : wanted_[e] > mean ? -1.0 : 0.0;
      bias_[e] += static_cast<float>(bias_rate_ * sign);
    }
  }

  [[nodiscard]] double record_mean() const {
    return std::accumulate(wanted_.begin(), wanted_.end(), 0.0) / static_cast<double>(experts_);
  }

  void measure(std::span<const float> scores, const Routed& routed, TrainingRecord& record) {
    wanted_.assign(experts_, 0.0);
    for (const ExpertIndex e : routed.wished) {
      if (e != kNoExpert) {
        wanted_[e] += 1.0;
      }
    }
    const double mean = record_mean();
    double variance = 0.0;
    for (const double load : wanted_) {
      variance += (load - mean) * (load - mean) / static_cast<double>(experts_);
      record.unused_experts += load == 0.0 ? 1.0 : 0.0;
    }
    if (mean > 0.0) {
      record.max_over_mean = *std::max_element(wanted_.begin(), wanted_.end()) / mean;
      record.variation = std::sqrt(variance) / mean;
    }
    std::vector<float> p(experts_);
    const std::size_t count = scores.size() / experts_;
    for (std::size_t t = 0; t < count; ++t) {
      softmax(scores.subspan(t * experts_, experts_), p);
      for (const float value : p) {
        record.entropy -= value > 0.0F ? value * std::log2(value) / static_cast<double>(count) : 0.0;
      }
    }
  }

  /// Experts learn from the tokens that they got.
  void improve(std::span<const float> x, const Routed& routed) {
    if (skills_.empty()) {
      return;
    }
    std::vector<double> sum(width_ * experts_, 0.0);
    std::vector<double> got(experts_, 0.0);
    double all = 0.0;
    for (std::size_t i = 0; i < routed.experts.size(); ++i) {
      const ExpertIndex e = routed.experts[i];
      if (e == kNoExpert) {
        continue;
      }
      got[e] += 1.0;
      all += 1.0;
      for (std::size_t j = 0; j < width_; ++j) {
        sum[j * experts_ + e] += x[i / routed.slots * width_ + j];
      }
    }
    for (std::size_t e = 0; e < experts_; ++e) {
      const double rate =
          options_.skill_rate * std::min(1.0, static_cast<double>(experts_) * got[e] / std::max(all, 1.0));
      for (std::size_t j = 0; j < width_ && got[e] > 0.0; ++j) {
        float& skill = skills_[j * experts_ + e];
        skill += static_cast<float>(rate * (sum[j * experts_ + e] / got[e] - skill));
      }
    }
  }

  std::size_t width_;
  std::size_t experts_;
  std::size_t layer_;
  std::uint64_t seed_;
  const TokenRouter& router_;
  const TrainingOptions& options_;
  LossWeights losses_;
  double bias_rate_;
  std::span<float> weights_;  // [width, experts]
  std::span<float> bias_;     // [experts]
  Adam adam_;
  std::vector<float> skills_;   // [width, experts]
  std::vector<double> wanted_;  // [experts], choices of the last step before any was dropped
};

/// Share of choices beyond ⌊CF·choices/E⌋ rows of an expert.
double drop_rate(std::span<const double> wanted, double factor) {
  const double all = std::accumulate(wanted.begin(), wanted.end(), 0.0);
  const double rows = std::floor(factor * all / static_cast<double>(wanted.size()));
  double over = 0.0;
  for (const double load : wanted) {
    over += std::max(0.0, load - rows);
  }
  return all > 0.0 ? over / all : 0.0;
}

}  // namespace

TrainingLog train(const TokenModel& model, GateMatrix& gates, const TokenRouter& router, const TrainingOptions& options,
                  std::uint64_t seed, const TaskPool& pool) {
  const LossWeights losses = resolved(options.losses, router.published_balance());
  if (losses.load.value_or(0.0) > 0.0 && router.noise_deviation() <= 0.0) {
    throw ModelError("the load loss is defined for routers with noise on their logits, and this one has none");
  }
  const bool of_devices = losses.device.value_or(0.0) > 0.0 || losses.communication.value_or(0.0) > 0.0;
  if (of_devices && router.published_balance().devices == 0) {
    throw ModelError("the losses of devices are defined for routers that know devices, and this one knows none");
  }
  const double bias_rate = options.bias_rate.value_or(router.published_balance().bias_rate);
  if (bias_rate > 0.0 && gates.bias.empty()) {
    gates.bias.assign(gates.layers * gates.experts, 0.0F);
  }
  std::vector<LayerTrainer> trainers;
  for (std::size_t layer = 0; layer < gates.layers; ++layer) {
    trainers.emplace_back(model, gates, router, options, layer, seed);
  }
  TrainingLog log;
  log.weights = losses;
  log.bias_rate = bias_rate;
  std::vector<TrainingRecord> records(gates.layers);
  for (std::size_t step = 0; step < options.steps; ++step) {
    DrawnTokens tokens = model.draw(batch_of(options, step), seed, pool);
    const auto inputs = inputs_of(model, tokens, gates.layers, seed);
    pool.for_each_index(gates.layers,
                        [&](std::size_t layer) { records[layer] = trainers[layer].step(step, inputs[layer], tokens); });
    if (step % options.record_every == 0 || step + 1 == options.steps) {
      log.records.insert(log.records.end(), records.begin(), records.end());
    }
  }
  constexpr std::array kFactors{1.0, 1.125, 1.25, 1.5, 1.75, 2.0, 2.5, 3.0, 4.0, 6.0, 8.0};
  for (const double factor : kFactors) {
    TrainingLog::DropRate rate{factor, 0.0};
    for (const LayerTrainer& trainer : trainers) {
      rate.dropped += options.steps > 0 ? drop_rate(trainer.wanted(), factor) / static_cast<double>(gates.layers) : 0.0;
    }
    log.drop_rates.push_back(rate);
  }
  return log;
}

}  // namespace moesim
