#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "models/kernels/fitted.hpp"
#include "sim/core/quantity.hpp"
#include "sim/core/task_pool.hpp"
#include "sim/scenario/scenario.hpp"

/// Holds simulated steps against serving runs that others measured.
namespace moesim {

/// What one server does of a request: all of it, or its tokens alone, after another server has read the prompt.
enum class ServerPhases { kAll, kDecode };

/// How many tokens a server gives a sequence in a step: one, or as many as are accepted of those that the model's own
/// modules of multi-token prediction draft.
enum class TokensPerStep { kOne, kSeveral };

/// One run of a server under steady load: the columns of aiconfigurator's table of measured runs.
struct ServingRun {
  std::string id;
  std::string backend;    ///< "vllm", "sglang", "trtllm"
  std::string model;      ///< Hugging Face repository
  std::string system;     ///< "h200_sxm"
  std::string precision;  ///< "fp8", "fp4", "int4", "bf16"
  std::int64_t prompt = 0;
  std::int64_t output = 0;     ///< tokens
  std::int64_t sequences = 0;  ///< running at once, per data-parallel rank
  ServerPhases phases = ServerPhases::kAll;
  int tensor_parallel = 1;
  int data_parallel = 1;
  int expert_tensor_parallel = 1;
  std::optional<SpeculativeDecoding> speculative = std::nullopt;
  Duration first_token = {};  ///< mean or median: the table does not say
  Duration per_output_token = {};

  [[nodiscard]] TokensPerStep tokens() const { return speculative ? TokensPerStep::kSeveral : TokensPerStep::kOne; }
};

/// A run that cannot be simulated, and why.
struct SkippedRun {
  std::string id;
  std::string kind;          ///< the same words for all runs like it
  std::string details = {};  ///< of this run
};

struct ServingTable {
  std::vector<ServingRun> runs;
  std::vector<SkippedRun> skipped;
};

/// Reads runs of one server (mode "agg"), and of servers for prompts and for tokens (mode "disagg") the latter's part,
/// where the table says how many sequences one of them ran. Pipelined ones are skipped, and those whose requests waited
/// longer for their first token than for all others: how many sequences ran at once is not known of them. Servers that
/// predict several tokens a step are known by layout, load, version and day (columns backend_version and
/// silicon_data_source, where there are such). Throws ConfigError naming file and line: a column
/// that is missing, a number that is none or not positive.
ServingTable read_serving_table(const std::filesystem::path& path);

/// Decode or prefill step of a run, the ranks laid out as the server's; std::nullopt with `reason` set for a model or
/// system that the catalogues do not have.
std::optional<Scenario> scenario_of(const ServingRun& run, const StepChoice& step, std::string& reason);

struct ServingPrediction {
  ServingRun run;
  std::string profile;
  Duration decode = {};  ///< one step of all sequences, half of the output generated; with what drafts tokens
  double tokens_per_step = 1.0;
  Duration prefill = {};  ///< what a prompt holds all sequences up for; nothing where another server reads the prompts
  Duration per_output_token = {};
  [[nodiscard]] double error() const { return per_output_token / run.per_output_token - 1.0; }
};

/// Errors of runs on one system with one server and model.
struct ServingErrors {
  ServerPhases phases = ServerPhases::kAll;
  TokensPerStep tokens = TokensPerStep::kOne;
  std::string system;
  std::string backend;
  std::string model;
  FitErrors errors;
};

struct ServingValidation {
  std::vector<ServingPrediction> predictions;  ///< in the order of the table
  std::vector<ServingErrors> groups;           ///< by system, server and model, those of all phases first
  std::optional<FitErrors> all;                ///< of servers of all phases, a token a step; absent where none was
  std::optional<FitErrors> several_tokens;     ///< of those that predict several tokens a step
  std::optional<FitErrors> disaggregated;      ///< of servers for tokens alone
  std::vector<SkippedRun> skipped;
};

/// Predicts the time per output token of each run. In steady state each of B running sequences is replaced once while
/// it generates its O tokens, and a prompt that comes in holds the server up, so that
///   time per output token = decode step of B sequences + B · prefill / O.
/// `prefill` is a step of its own for one prompt of P tokens where a server does either prompts or tokens in a step.
/// Where it does both at once, it is by how much longer that step is than one without the prompt: products and experts
/// over P + B tokens, the prompt's attention, and the sequences',
///   prefill = step of one prompt of P + B tokens + attention of the decode step − decode step,
/// which takes a little too much attention, that of B tokens of the prompt more. P and O are what the clients asked for
/// on average. A step that gives each sequence several tokens counts for so many, and a prompt is read beside all the
/// tokens that are verified; that modules of multi-token prediction read prompts too is left out, one layer of many.
/// A server for tokens alone stops for no prompts: its time per output token is its decode step. Times to
/// the first token are not predicted: prompts queue, and the tables do not say how they arrive (how many at once to
/// begin with, how many in all), nor over what a prompt's cache moves to the other server.
/// `system`, if not empty: only runs on that. Nothing is fitted to the runs: kernels come from the profile of the GPU
/// and the server; routing is generated like recordings of DeepSeek-V3 for its runs, and drawn from power laws as wide
/// as recordings are for other models.
ServingValidation validate_serving(const ServingTable& table, const std::string& system, const TaskPool& pool);

}  // namespace moesim
