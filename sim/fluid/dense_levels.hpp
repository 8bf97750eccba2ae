#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "sim/fluid/packed_flows.hpp"

namespace moesim::fluid {

/// A flow that has all its amount within the present window.
struct Ending {
  std::uint32_t flow;
  std::uint32_t head, tail;  ///< DenseLevels::head_links, tail_links: its links
  float left;                ///< at the begin of the window
};

/// The links' levels for a window, over packed flows.
///
/// With h the length of the window, A_f what flow f has left, the rates of the window are
///
///   (1)  x_f = min(A_f/h, min_{l used by f} u_l)
///   (2)  Σ_f w_{f,l}·x_f = C_l where u_l binds somebody, and less than C_l where it does not.
///
/// A link's (2), the other levels given, is solved by Newton's method: F(u) = Σ_f w·min(u, m_f), with m_f what the rest
/// allows, is piecewise linear and concave, so that each step (C − Σ_{m<u} w·m)/Σ_{m≥u} w ends at or below the root. A
/// sweep solves the links that are first for all their flows one after the other, and makes one step for all others.
/// Levels change little from one window to the next: a few sweeps do. They end when links with all but a small part
/// (kWrong) of the flows are within a thousandth of their capacity, or after kMaxSweeps; what a link has carried too
/// much or too little it makes up for in the next window, up to kMostOwed of its capacity.
///
/// Amounts and sums over flows are of single precision: sums are good to about 1e-6 (1e-5 for a hundred thousand flows
/// over one link), of levels that are to be good to 1e-3. What a window takes from an amount must not be lost in it:
/// KnownFlowsOptions::epsilon.
class DenseLevels {
 public:
  explicit DenseLevels(const Component& component);

  void begin(std::uint32_t flow);

  /// Levels for a window of length `length`; 0: for an instant.
  void solve(double length);
  /// The time in which the first flow would be through at the present levels.
  [[nodiscard]] double least_time();
  /// How many flows would be through within `length` at the present levels.
  [[nodiscard]] std::size_t ends(double length);
  /// Moves on by `length`, for which solve() was called: appends who is through, and takes them out.
  void advance(double length, std::vector<Ending>& endings);

  /// Calls `visit(flow, left)` for each live flow.
  template <class Visit>
  void each_live(const Visit& visit) const {
    packed_.each_live(visit);
  }

  [[nodiscard]] std::span<const std::uint32_t> head_links(std::uint32_t head) const { return packed_.head(head).links; }
  [[nodiscard]] std::span<const std::uint32_t> tail_links(std::uint32_t tail) const { return packed_.tail(tail); }

  [[nodiscard]] std::size_t live() const { return live_; }
  [[nodiscard]] double level(std::uint32_t link) const { return level_[link]; }
  [[nodiscard]] std::uint32_t users(std::uint32_t link) const { return users_[link]; }
  void leave(std::uint32_t link) { --users_[link]; }
  [[nodiscard]] Sums sums(std::uint32_t link) const { return {elsewhere_[link], here_[link]}; }
  [[nodiscard]] double target(std::uint32_t link) const { return target_[link]; }

 private:
  void sweep(float inverse_length);
  void take_levels();
  void solve_row(const Row& row, float inverse_length);
  void add_sums(std::span<const std::uint32_t> links, float level, const Sums& sums);
  /// How far links are off.
  struct Wrong {
    double flows = 0.0;  ///< on those that are off by more than they may be
    double worst = 0.0;  ///< by what part of its capacity one is; infinite: one that holds nobody back has too much
  };
  double step(std::size_t link);
  Wrong step_all();
  [[nodiscard]] float least_level(std::span<const std::uint32_t> links) const;

  const Component& component_;
  const LaneKernels& kernels_;
  PackedFlows packed_;
  std::vector<double> target_;  // capacity in this window: with what is owed from the one before
  std::vector<double> owed_, owing_;
  std::vector<double> level_;
  std::vector<double> before_;            // levels of the last sweep
  std::vector<double> elsewhere_, here_;  // Sums
  std::vector<std::uint32_t> users_;
  std::vector<char> alone_;                                       // [links]: is it first for all its flows?
  AlignedVector<float> tail_level_, tail_elsewhere_, tail_here_;  // [tails]
  std::vector<float> head_level_;                                 // [heads], without the row's own link
  std::vector<std::uint32_t> places_;                             // of who is through
  std::vector<float> had_;
  std::size_t live_ = 0;
  std::size_t at_compaction_ = SIZE_MAX;  // live flows
};

}  // namespace moesim::fluid
