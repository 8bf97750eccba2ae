#pragma once

#include <cstdint>
#include <vector>

#include "sim/config/describe.hpp"
#include "sim/core/random.hpp"
#include "sim/core/task_pool.hpp"
#include "workloads/routing/routers/vocabulary.hpp"
#include "workloads/routing/types.hpp"

namespace moesim {

/// Text that routers are tried on where no scores were recorded. A sequence is about a topic, which changes now and
/// then; words are drawn from a Zipf law, of the topic or of all text. What a layer's router sees of a token is
///   x_l = √common·c + √word·W[id] + √topic·T[topic] + √context·z_l,   Σ shares = 1 after scaling, [width],
/// c, W, T and z standard normal: c is the same for all tokens (and makes some experts popular with all), W and T fix
/// what does not change along the layers, and z wanders, along the sequence in the first layer and then from layer to
/// layer: z' = m·z + √(1 − m²)·noise. Between the same token's x in layers a and b: correlation 1 − context·(1 −
/// m^|a−b|). The figures are not fitted to any model: recordings and their generators are for that.
struct TokenModelOptions {
  std::size_t vocabulary = 32768;
  double zipf = 1.0;
  std::size_t topics = 64;
  double topic_share = 0.5;
  double topic_tokens = 512.0;
  std::size_t width = 16;
  double common = 0.1;
  double word = 0.4;
  double topic = 0.2;
  double context = 0.3;
  double context_memory = 0.8;
  double layer_memory = 0.9;
  double sharpness = 1.5;
  std::uint64_t seed = 1;

  template <class F>
  static void describe(F& f) {
    f.optional("vocabulary", &TokenModelOptions::vocabulary, "Words", Rules::between(1, 1 << 20));
    f.optional("zipf", &TokenModelOptions::zipf, "Exponent of the words' frequencies", Rules::between(0, 4));
    f.optional("topics", &TokenModelOptions::topics, "What texts can be about; tasks, for routers that go by them",
               Rules::between(1, 4096));
    f.optional("topic_share", &TokenModelOptions::topic_share, "Words that a topic prefers in an order of its own",
               Rules::between(0, 1));
    f.optional("topic_tokens", &TokenModelOptions::topic_tokens, "Mean length of a passage on one topic",
               Rules::at_least(1));
    f.optional("width", &TokenModelOptions::width, "Of the vectors that routers see", Rules::between(1, 1024));
    f.optional("common", &TokenModelOptions::common, "Share of variance that all tokens have in common",
               Rules::between(0, 1));
    f.optional("word", &TokenModelOptions::word, "Share that is the word's", Rules::between(0, 1));
    f.optional("topic", &TokenModelOptions::topic, "Share that is the topic's", Rules::between(0, 1));
    f.optional("context", &TokenModelOptions::context, "Share that wanders along the sequence and the layers",
               Rules::between(0, 1));
    f.optional("context_memory", &TokenModelOptions::context_memory, "m from token to token", Rules::between(0, 1));
    f.optional("layer_memory", &TokenModelOptions::layer_memory, "m from layer to layer", Rules::between(0, 1));
    f.optional("sharpness", &TokenModelOptions::sharpness, "Standard deviation of an untrained router's logits",
               Rules::between(0.01, 100));
    f.optional("seed", &TokenModelOptions::seed, "Which language, and which untrained routers");
  }
};

/// Tokens of one step, drawn.
struct DrawnTokens {
  std::vector<std::uint32_t> ids;     ///< [tokens]
  std::vector<std::uint32_t> topics;  ///< [tokens]
  std::vector<float> fixed;           ///< [tokens, width]: what is the same in all layers
  std::vector<float> context;         ///< [tokens, width]: √context·z of the first layer
  std::vector<std::uint64_t> keys;    ///< [tokens]: sequence and position, for streams of random numbers
};

class TokenModel {
 public:
  explicit TokenModel(const TokenModelOptions& options);

  [[nodiscard]] const TokenModelOptions& options() const { return options_; }
  [[nodiscard]] const Vocabulary& vocabulary() const { return vocabulary_; }
  [[nodiscard]] std::size_t width() const { return options_.width; }

  /// A sequence's text does not depend on the rest of the batch; it begins anew where a run of positions does.
  [[nodiscard]] DrawnTokens draw(const TokenBatch& batch, std::uint64_t seed, const TaskPool& pool) const;
  /// What moves √context·z of one token from layer to layer: a stream of noise vectors.
  [[nodiscard]] RandomStream layer_stream(std::uint64_t key, std::uint64_t seed) const {
    return {seed, "tokens.layers", key};
  }
  /// One layer on.
  void advance(std::span<float> context, RandomStream& stream) const;

 private:
  void move(std::span<float> context, double memory, std::uint64_t bits) const;

  TokenModelOptions options_;
  Vocabulary vocabulary_;
  std::vector<float> common_;  ///< [width], √common·c
  std::vector<float> topics_;  ///< [topics, width], √topic·T
  std::vector<float> noise_;   ///< [kNoises, width], √context·standard normal
  float word_scale_ = 1.0F;
};

}  // namespace moesim
