#include "sim/fluid/fluid_system.hpp"

#include <algorithm>
#include <cmath>
#include <deque>
#include <limits>

#include "sim/core/error.hpp"
#include "sim/fluid/compensated_sum.hpp"
#include "sim/fluid/component.hpp"
#include "sim/fluid/component_set.hpp"

namespace moesim {
namespace {

using fluid::Activity;
using fluid::Component;
using fluid::ComponentSet;

constexpr SimTime kLongest = SimTime::from_ticks(std::int64_t{1} << 60);

bool positive_and_finite(double value) { return value > 0.0 && std::isfinite(value); }

}  // namespace

class FluidSystem::State {
 public:
  ResourceId add_resource(double capacity) {
    ensure(positive_and_finite(capacity), "the capacity of a resource is positive and finite");
    const ResourceId id(capacities_.size());
    capacities_.push_back(capacity);
    accounts_.emplace_back();
    components_.add_resource();
    return id;
  }

  void set_capacity(SimTime now, ResourceId resource, double capacity) {
    ensure(positive_and_finite(capacity), "the capacity of a resource is positive and finite");
    move_clock(now);
    capacities_.at(resource.index()) = capacity;
    components_.touch(resource);
  }

  ActivityId start(SimTime now, const ActivitySpec& spec);
  std::optional<SimTime> next_completion();
  void advance(SimTime to, std::vector<ActivityId>& completed);

  double rate(ActivityId id) {
    const Activity* activity = find(id);
    settle();
    return activity == nullptr ? 0.0 : components_.progress(*activity).rate;
  }
  double remaining(ActivityId id) {
    const Activity* activity = find(id);
    settle();
    return activity == nullptr ? 0.0 : components_.progress(*activity).remaining_at(time_.ticks());
  }
  double carried(ResourceId resource);
  double busy_seconds(ResourceId resource) const {
    const Account& account = accounts_.at(resource.index());
    const SimTime running = account.users > 0 ? time_ - account.busy_since : SimTime();
    return (account.busy + running).duration().base();
  }

  double capacity(ResourceId resource) const { return capacities_.at(resource.index()); }
  std::size_t resource_count() const { return capacities_.size(); }
  SimTime time() const { return time_; }
  std::size_t live_count() const { return live_ + instant_.size(); }

 private:
  /// What went through a resource.
  struct Account {
    CompensatedSum carried;   ///< by activities that have completed
    std::uint32_t users = 0;  ///< live
    SimTime busy;
    SimTime busy_since;
  };
  Activity* find(ActivityId id) {
    ensure(id.index() < next_id_, "an activity that was never started");
    return id.index() < first_kept_id_ ? nullptr : by_id_[id.index() - first_kept_id_];
  }
  ActivityId new_id(Activity* activity);
  Activity* new_activity(const ActivitySpec& spec);
  void retire(Activity* activity);
  void move_clock(SimTime now);

  void settle() { components_.settle(time_, capacities_); }

  SimTime time_;
  std::vector<double> capacities_;  ///< [resources]
  std::vector<Account> accounts_;   ///< [resources]

  std::deque<Activity> activities_;  ///< stable addresses; reused through free_activities_
  std::vector<Activity*> free_activities_;
  std::deque<Activity*> by_id_;  ///< from first_kept_id_ on; null: completed
  std::size_t first_kept_id_ = 0;
  std::size_t next_id_ = 0;
  std::size_t live_ = 0;
  std::vector<ActivityId> instant_;  ///< of amount 0, to be reported at time_

  ComponentSet components_;
  std::vector<Activity*> completed_;  ///< kept to spare allocations
};

// Activities ---------------------------------------------------------------------------------------------------

ActivityId FluidSystem::State::new_id(Activity* activity) {
  ensure(next_id_ < std::numeric_limits<std::uint32_t>::max(), "activity ids are used up");
  by_id_.push_back(activity);
  return ActivityId(next_id_++);
}

Activity* FluidSystem::State::new_activity(const ActivitySpec& spec) {
  if (free_activities_.empty()) {
    free_activities_.push_back(&activities_.emplace_back());
  }
  Activity* activity = free_activities_.back();
  free_activities_.pop_back();
  activity->amount = spec.amount;
  activity->fairness = spec.fairness;
  activity->rate_cap = spec.rate_cap;
  activity->progress = fluid::Progress{};
  activity->progress.remaining = spec.amount;
  activity->progress.noise = spec.amount * fluid::kAmountNoise;
  activity->progress.since = time_.ticks();
  activity->uses.clear();
  for (const Use& use : spec.uses) {
    const auto same = std::find_if(activity->uses.begin(), activity->uses.end(),
                                   [&](const Use& other) { return other.resource == use.resource; });
    if (same != activity->uses.end()) {
      same->weight += use.weight;
    } else {
      activity->uses.push_back(use);
    }
  }
  return activity;
}

ActivityId FluidSystem::State::start(SimTime now, const ActivitySpec& spec) {
  ensure(spec.amount >= 0.0 && std::isfinite(spec.amount), "the amount of an activity is finite and not negative");
  ensure(positive_and_finite(spec.fairness), "the fairness of an activity is positive and finite");
  ensure(spec.rate_cap > 0.0, "the rate cap of an activity is positive");
  ensure(!spec.uses.empty() || std::isfinite(spec.rate_cap), "an activity uses something or has a cap");
  for (const Use& use : spec.uses) {
    ensure(use.resource.index() < capacities_.size(), "an activity uses a resource that does not exist");
    ensure(positive_and_finite(use.weight), "the weight of a use is positive and finite");
  }
  move_clock(now);
  if (spec.amount == 0.0) {
    instant_.push_back(new_id(nullptr));
    return instant_.back();
  }
  Activity* activity = new_activity(spec);
  activity->id = new_id(activity);
  ++live_;
  components_.add(activity);
  for (const Use& use : activity->uses) {
    Account& account = accounts_[use.resource.index()];
    if (account.users++ == 0) {
      account.busy_since = time_;
    }
  }
  return activity->id;
}

void FluidSystem::State::retire(Activity* activity) {
  for (const Use& use : activity->uses) {
    Account& account = accounts_[use.resource.index()];
    account.carried.add(use.weight * activity->amount);
    if (--account.users == 0) {
      account.busy += time_ - account.busy_since;
    }
  }
  by_id_[activity->id.index() - first_kept_id_] = nullptr;
  free_activities_.push_back(activity);
  --live_;
}

double FluidSystem::State::carried(ResourceId resource) {
  settle();
  CompensatedSum total = accounts_.at(resource.index()).carried;
  const Component* users = components_.users_of(resource);
  if (users == nullptr) {
    return total.value();
  }
  for (std::uint32_t local = 0; local < users->members().size(); ++local) {
    if (!users->is_live(local)) {
      continue;
    }
    const Activity& activity = *users->members()[local];
    for (const Use& use : activity.uses) {
      if (use.resource == resource) {
        total.add(use.weight * (activity.amount - users->progress(local).remaining_at(time_.ticks())));
      }
    }
  }
  return total.value();
}

// The clock ----------------------------------------------------------------------------------------------------

void FluidSystem::State::move_clock(SimTime now) {
  ensure(now >= time_, "the clock of a fluid system does not run backwards");
  if (now == time_) {
    return;
  }
  settle();
  const std::optional<SimTime> next = components_.next_completion();
  ensure(instant_.empty() && (!next || now <= *next), "completions before this instant have not been taken");
  time_ = now;
}

std::optional<SimTime> FluidSystem::State::next_completion() {
  settle();
  if (!instant_.empty()) {
    return time_;
  }
  const std::optional<SimTime> next = components_.next_completion();
  if (next && *next - time_ > kLongest) {
    throw ModelError("an activity would take more than 2^60 ps (13 days) to complete");
  }
  return next;
}

void FluidSystem::State::advance(SimTime to, std::vector<ActivityId>& completed) {
  ensure(to >= time_, "the clock of a fluid system does not run backwards");
  std::size_t instant_begin = completed.size();
  completed.insert(completed.end(), instant_.begin(), instant_.end());
  instant_.clear();
  settle();
  for (auto next = components_.next_completion(); next && *next <= to; next = components_.next_completion()) {
    if (*next > time_) {
      instant_begin = completed.size();
      time_ = *next;
    }
    completed_.clear();
    components_.complete(time_, completed_);
    for (Activity* activity : completed_) {
      completed.push_back(activity->id);
      retire(activity);
    }
    // By id within the instant, whichever component it was and however often the instant was solved.
    std::sort(completed.begin() + static_cast<std::ptrdiff_t>(instant_begin), completed.end());
    settle();
  }
  time_ = to;
  while (!by_id_.empty() && by_id_.front() == nullptr) {
    by_id_.pop_front();
    ++first_kept_id_;
  }
}

// The public face ----------------------------------------------------------------------------------------------

FluidSystem::FluidSystem() : state_(std::make_unique<State>()) {}
FluidSystem::~FluidSystem() = default;
FluidSystem::FluidSystem(FluidSystem&&) noexcept = default;
FluidSystem& FluidSystem::operator=(FluidSystem&&) noexcept = default;

ResourceId FluidSystem::add_resource(double capacity) { return state_->add_resource(capacity); }
std::size_t FluidSystem::resource_count() const { return state_->resource_count(); }
double FluidSystem::capacity(ResourceId resource) const { return state_->capacity(resource); }
void FluidSystem::set_capacity(SimTime now, ResourceId resource, double capacity) {
  state_->set_capacity(now, resource, capacity);
}
ActivityId FluidSystem::start(SimTime now, const ActivitySpec& spec) { return state_->start(now, spec); }
std::optional<SimTime> FluidSystem::next_completion() const { return state_->next_completion(); }
void FluidSystem::advance(SimTime to, std::vector<ActivityId>& completed) { state_->advance(to, completed); }
SimTime FluidSystem::time() const { return state_->time(); }
std::size_t FluidSystem::live_count() const { return state_->live_count(); }
double FluidSystem::rate(ActivityId activity) const { return state_->rate(activity); }
double FluidSystem::remaining(ActivityId activity) const { return state_->remaining(activity); }
double FluidSystem::carried(ResourceId resource) const { return state_->carried(resource); }
double FluidSystem::busy_seconds(ResourceId resource) const { return state_->busy_seconds(resource); }

}  // namespace moesim
