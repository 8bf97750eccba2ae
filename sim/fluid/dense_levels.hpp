#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "sim/fluid/run_kernels.hpp"

namespace moesim::fluid {

/// A flow that has all its amount within the present window.
struct Ending {
  std::uint32_t flow;
  double left;  ///< at the begin of the window
};

/// The live flows in dense arrays, a row for each first link (of those that can bind) and number of further links, and
/// the links' levels for a window.
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
class DenseLevels {
 public:
  explicit DenseLevels(std::vector<double> capacities);

  /// First all flows are counted, with their links, the row's first; then each is given its place, in any order; then
  /// they begin.
  void count(std::span<const std::uint32_t> links);
  void counted();
  void place(std::uint32_t flow, std::span<const std::uint32_t> links);
  void placed();
  void begin(std::uint32_t flow, double amount, std::span<const std::uint32_t> links);

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
    for (const Row& row : rows_) {
      for (std::size_t i = row.begin; row.live > 0 && i < row.begin + row.places; ++i) {
        if (left_[i] > 0.0) {
          visit(flow_[i], left_[i]);
        }
      }
    }
  }

  [[nodiscard]] std::size_t live() const { return live_; }
  [[nodiscard]] double level(std::uint32_t link) const { return level_[link]; }
  [[nodiscard]] std::uint32_t users(std::uint32_t link) const { return users_[link]; }
  void leave(std::uint32_t link) { --users_[link]; }
  [[nodiscard]] Sums sums(std::uint32_t link) const { return {elsewhere_[link], here_[link]}; }
  [[nodiscard]] double target(std::uint32_t link) const { return target_[link]; }

 private:
  struct Row {
    std::uint32_t link;
    std::uint32_t others = 0;
    std::size_t places = 0;
    std::size_t live = 0;
    std::size_t begin = 0;        ///< in left_, flow_
    std::size_t begin_other = 0;  ///< in other_
    std::size_t first_run = 0;
    std::size_t runs = 0;
  };

  void sweep(double inverse_length);
  void limits(const Row& row, double inverse_length);
  template <int kOthers>
  void gather_limits(const Row& row, double inverse_length);
  void scatter(const Row& row);
  template <int kOthers>
  void gather_scatter(const Row& row);
  double solve_row(const Row& row);
  void advance_row(Row& row, double length, std::vector<Ending>& endings);
  void compact(Row& row);
  [[nodiscard]] RunRow runs_of(const Row& row);
  double step(std::size_t link);

  const RunKernels& kernels_;
  std::vector<double> capacity_;
  std::vector<double> target_;  // capacity in this window: with what is owed from the one before
  std::vector<double> owed_, owing_;
  std::vector<double> level_;
  std::vector<double> elsewhere_, here_;  // Sums
  std::vector<double> before_;
  std::vector<std::uint32_t> users_;
  std::vector<char> only_first_;  // all its flows are in its row
  std::vector<Row> rows_;
  std::vector<std::uint32_t> row_of_;
  std::vector<double> left_;
  std::vector<std::uint32_t> flow_;
  std::vector<std::uint32_t> place_;  // [flows]
  std::vector<std::uint32_t> other_;  // beyond a flow's own: one that binds nobody
  std::vector<Run> runs_;
  std::vector<RunLink> run_links_;
  std::vector<double> limit_;  // of one row
  std::size_t live_ = 0;
  std::size_t to_begin_ = 0;
  std::size_t places_ = 0;
  enum class Layout : std::uint8_t { kRuns, kGather } layout_ = Layout::kRuns;
};

}  // namespace moesim::fluid
