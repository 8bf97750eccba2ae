#pragma once

#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "sim/core/file.hpp"
#include "sim/core/task_pool.hpp"
#include "workloads/routing/npy.hpp"
#include "workloads/routing/routers/gate_matrix.hpp"
#include "workloads/routing/routers/router.hpp"
#include "workloads/routing/routers/token_model.hpp"

/// Where routers' scores come from.
namespace moesim {

/// Some neighbouring tokens of a step, walked through the layers.
class ScoreBlock {
 public:
  virtual ~ScoreBlock() = default;
  /// Logits [tokens, experts] of the next layer; the first call is for layer 0.
  virtual void next_layer(std::span<float> scores) = 0;
};

/// The tokens of a step.
class ScoredTokens {
 public:
  virtual ~ScoredTokens() = default;
  [[nodiscard]] virtual std::unique_ptr<ScoreBlock> block(std::size_t first, std::size_t count) const = 0;
  [[nodiscard]] virtual std::span<const std::uint32_t> ids() const { return {}; }
  [[nodiscard]] virtual std::span<const std::uint32_t> tasks() const { return {}; }
  [[nodiscard]] virtual std::vector<std::string> warnings() const { return {}; }
};

class ScoreSource {
 public:
  virtual ~ScoreSource() = default;
  [[nodiscard]] virtual std::unique_ptr<ScoredTokens> tokens(const TokenBatch& batch, std::uint64_t seed,
                                                             const TaskPool& pool) const = 0;
  /// "scores of a token model of …", "scores in FILE".
  [[nodiscard]] virtual std::string provenance() const = 0;
};

/// Scores of the token model's text by linear routers. `jitter`: ε of the routers' input jitter.
class ModelledScores final : public ScoreSource {
 public:
  ModelledScores(std::shared_ptr<const TokenModel> model, GateMatrix gates, double jitter)
      : model_(std::move(model)), gates_(std::move(gates)), jitter_(jitter) {}
  [[nodiscard]] std::unique_ptr<ScoredTokens> tokens(const TokenBatch& batch, std::uint64_t seed,
                                                     const TaskPool& pool) const override;
  [[nodiscard]] std::string provenance() const override;
  [[nodiscard]] const GateMatrix& gates() const { return gates_; }

 private:
  std::shared_ptr<const TokenModel> model_;
  GateMatrix gates_;
  double jitter_;
};

/// Scores that the user has: .npy of float32 or float64, [tokens, layers, experts], or [tokens, experts] for one layer.
/// A step's token i has row i mod tokens. Memory-mapped; numbers are checked as they are read.
class FileScores final : public ScoreSource {
 public:
  /// Throws ConfigError naming the file.
  FileScores(const std::filesystem::path& path, std::size_t layers, std::size_t experts);
  [[nodiscard]] std::unique_ptr<ScoredTokens> tokens(const TokenBatch& batch, std::uint64_t seed,
                                                     const TaskPool& pool) const override;
  [[nodiscard]] std::string provenance() const override;

 private:
  MappedFile file_;
  NpyHeader header_;
  std::size_t layers_;
  std::size_t experts_;
};

/// [layers, experts] of a file of scores. Throws ConfigError naming it where it is none.
struct ScoreShape {
  std::size_t tokens = 0;
  std::size_t layers = 0;
  std::size_t experts = 0;
};
ScoreShape score_shape(const std::filesystem::path& path);

}  // namespace moesim
