#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "sim/fluid/dense_levels.hpp"
#include "sim/fluid/known_flows.hpp"

namespace moesim::fluid {

/// What a resource carried, Σ weight·(amount done), in one slot of time.
struct Sample {
  std::uint32_t resource;
  double amount;
};
using Samples = std::vector<std::vector<Sample>>;  ///< [slots]

/// Runs a component in windows.
///
/// Within a window of length h a flow f with A_f left gets x_f·h, where x_f are the max-min rates with caps A_f/h: who
/// is capped completes in the window, and what that leaves goes to the others of the same link in the same window. So
/// all flows carry just their amounts, and no link carries more in a window than its capacity times h, but for what
/// DenseLevels allows.
///
/// When in the window a flow completes: a link that holds back n flows that stay, and gives c bytes/s to them and to
/// those that complete, has given each of them v bytes after
///
///   (1)  T(v) = (Σ_{i completes} min(A_i, v) + n·v) / c,
///
/// T = h for the level of the window; the flow takes T(A_f) of the link that holds it back, of two if that changes
/// within the window. No link is through before what its flows bring, over its capacity, has passed.
///
/// The length of a window: errors come from flows that complete in it, as part p of all flows, and grow with h/t. So
/// (h/t)²·(p/(h/t)) is kept at w², with h/t between w/2 and 2w, where w is in proportion to ε, and smaller where there
/// are few flows: then each that completes matters more to the others.
class Windows {
 public:
  struct Options {
    double epsilon;        ///< > 0
    SimTime sample_every;  ///< > 0
    std::size_t resources;
  };
  Windows(std::span<const KnownFlow> all, Component component, const Options& options);
  /// Sets the finish times of the component's flows, and takes the samples.
  void run(std::span<SimTime> finish, Samples& samples);

 private:
  [[nodiscard]] double latency(std::size_t next) const;
  void begin();
  void window();
  [[nodiscard]] double first_length();
  [[nodiscard]] double next_length() const;
  void shorten(double& length, double plain);
  void end(double length);
  void take_from_links();
  void end_on(std::uint32_t link, double length);
  void sample();

  /// Not by its flow's number: flows end all over the tables, heads and tails are few.
  template <class Visit>
  void each_link(const Ending& ending, const Visit& visit) const {
    for (const std::span<const std::uint32_t> links :
         {levels_.head_links(ending.head), levels_.tail_links(ending.tail)}) {
      for (const std::uint32_t link : links) {
        visit(link);
      }
    }
  }

  struct Through {
    std::uint32_t ending;                                 ///< in endings_
    enum class Holds : std::uint8_t { kNo, kYes } holds;  ///< does this link hold it back?
    double left;
  };

  std::span<const KnownFlow> all_;
  const Component component_;
  const Options options_;
  DenseLevels levels_;
  double window_;                     // w
  std::vector<double> before_;        // [links], levels of the window before
  std::vector<std::uint32_t> order_;  // by latency
  std::size_t next_ = 0;              // in order_: to begin
  std::vector<double> finish_;        // [flows], seconds
  std::vector<Ending> endings_;       // of this window
  std::vector<std::size_t> first_;    // [links + 1], in through_
  std::vector<std::size_t> place_;
  std::vector<Through> through_;   // by link
  std::vector<double> time_;       // [endings_], in the window
  std::vector<double> unsampled_;  // [flows], what was left at the last sample; empty: none is taken
  std::vector<double> slot_;       // [resources], carried since then
  Samples* samples_ = nullptr;
  double now_ = 0.0;
  double length_ = 0.0;  // of the last window; 0: there was none
  double ended_ = 1.0;   // part of all flows that did in it, over length/time
};

}  // namespace moesim::fluid
