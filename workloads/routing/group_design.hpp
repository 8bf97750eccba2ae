#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "workloads/routing/cumulative_table.hpp"

namespace moesim {

constexpr std::size_t kMostGroups = 64;          ///< one bit each
constexpr std::size_t kMostGroupsPerToken = 16;  ///< where the choice of groups is limited

/// Experts come in `groups` equal contiguous blocks, and a token's experts may come from `per_token` of them
/// (DeepSeek's group-limited routing, arXiv 2412.19437, section 2.1.2).
struct GroupLimit {
  std::size_t groups = 1;
  std::size_t per_token = 1;
  [[nodiscard]] bool limits() const { return per_token < groups; }
  bool operator==(const GroupLimit&) const = default;
};

/// Draws `per_token` of the groups so that group g is among them with probability α_g, and otherwise as evenly as can
/// be: conditional Poisson sampling, P(S) ∝ Π_{g∈S} v_g (Hájek 1964; Tillé, Sampling Algorithms, chapter 5).
class GroupDesign {
 public:
  GroupDesign() = default;
  /// `shares[g]`: experts of group g per token, in the mean (their sum is k). α is proportional to them as far as that
  /// keeps `least[g]` ≤ α_g ≤ 1.
  GroupDesign(std::span<const double> shares, std::span<const double> least, std::size_t per_token);

  /// The drawn groups as bits, from one uniform number.
  [[nodiscard]] std::uint64_t draw(double u) const;
  /// v_g, scaled so that Σ_S Π_{g∈S} v_g = 1.
  [[nodiscard]] std::span<const double> odds() const { return odds_; }
  [[nodiscard]] std::span<const double> inclusion() const { return inclusion_; }
  [[nodiscard]] std::size_t per_token() const { return per_token_; }

 private:
  void list_sets();
  [[nodiscard]] double include(std::size_t group, std::size_t needed) const {
    return include_[group * (per_token_ + 1) + needed];
  }

  std::size_t per_token_ = 0;
  std::vector<double> odds_;
  std::vector<double> inclusion_;
  std::vector<double> include_;      ///< [group, needed]: probability to take the group when that many are still needed
  std::vector<std::uint64_t> sets_;  ///< all sets, where they are few: one look-up instead of a pass over the groups
  CumulativeTable table_;            ///< over sets_
};

}  // namespace moesim
