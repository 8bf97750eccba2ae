#pragma once

#include <cstddef>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "sim/core/task_pool.hpp"
#include "workloads/routing/generator.hpp"
#include "workloads/routing/token_trace.hpp"

namespace moesim {

struct FitOptions {
  std::string name;
  std::string source = {};            ///< for the provenance
  std::string licence = {};           ///< for the provenance
  std::optional<std::size_t> k = {};  ///< needed for counts, which do not tell it
  std::size_t blocks = 32;  ///< contiguous blocks of experts with a load in common; 1 where it does not divide
  RoutingCorrelation correlation = {};  ///< to take over where only counts were recorded
  std::string correlation_source = {};  ///< what that was fitted on; empty: taken from deepseek-v2-lite's by fit()
  TraceOptions trace = {};
};

/// Fits how unevenly experts are used. Spreads are moments of the log counts within and between blocks, less what
/// sampling adds to them; the skew and a common factor on the block spreads are then set so that generated routing has
/// the recording's expert max/mean and its max/mean over as many ranks as blocks, in the mean over layers.
GeneratorParameters fit_counts(const CountTrace& counts, const FitOptions& options);

/// Fits that and the correlation: first across layers, then along sequences, each by coordinate search on generated
/// routing of the same shape and sequences against the statistics of correlation.hpp.
GeneratorParameters fit_tokens(const TokenTrace& trace, const FitOptions& options, const TaskPool& pool);

/// Fits a file: counts (.json) or recorded tokens. Throws ConfigError.
GeneratorParameters fit(const std::filesystem::path& recording, const FitOptions& options, const TaskPool& pool);

/// Max/mean over experts and over 8, 16, 32 ranks, in the mean over layers: recorded, and generated in the mean over
/// `models` imaginary models.
std::vector<FitCheck> check_popularity(const CountTrace& counts, const GeneratorParameters& parameters,
                                       std::size_t models);

/// To four decimals, as fitted parameters are written.
double rounded(double value);

/// A recorded trace as a step of just its tokens.
StepRouting whole_trace(const TokenTrace& trace);
/// A batch of sequences that begin at `starts`; one sequence where that is empty.
TokenBatch batch_of(std::size_t tokens, std::span<const std::size_t> starts);

}  // namespace moesim
