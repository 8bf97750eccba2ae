#include <fmt/format.h>

#include "workloads/routing/routers/score_source.hpp"

namespace moesim {

namespace {

class ModelledBlock final : public ScoreBlock {
 public:
  ModelledBlock(const TokenModel& model, const GateMatrix& gates, const DrawnTokens& tokens, std::size_t first,
                std::size_t count, std::uint64_t seed, double jitter)
      : model_(model), gates_(gates), jitter_(jitter), jitter_stream_(seed, "router.jitter", first) {
    const std::size_t width = model.width();
    fixed_ = std::span(tokens.fixed).subspan(first * width, count * width);
    const auto context = std::span(tokens.context).subspan(first * width, count * width);
    context_.assign(context.begin(), context.end());
    for (std::size_t t = first; t < first + count; ++t) {
      streams_.push_back(model.layer_stream(tokens.keys[t], seed));
    }
    input_.resize(count * width);
  }

  void next_layer(std::span<float> scores) override {
    const std::size_t width = model_.width();
    for (std::size_t t = 0; layer_ > 0 && t < streams_.size(); ++t) {
      model_.advance(std::span(context_).subspan(t * width, width), streams_[t]);
    }
    for (std::size_t i = 0; i < input_.size(); ++i) {
      input_[i] = fixed_[i] + context_[i];
      if (jitter_ > 0.0) {
        input_[i] *= static_cast<float>(1.0 + jitter_ * (2.0 * jitter_stream_.uniform() - 1.0));
      }
    }
    multiply(input_, gates_.layer(layer_), width, gates_.experts, scores);
    ++layer_;
  }

 private:
  const TokenModel& model_;
  const GateMatrix& gates_;
  double jitter_;
  RandomStream jitter_stream_;
  std::span<const float> fixed_;
  std::vector<float> context_;
  std::vector<RandomStream> streams_;
  std::vector<float> input_;
  std::size_t layer_ = 0;
};

class ModelledTokens final : public ScoredTokens {
 public:
  ModelledTokens(const TokenModel& model, const GateMatrix& gates, DrawnTokens tokens, std::uint64_t seed,
                 double jitter)
      : model_(model), gates_(gates), tokens_(std::move(tokens)), seed_(seed), jitter_(jitter) {}

  [[nodiscard]] std::unique_ptr<ScoreBlock> block(std::size_t first, std::size_t count) const override {
    return std::make_unique<ModelledBlock>(model_, gates_, tokens_, first, count, seed_, jitter_);
  }
  [[nodiscard]] std::span<const std::uint32_t> ids() const override { return tokens_.ids; }
  [[nodiscard]] std::span<const std::uint32_t> tasks() const override { return tokens_.topics; }

 private:
  const TokenModel& model_;
  const GateMatrix& gates_;
  DrawnTokens tokens_;
  std::uint64_t seed_;
  double jitter_;
};

}  // namespace

std::unique_ptr<ScoredTokens> ModelledScores::tokens(const TokenBatch& batch, std::uint64_t seed,
                                                     const TaskPool& pool) const {
  return std::make_unique<ModelledTokens>(*model_, gates_, model_->draw(batch, seed, pool), seed, jitter_);
}

std::string ModelledScores::provenance() const {
  const TokenModelOptions& options = model_->options();
  return fmt::format("scores of a token model of {} words and {} topics", options.vocabulary, options.topics);
}

}  // namespace moesim
