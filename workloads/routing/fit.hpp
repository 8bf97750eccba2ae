#pragma once

#include <cstddef>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "sim/core/task_pool.hpp"
#include "workloads/routing/formats/recording.hpp"
#include "workloads/routing/generator.hpp"
#include "workloads/routing/token_trace.hpp"
#include "workloads/routing/trace_sample.hpp"

namespace moesim {

/// What a fit keeps of how popular experts are.
enum class FitPopularity {
  kEachExpert,  ///< each expert's load, beside the law: generated routing is that of the recorded model
  kLaw,         ///< only how uneven loads are: every seed is another imaginary model
};

struct FitOptions {
  std::string name;
  std::string source = {};            ///< for the provenance
  std::string licence = {};           ///< for the provenance
  std::optional<std::size_t> k = {};  ///< needed for counts that do not tell it
  std::size_t blocks = 32;  ///< contiguous blocks of experts with a load in common; 1 where it does not divide
  RoutingCorrelation correlation = {};  ///< to take over where only counts were recorded
  std::string correlation_source = {};  ///< what that was fitted on; empty: taken from deepseek-v2-lite's by fit()
  FitPopularity popularity = FitPopularity::kEachExpert;
};

/// Fits how unevenly experts are used. Spreads are moments of the log counts within and between blocks, less what
/// sampling adds to them; the skew and a common factor on the block spreads are then set so that generated routing has
/// the recording's expert max/mean and its max/mean over as many ranks as blocks, in the mean over layers.
/// An expert's own load is its recorded share, drawn towards the mean so far that loads of as many tokens generated
/// from it are as uneven as the recorded ones (fit_loads.hpp).
GeneratorParameters fit_counts(const CountTrace& counts, const FitOptions& options);

/// Fits that and the correlation, on at most 16384 tokens in stretches: the number of points and their turnover from
/// the association across layers, repeats and passages from what tokens of a sequence have in common. Where tokens
/// follow one another, experts' loads among them are fitted beside those among independent tokens.
GeneratorParameters fit_tokens(const TokenTrace& trace, const FitOptions& options, const TaskPool& pool);

/// Fits a recording. Throws ConfigError.
GeneratorParameters fit(const Recording& recording, const FitOptions& options, const TaskPool& pool);

/// What part of a recording is held back from a fit to be compared with what the fit generates.
enum class HoldBack {
  kSequences,  ///< every other sequence
  kTime,       ///< the second half
};

/// Fits one part of the recording, generates as much as the other part has, and compares: max/mean over experts and
/// over 8, 16, 32, 64 ranks, pairs of experts, tokens of a sequence. The part of a fit that `fitted_part` is of stands
/// beside it: what differs between the parts, no fit can know. Throws ConfigError where there is nothing to divide.
std::vector<FitCheck> check_held_back(const Recording& recording, const FitOptions& options, HoldBack how,
                                      const TaskPool& pool);
/// The same with all of the recording fitted, against another one of the same model.
std::vector<FitCheck> check_against(const Recording& recording, const Recording& other, const FitOptions& options,
                                    const TaskPool& pool);

/// Max/mean over experts and over 8, 16, 32, 64 ranks, in the mean over layers: recorded, and generated in the mean
/// over `models` imaginary models (one where the parameters have each expert's load).
std::vector<FitCheck> check_popularity(const CountTrace& counts, const GeneratorParameters& parameters,
                                       std::size_t models);

constexpr std::size_t kFitTokens = 16384;  ///< looked at for the correlation

/// Correlation as described at fit_tokens, for a model whose experts have these inclusion probabilities.
RoutingCorrelation fit_correlation(const TraceSample& sample, std::span<const double> inclusion, const TaskPool& pool);

/// fit_tokens for part of a recording: its counts, and tokens to look at for the correlation.
GeneratorParameters fit_part(const CountTrace& counts, const TraceSample& sample, const FitOptions& options,
                             const TaskPool& pool);
/// What a fit of counts takes from elsewhere: k, and the correlation of another recording. Throws ConfigError.
FitOptions completed_for_counts(const CountTrace& counts, const FitOptions& options);

/// To four decimals, as fitted parameters are written.
double rounded(double value);

/// A recorded trace as a step of just its tokens.
StepRouting whole_trace(const TokenTrace& trace);
/// A batch of sequences that begin at `starts`; one sequence where that is empty.
TokenBatch batch_of(std::size_t tokens, std::span<const std::size_t> starts);

}  // namespace moesim
