#include "workloads/routing/routers/token_model.hpp"

#include <algorithm>
#include <cmath>

#include "sim/core/random.hpp"
#include "workloads/routing/runs.hpp"

namespace moesim {

namespace {

/// Noise vectors are drawn once; a token picks one of them, which is hundreds of times cheaper than drawing anew.
constexpr std::size_t kNoises = 4096;

std::vector<float> normals(std::uint64_t seed, std::string_view name, std::size_t count, double deviation) {
  RandomStream random(seed, name);
  std::vector<float> values(count);
  for (float& value : values) {
    value = static_cast<float>(deviation * random.normal());
  }
  return values;
}

}  // namespace

TokenModel::TokenModel(const TokenModelOptions& options)
    : options_(options),
      vocabulary_({options.vocabulary, options.width, options.zipf, options.topics, options.topic_share},
                  options.seed) {
  const double sum = options.common + options.word + options.topic + options.context;
  const auto deviation = [&](double share) { return sum > 0.0 ? std::sqrt(share / sum) : 0.0; };
  common_ = normals(options.seed, "tokens.common", options.width, deviation(options.common));
  topics_ = normals(options.seed, "tokens.topics", options.topics * options.width, deviation(options.topic));
  noise_ = normals(options.seed, "tokens.noise", kNoises * options.width, deviation(options.context));
  word_scale_ = static_cast<float>(deviation(options.word));
}

void TokenModel::move(std::span<float> context, double memory, std::uint64_t bits) const {
  const float* noise = noise_.data() + bits % kNoises * options_.width;
  const auto kept = static_cast<float>(memory);
  const auto fresh = static_cast<float>(std::sqrt(1.0 - memory * memory));
  for (std::size_t j = 0; j < context.size(); ++j) {
    context[j] = kept * context[j] + fresh * noise[j];
  }
}

void TokenModel::advance(std::span<float> context, RandomStream& stream) const {
  move(context, options_.layer_memory, stream.bits());
}

DrawnTokens TokenModel::draw(const TokenBatch& batch, std::uint64_t seed, const TaskPool& pool) const {
  const std::size_t width = options_.width;
  const std::size_t count = batch.tokens.size();
  DrawnTokens tokens;
  tokens.ids.resize(count);
  tokens.topics.resize(count);
  tokens.keys.resize(count);
  tokens.fixed.resize(count * width);
  tokens.context.resize(count * width);
  const std::vector<TokenRun> runs = runs_of(batch);
  constexpr std::size_t kRunsPerTask = 64;  // decode batches are runs of one token
  pool.for_each_index((runs.size() + kRunsPerTask - 1) / kRunsPerTask, [&](std::size_t task) {
    for (std::size_t r = task * kRunsPerTask; r < std::min(runs.size(), (task + 1) * kRunsPerTask); ++r) {
      const TokenSlot& slot = batch.tokens[runs[r].first];
      const std::uint64_t key = std::uint64_t{slot.sequence} << 32 | slot.position;
      RandomStream random(seed, "tokens.text", key);
      std::size_t topic = random.below(options_.topics);
      std::vector<float> context(width, 0.0F);
      move(context, 0.0, random.bits());
      for (std::size_t i = 0; i < runs[r].count; ++i) {
        const std::size_t t = runs[r].first + i;
        if (i > 0) {
          move(context, options_.context_memory, random.bits());
          topic = random.uniform() * options_.topic_tokens < 1.0 ? random.below(options_.topics) : topic;
        }
        const double order = random.uniform();
        tokens.ids[t] = vocabulary_.word_at(topic, order, random.uniform());
        tokens.topics[t] = static_cast<std::uint32_t>(topic);
        tokens.keys[t] = key + i;
        const auto word = vocabulary_.embedding(tokens.ids[t]);
        for (std::size_t j = 0; j < width; ++j) {
          tokens.fixed[t * width + j] = common_[j] + topics_[topic * width + j] + word_scale_ * word[j];
          tokens.context[t * width + j] = context[j];
        }
      }
    }
  });
  return tokens;
}

}  // namespace moesim
