#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <vector>

#include "sim/core/id.hpp"
#include "sim/core/time.hpp"
#include "sim/fluid/compensated_sum.hpp"
#include "sim/fluid/fluid_system.hpp"
#include "sim/fluid/redundancy.hpp"

namespace moesim::fluid {

/// What may be rounding error in `remaining`, relative to the amount: a few roundings of half an ulp each.
inline constexpr double kAmountNoise = 4 * std::numeric_limits<double>::epsilon();

/// How far an activity is: `remaining` at tick `since`, at `rate` from there on.
struct Progress {
  double remaining = 0.0;
  double noise = 0.0;  ///< how much of `remaining` may be rounding error
  double rate = 0.0;
  std::int64_t since = 0;
  std::int64_t finish = SimTime::never().ticks();  ///< first tick at or after the true completion

  [[nodiscard]] double remaining_at(std::int64_t tick) const;
  /// From `tick` on at `new_rate`; nothing moves where the rate stays the same.
  void set_rate(double new_rate, std::int64_t tick);
};

/// A live activity, as the system keeps it.
struct Activity {
  ActivityId id;
  double amount = 0.0;
  double fairness = 1.0;
  double rate_cap = 0.0;
  std::vector<Use> uses;  ///< each resource once
  Progress progress;      ///< while no component holds the activity
  std::uint32_t component = 0;
  std::uint32_t local = 0;  ///< index within the component
};

/// Activities that compete with each other, directly or through others, and the resources they use: rates of other
/// components do not depend on them.
///
/// Rates come from progressive filling: the level λ = x/φ of all activities rises together from 0 (activities at
/// x = φ·λ); an activity is fixed when it reaches its cap or when a resource it uses is full, which happens at
///
///   λ_r = (C_r − Σ_{a fixed} w_{a,r}·x_a) / Σ_{a not fixed} w_{a,r}·φ_a       for the r with the least λ_r.
///
/// λ_r never falls as others are fixed at lower levels. The steps are kept. When an activity that was fixed in step k
/// completes, the filling up to step k would go as before, since until then none of the resources it uses was full
/// and without it they fill later: the filling resumes at step k, and whoever was fixed before keeps rate and finish.
class Component {
 public:
  /// Takes over the activities (in order of id), competing for `capacities`, indexed by ResourceId.
  void build(std::span<Activity* const> members, std::span<const double> capacities,
             std::vector<std::uint32_t>& local_of_resource);
  /// Hands the live activities back: their progress, and themselves, appended to `members`.
  void release(std::vector<Activity*>& members);

  /// Brings the rates up to date, as of `now`.
  void fill(SimTime now);
  /// Removes those whose finish is at or before `now`, appends them to `completed`. fill() is then due.
  void complete(SimTime now, std::vector<Activity*>& completed);

  /// The first tick at which somebody completes; never() where nobody is live or fill() is due.
  [[nodiscard]] std::int64_t earliest_finish() const { return earliest_finish_; }
  [[nodiscard]] std::size_t live_count() const { return live_; }
  [[nodiscard]] const Progress& progress(std::uint32_t local) const { return progress_[local]; }
  /// Every resource that the activities used when the component was built.
  [[nodiscard]] std::span<const ResourceId> resources() const { return resources_; }
  [[nodiscard]] std::span<Activity* const> members() const { return members_; }
  [[nodiscard]] bool is_live(std::uint32_t local) const { return flows_[local].step != kGone; }
  /// Less than half of the members are left: the component may have fallen apart, and its tables hold many dead.
  [[nodiscard]] bool sparse() const { return members_.size() >= kMinimumToSplit && 2 * live_ < members_.size(); }

 private:
  static constexpr std::uint32_t kUnfixed = std::numeric_limits<std::uint32_t>::max();
  static constexpr std::uint32_t kGone = kUnfixed - 1;
  static constexpr std::size_t kMinimumToSplit = 4;

  struct Flow {
    double level = 0.0;  ///< x/φ
    double fairness = 1.0;
    std::uint32_t step = kUnfixed;  ///< that fixed it, or kUnfixed, or kGone
    std::uint32_t first_claim = 0;
    std::uint32_t end_claim = 0;
  };
  /// One use of one flow, of a resource that can bind.
  struct Claim {
    double weight;  ///< w·φ
    std::uint32_t resource;
    std::uint32_t position;  ///< in the resource's list of users
  };
  struct User {
    std::uint32_t flow;
    std::uint32_t claim;
  };
  /// A resource while the level rises. Its users stand in users_[first_user ..), the fixed ones first, in the order
  /// in which they were fixed: to undo is to count down. The step that fills it leaves it as it was before.
  struct Share {
    CompensatedSum free;    ///< C − Σ_{fixed} w·x
    CompensatedSum weight;  ///< Σ_{not fixed} w·φ
    std::uint32_t first_user = 0;
    std::uint32_t fixed = 0;   ///< how many users are fixed
    std::uint32_t users = 0;   ///< how many there are
    std::uint32_t open = 0;    ///< index among the open ones
    std::uint32_t closed = 0;  ///< step that fixed the last of its users, or a later one
  };
  struct Step {
    std::uint32_t begin;      ///< first in order_
    std::uint32_t cap;        ///< caps_ before this one were fixed before this step
    std::uint32_t saturated;  ///< resource that filled, or kUnfixed if caps were reached
    double level;             ///< reached by its end
    std::int64_t earliest;    ///< finish among its activities
    std::int64_t earliest_so_far;
  };
  struct Cap {
    double level;  ///< cap/φ
    std::uint32_t flow;
  };

  void complete_between(std::size_t begin, std::size_t end, SimTime now, std::vector<Activity*>& completed);
  void list_claims();
  void list_users();
  void undo_from(std::uint32_t step);
  void unfix(std::uint32_t index, std::uint32_t saturated);
  void remove(std::uint32_t index);
  void open();
  void close(std::uint32_t resource);
  void fix_capped(double limit);
  void saturate(std::uint32_t resource, double level);
  void fix(std::uint32_t index, double level, std::uint32_t saturated);

  std::vector<Activity*> members_;
  std::vector<ResourceId> resources_;
  UseTable table_;  ///< while building

  std::vector<Flow> flows_;
  std::vector<Progress> progress_;
  std::vector<Claim> claims_;
  std::vector<User> users_;
  std::vector<Share> shares_;
  std::vector<Cap> caps_;  ///< ascending

  std::vector<Step> steps_;
  std::vector<std::uint32_t> order_;  ///< activities as they were fixed
  std::uint32_t restart_ = 0;         ///< first step that is out of date
  std::size_t live_ = 0;
  std::size_t unfixed_ = 0;
  std::int64_t earliest_finish_ = SimTime::never().ticks();

  // Only while filling.
  std::vector<double> open_level_;
  std::vector<std::uint32_t> open_resource_;
  double level_ = 0.0;
  std::uint32_t cap_cursor_ = 0;
  std::int64_t earliest_ = 0;
  std::int64_t now_ = 0;
};

}  // namespace moesim::fluid
