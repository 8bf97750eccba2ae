#pragma once

#include <optional>
#include <string_view>

#include "sim/scenario/speculative.hpp"
#include "validate/cases/serving.hpp"

/// Which of the measured servers predict several tokens a step, which tables do not say.
namespace moesim {

/// What a table says of when and by what a run was measured; empty where it does not.
struct Provenance {
  std::string_view version;   ///< of the server
  std::string_view measured;  ///< the day, YYYY-MM-DD
};

/// How many tokens a run drafts for each step, by its launch script, and with what probability they are accepted, as
/// published elsewhere; std::nullopt for a run that generates one token a step.
std::optional<SpeculativeDecoding> speculative_of(const ServingRun& run, const Provenance& provenance);

}  // namespace moesim
