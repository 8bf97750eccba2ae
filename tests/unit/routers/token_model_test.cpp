#include "workloads/routing/routers/token_model.hpp"

#include <cmath>
#include <map>

#include "tests/unit/routers/fixture.hpp"
#include "workloads/routing/routers/gate_matrix.hpp"

using namespace moesim;
using namespace moesim::test;

namespace {

TokenBatch sequences(std::size_t count, std::size_t length) {
  TokenBatch batch;
  for (std::size_t s = 0; s < count; ++s) {
    for (std::size_t p = 0; p < length; ++p) {
      batch.tokens.push_back({static_cast<std::uint32_t>(s), static_cast<std::uint32_t>(p)});
    }
  }
  return batch;
}

/// Correlation of the elements of x of pairs of tokens `apart` tokens apart in the same sequence.
double correlation(const std::vector<float>& x, std::size_t width, std::size_t length, std::size_t apart) {
  double product = 0.0;
  double square = 0.0;
  const std::size_t tokens = x.size() / width;
  for (std::size_t t = 0; t + apart < tokens; ++t) {
    if (t % length + apart >= length) {
      continue;
    }
    for (std::size_t j = 0; j < width; ++j) {
      const double a = x[t * width + j];
      const double b = x[(t + apart) * width + j];
      product += a * b;
      square += 0.5 * (a * a + b * b);
    }
  }
  return product / square;
}

}  // namespace

TEST_CASE("vocabulary: frequencies follow Zipf's law and add up to one") {
  const Vocabulary vocabulary({.words = 100, .width = 2, .zipf = 1.0, .topics = 3, .topic_share = 0.25}, 7);
  double harmonic = 0.0;
  double sum = 0.0;
  for (std::size_t r = 1; r <= 100; ++r) {
    harmonic += 1.0 / static_cast<double>(r);
    sum += vocabulary.frequency(r - 1);
  }
  CHECK(sum == Approx(1.0));
  // The common order gives word 0 three quarters of its share; topics add at least the smallest of theirs.
  CHECK(vocabulary.frequency(0) >= 0.75 / harmonic);
  // Uniform numbers give words in proportion: an exact sweep over both.
  std::vector<double> found(100, 0.0);
  constexpr int kCells = 2000;
  for (int topic = 0; topic < 3; ++topic) {
    for (int i = 0; i < kCells; ++i) {
      const double place = (i + 0.5) / kCells;
      found[vocabulary.word_at(static_cast<std::size_t>(topic), 0.1, place)] += 0.25 / 3 / kCells;
      found[vocabulary.word_at(static_cast<std::size_t>(topic), 0.9, place)] += 0.75 / 3 / kCells;
    }
  }
  for (std::size_t id = 0; id < 100; ++id) {
    CHECK(found[id] == Approx(vocabulary.frequency(id)).margin(1.0 / kCells));
  }
}

TEST_CASE("token model: text does not depend on the rest of the batch, nor on threads") {
  TokenModelOptions options;
  options.vocabulary = 1000;
  const TokenModel model(options);
  const DrawnTokens all = model.draw(sequences(20, 50), 3, TaskPool(1));
  const DrawnTokens same = model.draw(sequences(20, 50), 3, TaskPool(4));
  CHECK(all.ids == same.ids);
  CHECK(all.context == same.context);
  const DrawnTokens few = model.draw(sequences(2, 50), 3, TaskPool(1));
  CHECK(std::equal(few.ids.begin(), few.ids.end(), all.ids.begin()));
  CHECK(model.draw(sequences(2, 50), 4, TaskPool(1)).ids != few.ids);
}

TEST_CASE("token model: correlation along the sequence and across layers is what its parameters say") {
  // Context alone: the correlation of tokens n apart is m^n, that of layers likewise. 40,000 tokens of 8 elements:
  // standard error below 0.01 even for neighbours that depend on each other.
  TokenModelOptions options;
  options.vocabulary = 16;
  options.width = 8;
  options.common = 0.0;
  options.word = 0.0;
  options.topic = 0.0;
  options.context = 1.0;
  options.context_memory = 0.8;
  options.layer_memory = 0.6;
  const TokenModel model(options);
  DrawnTokens tokens = model.draw(sequences(400, 100), 1, TaskPool(1));
  CHECK(correlation(tokens.context, 8, 100, 1) == Approx(0.8).margin(0.02));
  CHECK(correlation(tokens.context, 8, 100, 3) == Approx(0.512).margin(0.03));
  const std::vector<float> before = tokens.context;
  double product = 0.0;
  double square = 0.0;
  for (std::size_t t = 0; t < tokens.ids.size(); ++t) {
    RandomStream stream = model.layer_stream(tokens.keys[t], 1);
    const auto context = std::span(tokens.context).subspan(t * 8, 8);
    model.advance(context, stream);
    for (std::size_t j = 0; j < 8; ++j) {
      product += context[j] * before[t * 8 + j];
      square += context[j] * context[j];
    }
  }
  CHECK(product / square == Approx(0.6).margin(0.02));
  CHECK(square / static_cast<double>(tokens.context.size()) == Approx(1.0).margin(0.03));
}

TEST_CASE("token model: shares of variance") {
  // Without context a token is its word, its topic and what all have in common; another sequence's token shares the
  // common part alone, a quarter here. Width 256 keeps the common part's own squared length near its mean: standard
  // error sqrt(2/256) = 9 %.
  TokenModelOptions options;
  options.vocabulary = 5000;
  options.topics = 500;
  options.width = 256;
  options.zipf = 0.0;
  options.common = 1.0;
  options.word = 2.0;
  options.topic = 1.0;
  options.context = 0.0;
  const TokenModel model(options);
  const DrawnTokens tokens = model.draw(sequences(300, 1), 1, TaskPool(1));
  double inner = 0.0;
  double square = 0.0;
  std::size_t pairs = 0;
  for (std::size_t a = 0; a + 1 < 300; ++a) {
    if (tokens.topics[a] == tokens.topics[a + 1] || tokens.ids[a] == tokens.ids[a + 1]) {
      continue;
    }
    ++pairs;
    for (std::size_t j = 0; j < 256; ++j) {
      inner += tokens.fixed[a * 256 + j] * tokens.fixed[(a + 1) * 256 + j];
      square += tokens.fixed[a * 256 + j] * tokens.fixed[a * 256 + j];
    }
  }
  CHECK(square / static_cast<double>(pairs) / 256 == Approx(1.0).margin(0.08));
  CHECK(inner / square == Approx(0.25).margin(0.075));
}

TEST_CASE("gate matrix: products are sums in order, untrained logits have the stated deviation") {
  constexpr std::size_t kWidth = 5;
  constexpr std::size_t kExperts = 64 + 37;  // four vectors of 16, two blocks of 16 and a rest
  const std::vector<float> x = random_scores(9, kWidth, 1);
  const std::vector<float> w = random_scores(kWidth, kExperts, 2);
  std::vector<float> out(9 * kExperts);
  multiply(x, w, kWidth, kExperts, out);
  for (std::size_t t = 0; t < 9; ++t) {
    for (std::size_t e = 0; e < kExperts; ++e) {
      float sum = 0.0F;
      for (std::size_t j = 0; j < kWidth; ++j) {
        sum += x[t * kWidth + j] * w[j * kExperts + e];
      }
      REQUIRE(out[t * kExperts + e] == sum);
    }
  }
  const GateMatrix gates = GateMatrix::untrained(2, 16, 1000, 1.5, 1);
  double square = 0.0;
  for (const float weight : gates.layer(1)) {
    square += weight * weight / 1000.0;
  }
  CHECK(std::sqrt(square) == Approx(1.5).epsilon(0.04));  // |W|² per expert; 16,000 samples, five standard errors
  CHECK(gates.layer_bias(0).empty());
}
