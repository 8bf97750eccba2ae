#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "sim/core/id.hpp"
#include "sim/core/time.hpp"

namespace moesim {

/// An activity that runs at rate x takes weight·x of the resource's capacity.
struct Use {
  ResourceId resource;
  double weight = 1.0;  ///< > 0
};

struct ActivitySpec {
  double amount = 0.0;        ///< what is to be done: bytes, FLOP, ...; ≥ 0
  std::span<const Use> uses;  ///< read during the call only; a resource named twice counts with the sum
  double fairness = 1.0;      ///< φ > 0: under contention, rates stand in the ratio of φ
  double rate_cap = std::numeric_limits<double>::infinity();  ///< units/s, > 0
  SimTime latency = {};                                       ///< it takes nothing until then after its start; ≥ 0
  std::uint32_t count =
      1;  ///< so many copies, alike in all, that complete together; amount, φ, cap and rate are of one
};

struct FluidOptions {
  /// 0: exact. Otherwise time goes on in windows: each begins with a completion and lasts this part of the time that
  /// activity took. What completes within a window leaves its share to the activities that the same resource owns;
  /// everybody else gets what it is due at the end of the window. A level stays where it would move by less than a
  /// quarter of this. Every activity still does exactly its amount. What that makes of the times of completion is
  /// measured, not proven (tests/bench/fluid_bench.cpp prints it). With 0.01, uneven all-to-alls of 32 to 256 GPUs,
  /// non-blocking and leaf-spine: 99 % of the flows end within 0.5 % of their exact times, half within 0.02 %, the
  /// worst is 8 % off, and the last completion 0.03 %.
  double epsilon = 0.0;
};

/// Activities share the capacities of resources, exactly and at every instant. Resources are links, NIC ports, HBM,
/// SMs; activities are transfers and kernels; the system knows neither.
///
/// At every instant the rates x_a of the live activities satisfy
///
///   (1)  Σ_a w_{a,r}·x_a ≤ C_r      for every resource r (C_r its capacity, w_{a,r} the weights of the uses)
///   (2)  0 < x_a ≤ cap_a            for every activity a
///   (3)  the vector of the x_a/φ_a, sorted from the smallest up, is lexicographically the largest that (1) and (2)
///        allow (weighted max-min fairness).
///
/// (3) holds exactly when every activity is at its cap, or uses a saturated resource on which no other activity has
/// a greater x/φ (Bertsekas, Gallager: "Data Networks", 2nd ed., section 6.5.2). An activity of amount A completes at
/// the first instant with ∫ x_a dt = A.
///
/// Time is in ticks: rates change at whole ticks only, and a completion is reported at the true instant rounded up.
/// The rounding forgives the noise of doubles (64 ulp of the activity's whole duration at its present rate, and 10^-4
/// of a tick), so that 1 MB at 1 GB/s takes 10^9 ticks and not one more.
///
/// Deterministic: the results are a function of the sequence of calls. Starts at one instant are solved together, at
/// the first question that needs rates.
///
/// Numbers: within one resource the products w·φ of its activities should lie within a factor of 10^9 of each other;
/// beyond that the rates of the smallest lose digits.
class FluidSystem {
 public:
  explicit FluidSystem(const FluidOptions& options = {});
  ~FluidSystem();
  FluidSystem(FluidSystem&&) noexcept;
  FluidSystem& operator=(FluidSystem&&) noexcept;
  FluidSystem(const FluidSystem&) = delete;
  FluidSystem& operator=(const FluidSystem&) = delete;

  /// `capacity` in units/s, > 0 and finite.
  ResourceId add_resource(double capacity);
  [[nodiscard]] std::size_t resource_count() const;
  [[nodiscard]] double capacity(ResourceId resource) const;
  /// From `now` on. `now` must lie within [time(), next_completion()].
  void set_capacity(SimTime now, ResourceId resource, double capacity);

  /// An amount of 0 completes at `now`. Without uses there must be a cap. `now` must lie within
  /// [time(), next_completion()]: report completions with advance() before starting something after them.
  /// Ids count up from 0 and are never reused.
  ActivityId start(SimTime now, const ActivitySpec& spec);

  /// The earliest completion if nothing else is started, or the end of a latency if that is earlier (rates change
  /// then, and nothing may complete); none where nothing is live. Throws ModelError if it lies more than 2^60 ticks
  /// (13 days) ahead.
  [[nodiscard]] std::optional<SimTime> next_completion() const;

  /// Moves the clock to `to` ≥ time(); appends what completes at or before `to`, by instant, then by id.
  void advance(SimTime to, std::vector<ActivityId>& completed);

  [[nodiscard]] SimTime time() const;
  [[nodiscard]] std::size_t live_count() const;

  /// Units/s at time(), from the events so far; 0 for what has completed.
  [[nodiscard]] double rate(ActivityId activity) const;
  /// What is left of the amount at time(); 0 for what has completed.
  [[nodiscard]] double remaining(ActivityId activity) const;
  /// Σ weight·(amount done) through the resource up to time(); an activity that has completed counts with exactly
  /// its amount.
  [[nodiscard]] double carried(ResourceId resource) const;
  /// Seconds up to time() in which some activity that uses the resource was live.
  [[nodiscard]] double busy_seconds(ResourceId resource) const;

 private:
  class State;
  std::unique_ptr<State> state_;
};

}  // namespace moesim
