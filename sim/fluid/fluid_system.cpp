#include "sim/fluid/fluid_system.hpp"

#include <algorithm>
#include <cmath>
#include <deque>
#include <functional>
#include <numeric>

#include "sim/core/error.hpp"
#include "sim/fluid/compensated_sum.hpp"
#include "sim/fluid/component.hpp"

namespace moesim {
namespace {

using fluid::Activity;
using fluid::Component;

constexpr std::uint32_t kNone = std::numeric_limits<std::uint32_t>::max();
constexpr std::int64_t kLatestCompletion = std::int64_t{1} << 60;

bool positive_and_finite(double value) { return value > 0.0 && std::isfinite(value); }

}  // namespace

class FluidSystem::State {
 public:
  ResourceId add_resource(double capacity) {
    ensure(positive_and_finite(capacity), "the capacity of a resource is positive and finite");
    const ResourceId id(capacities_.size());
    capacities_.push_back(capacity);
    accounts_.emplace_back();
    component_of_.push_back(kNone);
    parent_.push_back(kNone);
    local_of_.push_back(0);
    return id;
  }

  void set_capacity(SimTime now, ResourceId resource, double capacity) {
    ensure(positive_and_finite(capacity), "the capacity of a resource is positive and finite");
    move_clock(now);
    capacities_.at(resource.index()) = capacity;
    rebuild_component_of(resource);
  }

  ActivityId start(SimTime now, const ActivitySpec& spec);
  std::optional<SimTime> next_completion();
  void advance(SimTime to, std::vector<ActivityId>& completed);

  double rate(ActivityId id) {
    const Activity* activity = find(id);
    if (activity == nullptr) {
      return 0.0;
    }
    settle();
    return components_[activity->component].progress(activity->local).rate;
  }
  double remaining(ActivityId id) {
    const Activity* activity = find(id);
    if (activity == nullptr) {
      return 0.0;
    }
    settle();
    return components_[activity->component].progress(activity->local).remaining_at(time_.ticks());
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
  /// The first completion within a component; out of date unless it still is.
  struct Due {
    std::int64_t finish;
    std::uint32_t component;
    auto operator<=>(const Due&) const = default;
  };

  Activity* find(ActivityId id) {
    ensure(id.index() < next_id_, "an activity that was never started");
    return id.index() < first_kept_id_ ? nullptr : by_id_[id.index() - first_kept_id_];
  }
  ActivityId new_id(Activity* activity);
  Activity* new_activity(const ActivitySpec& spec);
  void retire(Activity* activity);
  void move_clock(SimTime now);

  // Rates. All is lazy: settle() brings everything up to date.
  void rebuild_component_of(ResourceId resource) {
    if (component_of_[resource.index()] != kNone) {
      rebuild(component_of_[resource.index()]);
    }
  }
  void rebuild(std::uint32_t component);
  void settle();
  void regroup();
  std::uint32_t root(std::uint32_t resource);
  std::uint32_t new_component();
  const Due* first_due();
  void complete_at(SimTime now, std::vector<ActivityId>& completed);

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

  std::deque<Component> components_;
  std::vector<std::uint32_t> free_components_;
  std::vector<std::uint32_t> component_of_;  ///< [resources], or kNone
  std::vector<Due> due_;                     ///< heap, earliest first

  std::vector<Activity*> unplaced_;        ///< started, in no component yet
  std::vector<std::uint32_t> to_rebuild_;  ///< components whose activities are to be grouped anew
  std::vector<char> marked_to_rebuild_;    ///< [components]
  std::vector<std::uint32_t> to_fill_;     ///< components whose rates are out of date

  // Kept to spare allocations.
  std::vector<Activity*> completed_;
  std::vector<std::uint32_t> parent_;    ///< [resources], of the union-find forest; kNone outside regroup()
  std::vector<std::uint32_t> local_of_;  ///< [resources]
  std::vector<std::vector<Activity*>> groups_;
  std::vector<std::uint32_t> group_of_;  ///< [resources], by root
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
  activity->component = kNone;
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
  unplaced_.push_back(activity);
  for (const Use& use : activity->uses) {
    Account& account = accounts_[use.resource.index()];
    if (account.users++ == 0) {
      account.busy_since = time_;
    }
    rebuild_component_of(use.resource);
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
  const std::uint32_t index = component_of_[resource.index()];
  if (index == kNone) {
    return total.value();
  }
  const Component& component = components_[index];
  for (std::uint32_t local = 0; local < component.members().size(); ++local) {
    if (!component.is_live(local)) {
      continue;
    }
    const Activity& activity = *component.members()[local];
    for (const Use& use : activity.uses) {
      if (use.resource == resource) {
        total.add(use.weight * (activity.amount - component.progress(local).remaining_at(time_.ticks())));
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
  const Due* due = first_due();
  ensure(instant_.empty() && (due == nullptr || now.ticks() <= due->finish),
         "completions before this instant have not been taken");
  time_ = now;
}

std::optional<SimTime> FluidSystem::State::next_completion() {
  settle();
  if (!instant_.empty()) {
    return time_;
  }
  const Due* due = first_due();
  if (due == nullptr) {
    return std::nullopt;
  }
  if (due->finish - time_.ticks() > kLatestCompletion) {
    throw ModelError("an activity would take more than 2^60 ps (13 days) to complete");
  }
  return SimTime::from_ticks(due->finish);
}

void FluidSystem::State::advance(SimTime to, std::vector<ActivityId>& completed) {
  ensure(to >= time_, "the clock of a fluid system does not run backwards");
  std::size_t instant_begin = completed.size();
  completed.insert(completed.end(), instant_.begin(), instant_.end());
  instant_.clear();
  settle();
  for (const Due* due = first_due(); due != nullptr && due->finish <= to.ticks(); due = first_due()) {
    const SimTime now = SimTime::from_ticks(due->finish);
    if (now > time_) {
      instant_begin = completed.size();
      time_ = now;
    }
    complete_at(now, completed);
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

void FluidSystem::State::complete_at(SimTime now, std::vector<ActivityId>& completed) {
  for (const Due* due = first_due(); due != nullptr && due->finish <= now.ticks(); due = first_due()) {
    const std::uint32_t index = due->component;
    std::pop_heap(due_.begin(), due_.end(), std::greater<>());
    due_.pop_back();
    Component& component = components_[index];
    completed_.clear();
    component.complete(now, completed_);
    ensure(!completed_.empty(), "a completion that was due completed nothing");
    for (Activity* activity : completed_) {
      completed.push_back(activity->id);
      retire(activity);
    }
    if (component.live_count() == 0 || component.sparse()) {
      rebuild(index);
    } else {
      to_fill_.push_back(index);
    }
  }
}

// Components ---------------------------------------------------------------------------------------------------

/// Skips what is out of date. An entry is current if its component still completes something then; a component that
/// changed in between and now happens to finish at that same tick is as good.
const FluidSystem::State::Due* FluidSystem::State::first_due() {
  while (!due_.empty() && components_[due_.front().component].earliest_finish() != due_.front().finish) {
    std::pop_heap(due_.begin(), due_.end(), std::greater<>());
    due_.pop_back();
  }
  return due_.empty() ? nullptr : &due_.front();
}

void FluidSystem::State::rebuild(std::uint32_t component) {
  if (marked_to_rebuild_[component] == 0) {
    marked_to_rebuild_[component] = 1;
    to_rebuild_.push_back(component);
  }
}

std::uint32_t FluidSystem::State::new_component() {
  if (free_components_.empty()) {
    free_components_.push_back(static_cast<std::uint32_t>(components_.size()));
    components_.emplace_back();
    marked_to_rebuild_.push_back(0);
  }
  const std::uint32_t index = free_components_.back();
  free_components_.pop_back();
  return index;
}

std::uint32_t FluidSystem::State::root(std::uint32_t resource) {
  while (parent_[resource] != resource) {
    parent_[resource] = parent_[parent_[resource]];
    resource = parent_[resource];
  }
  return resource;
}

void FluidSystem::State::settle() {
  if (!unplaced_.empty() || !to_rebuild_.empty()) {
    regroup();
  }
  for (const std::uint32_t index : to_fill_) {
    Component& component = components_[index];
    if (component.live_count() == 0) {
      continue;  // dissolved since
    }
    component.fill(time_);
    due_.push_back(Due{component.earliest_finish(), index});
    std::push_heap(due_.begin(), due_.end(), std::greater<>());
  }
  to_fill_.clear();
  if (due_.size() > 2 * components_.size() + 64) {
    std::erase_if(due_, [&](const Due& due) { return components_[due.component].earliest_finish() != due.finish; });
    std::sort(due_.begin(), due_.end());
    due_.erase(std::unique(due_.begin(), due_.end()), due_.end());  // ascending: a heap
  }
}

/// Dissolves the components that changed, and builds components from their activities and the new ones.
void FluidSystem::State::regroup() {
  for (const std::uint32_t index : to_rebuild_) {
    for (const ResourceId resource : components_[index].resources()) {
      component_of_[resource.index()] = kNone;
    }
    components_[index].release(unplaced_);
    free_components_.push_back(index);
    marked_to_rebuild_[index] = 0;
  }
  to_rebuild_.clear();
  const auto by_id = [](const Activity* a, const Activity* b) { return a->id < b->id; };
  if (!std::is_sorted(unplaced_.begin(), unplaced_.end(), by_id)) {
    std::sort(unplaced_.begin(), unplaced_.end(), by_id);
  }

  for (const Activity* activity : unplaced_) {
    for (const Use& use : activity->uses) {
      const auto resource = static_cast<std::uint32_t>(use.resource.index());
      if (parent_[resource] == kNone) {
        parent_[resource] = resource;
      }
      const auto first = static_cast<std::uint32_t>(activity->uses.front().resource.index());
      parent_[root(resource)] = root(first);
    }
  }
  std::size_t group_count = 0;
  group_of_.resize(capacities_.size(), kNone);
  const auto new_group = [&] {
    if (group_count == groups_.size()) {
      groups_.emplace_back();
    }
    groups_[group_count].clear();
    return static_cast<std::uint32_t>(group_count++);
  };
  for (Activity* activity : unplaced_) {
    if (activity->uses.empty()) {
      groups_[new_group()].push_back(activity);
      continue;
    }
    std::uint32_t& group = group_of_[root(static_cast<std::uint32_t>(activity->uses.front().resource.index()))];
    if (group == kNone) {
      group = new_group();
    }
    groups_[group].push_back(activity);
  }
  for (std::size_t group = 0; group < group_count; ++group) {
    const std::uint32_t index = new_component();
    for (Activity* activity : groups_[group]) {
      activity->component = index;
    }
    components_[index].build(groups_[group], capacities_, local_of_);
    for (const ResourceId resource : components_[index].resources()) {
      component_of_[resource.index()] = index;
      parent_[resource.index()] = kNone;
      group_of_[resource.index()] = kNone;
    }
    to_fill_.push_back(index);
  }
  unplaced_.clear();
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
