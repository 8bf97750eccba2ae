#pragma once

#include <cstddef>
#include <span>
#include <vector>

namespace moesim {

/// How uneven experts' shares of a layer's choices are, by how many neighbours have it in common: what counts when each
/// rank has a contiguous block of experts. Level j divides the E experts into b_j equal blocks, b = 8, 16, 32, … as far
/// as that divides E, and E. With m_j(e) the mean share of expert e's block at level j, m at level −1 = 1/E,
///   p_e − 1/E = Σ_j d_j(e),   d_j(e) = m_j(e) − m_{j−1}(e),   Σ_e (p_e − 1/E)² = Σ_j Σ_e d_j(e)²:
/// a nested analysis of variance, whose parts are orthogonal.
class LoadLevels {
 public:
  explicit LoadLevels(std::size_t experts);

  [[nodiscard]] std::size_t count() const { return blocks_.size(); }
  [[nodiscard]] std::span<const std::size_t> blocks() const { return blocks_; }

  /// V_j = Σ_e d_j(e)² of each level, for shares or differences of shares [experts].
  [[nodiscard]] std::vector<double> variances(std::span<const double> shares) const;
  /// What independent tokens add to V_j in the mean: a token has X_B of its k choices in block B, of variance close to
  /// k·P_B(1 − P_B), P_B = Σ p_e, so that T tokens add S_j − S_{j−1} with S_j = Σ_B P_B(1 − P_B)/(T·k·E/b_j).
  /// `choices` = T·k. Experts of a token are distinct, which makes it less where k is not small beside E; chosen
  /// together, more: both are part of the design effect that is measured beside this (fit_loads.cpp).
  [[nodiscard]] std::vector<double> sampling(std::span<const double> shares, double choices) const;
  /// 1/E + Σ_j kept_j·d_j(e), where that is positive, else 0; Σ = Σ shares.
  [[nodiscard]] std::vector<double> drawn_to_mean(std::span<const double> shares, std::span<const double> kept) const;

 private:
  std::vector<std::size_t> blocks_;
};

}  // namespace moesim
