#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "sim/config/describe.hpp"
#include "sim/core/task_pool.hpp"
#include "workloads/routing/routers/gate_matrix.hpp"
#include "workloads/routing/routers/losses.hpp"
#include "workloads/routing/routers/router.hpp"
#include "workloads/routing/routers/token_model.hpp"

/// Routers trained for balance on the token model's text: no language model, only the losses that act on routers.
namespace moesim {

struct TrainingOptions {
  std::size_t steps = 500;
  std::size_t batch_tokens = 1024;
  std::size_t sequence_tokens = 128;
  double learning_rate = 0.01;
  LossWeights losses;
  std::optional<double> bias_rate = std::nullopt;
  double skill_rate = 0.05;
  std::size_t record_every = 1;

  template <class F>
  static void describe(F& f) {
    f.optional("steps", &TrainingOptions::steps, "Steps of training", Rules::between(0, 1000000));
    f.optional("batch_tokens", &TrainingOptions::batch_tokens, "Tokens of one step", Rules::between(1, 1 << 20));
    f.optional("sequence_tokens", &TrainingOptions::sequence_tokens, "Tokens of each of its sequences",
               Rules::between(1, 1 << 20));
    f.optional("learning_rate", &TrainingOptions::learning_rate, "Of Adam, with its usual decays", Rules::above_zero());
    f.optional("losses", &TrainingOptions::losses, "Weights of the losses");
    f.optional("bias_rate", &TrainingOptions::bias_rate,
               "Step of the selection bias, DeepSeek-V3's; absent: as published", Rules::at_least(0));
    f.optional("skill_rate", &TrainingOptions::skill_rate, "How fast experts learn from tokens, for the skill loss",
               Rules::between(0, 1));
    f.optional("record_every", &TrainingOptions::record_every, "Steps from one record to the next",
               Rules::between(1, 1000000));
  }
};

/// One layer after one step's forward pass, before its update.
struct TrainingRecord {
  std::size_t step = 0;
  std::size_t layer = 0;
  double loss = 0.0;            ///< Σ weight·loss
  double max_over_mean = 0.0;   ///< of choices before any is dropped; MaxVio + 1
  double variation = 0.0;       ///< their standard deviation over their mean
  double dropped = 0.0;         ///< share of choices that found no room
  double unserved = 0.0;        ///< share of tokens that no expert serves
  double unused_experts = 0.0;  ///< that no token chose
  double entropy = 0.0;         ///< mean over tokens of the router's, in bits
};

struct TrainingLog {
  std::vector<TrainingRecord> records;  ///< by step, then layer
  /// Last step, mean over layers: share of choices above capacity factor · choices/experts.
  struct DropRate {
    double capacity_factor = 0.0;
    double dropped = 0.0;
  };
  std::vector<DropRate> drop_rates;
  LossWeights weights;  ///< trained with
  double bias_rate = 0.0;
};

/// Trains the routers of all layers, each by itself, and their selection bias where there is one. The gradient of a
/// step: losses → logits → W, with Adam (β 0.9, 0.999).
///
/// Skill: expert e has a vector u_e [width], 0 at first, which moves to the mean of the tokens that it got, the faster
/// the larger its share of them is: u_e += rate·min(1, E·n_e/(T·k))·(mean x − u_e). It would gain token x u_e·x/width.
TrainingLog train(const TokenModel& model, GateMatrix& gates, const TokenRouter& router, const TrainingOptions& options,
                  std::uint64_t seed, const TaskPool& pool);

/// One record a step: the mean over its layers.
std::vector<TrainingRecord> mean_over_layers(const TrainingLog& log);

/// "balance 0.01, skill 0.1": what was trained with, as far as it is not 0.
std::string training_weights(const TrainingLog& log);

/// Tables for plotting: one line a record.
std::string training_csv(const TrainingLog& log);
Json training_json(const TrainingLog& log);

}  // namespace moesim
