#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "workloads/routing/count_trace.hpp"
#include "workloads/routing/generator.hpp"

namespace moesim {

/// By level of LoadLevels: how many times as uneven the loads of finitely many tokens come out as those of independent
/// choices would, about the same popularity; Kish's design effect (Survey Sampling, 1965, section 8.2).
using DesignEffects = std::vector<double>;

/// The effect of `source` on tokens laid out as `batch`: Σ V_j(realised − expected shares)/Σ S_j, sums over layers and
/// a few draws. Without neighbours it tells of what a token's experts have to do with one another; with them, of tokens
/// that stay with some experts.
DesignEffects design_effects(const GeneratedSource& source, std::span<const double> inclusion, const TokenBatch& batch,
                             const TaskPool& pool);

/// Each expert's choices per token [layers][experts]: its recorded share, drawn towards the mean so far that loads of
/// as many tokens generated from it are as uneven as the recorded ones. What is generated adds N_j = effect_j·S_j to
/// the variance between blocks of each level j, which the recorded V_j have to leave room for:
///   p̃_e = 1/E + Σ_j λ_j·d_j(e),   λ_j² = max(0, 1 − c_j·N_j/V_j).
/// c_j is 1 unless a layer has less variance than chance adds: what it has too much is made up for by the others, such
/// that Σ max(0, V_j − c_j·N_j) = Σ (V_j − N_j) over layers, where that is possible. V, d and S as at LoadLevels.
std::vector<std::vector<double>> fitted_loads(const CountTrace& counts, std::size_t k, const DesignEffects& effects);

/// The same for tokens laid out as `batch` of a model with this correlation: the effects are measured on what is
/// generated.
std::vector<std::vector<double>> fitted_loads(const CountTrace& counts, const RoutingShape& shape,
                                              const RoutingCorrelation& correlation, const TokenBatch& batch,
                                              const TaskPool& pool);

}  // namespace moesim
