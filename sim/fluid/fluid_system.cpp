#include "sim/fluid/fluid_system.hpp"

#include <algorithm>
#include <cmath>
#include <deque>
#include <functional>
#include <tuple>

#include "sim/core/error.hpp"
#include "sim/fluid/compensated_sum.hpp"
#include "sim/fluid/sharing.hpp"

namespace moesim {

using fluid::kNobody;

namespace {

constexpr SimTime kLongest = SimTime::from_ticks(std::int64_t{1} << 60);

bool positive_and_finite(double value) { return value > 0.0 && std::isfinite(value); }

/// Links used in the same place of a route and of about the same capacity are of a kind: the ports that send, those
/// that receive.
std::uint32_t kind_of(std::size_t place, double capacity) {
  constexpr std::size_t kPlaces = 8;
  constexpr int kExponents = 4096;
  return static_cast<std::uint32_t>(std::min(place, kPlaces - 1) * kExponents +
                                    (std::ilogb(capacity) + kExponents / 2));
}
constexpr std::uint32_t kCapKind = kNobody;

}  // namespace

class FluidSystem::State {
 public:
  explicit State(const FluidOptions& options) : epsilon_(options.epsilon), sharing_(options.epsilon) {
    ensure(options.epsilon >= 0.0 && options.epsilon < 1.0, "epsilon is 0 to 1");
  }

  ResourceId add_resource(double capacity) {
    ensure(positive_and_finite(capacity), "the capacity of a resource is positive and finite");
    resources_.push_back(Resource{capacity, kNobody});
    return ResourceId(resources_.size() - 1);
  }
  void set_capacity(SimTime now, ResourceId resource, double capacity) {
    ensure(positive_and_finite(capacity), "the capacity of a resource is positive and finite");
    move_clock(now);
    end_window();
    Resource& changed = resources_.at(resource.index());
    changed.capacity = capacity;
    if (changed.link != kNobody) {
      sharing_.set_capacity(changed.link, capacity);
    }
  }

  ActivityId start(SimTime now, const ActivitySpec& spec);
  std::optional<SimTime> next_completion();
  void advance(SimTime to, std::vector<ActivityId>& completed);

  double rate(ActivityId id) {
    const std::uint32_t flow = find(id);
    settle();
    return flow == kNobody ? 0.0 : sharing_.rate(flow);
  }
  double remaining(ActivityId id) {
    const std::uint32_t flow = find(id);
    settle();
    return flow == kNobody ? 0.0 : sharing_.remaining(flow, time_.ticks());
  }
  double carried(ResourceId resource);
  double busy_seconds(ResourceId resource) const {
    const std::uint32_t link = resources_.at(resource.index()).link;
    if (link == kNobody) {
      return 0.0;
    }
    const Account& account = accounts_[link];
    const SimTime running = account.users > 0 ? time_ - account.busy_since : SimTime();
    return (account.busy + running).duration().base();
  }

  double capacity(ResourceId resource) const { return resources_.at(resource.index()).capacity; }
  std::size_t resource_count() const { return resources_.size(); }
  SimTime time() const { return time_; }
  std::size_t live_count() const { return live_ + instant_.size(); }

 private:
  /// Becomes a link when it is first used.
  struct Resource {
    double capacity;
    std::uint32_t link;
  };
  /// What went through a link.
  struct Account {
    CompensatedSum carried;   ///< by activities that have completed
    std::uint32_t users = 0;  ///< that share
    SimTime busy;
    SimTime busy_since;
  };
  /// An activity of which the latency is not over; without a flow, one of amount 0.
  struct Waiting {
    std::int64_t until;
    ActivityId id;
    std::uint32_t flow;
    bool operator>(const Waiting& other) const { return std::tie(until, id) > std::tie(other.until, other.id); }
  };

  std::uint32_t find(ActivityId id) {
    ensure(id.index() < next_id_, "an activity that was never started");
    return id.index() < first_kept_id_ ? kNobody : by_id_[id.index() - first_kept_id_];
  }
  std::uint32_t new_flow(const ActivitySpec& spec, ActivityId id);
  std::uint32_t link_of(ResourceId resource, std::size_t place);
  std::uint32_t cap_link(double cap);
  void enter(std::uint32_t flow);
  void retire(std::uint32_t index);
  void move_clock(SimTime now);
  std::int64_t next_event();
  void end_window();
  /// Within a window rates stay as they are.
  void settle() {
    if (window_.empty()) {
      sharing_.settle(time_.ticks());
    }
  }
  void take_completed(std::int64_t now, std::vector<ActivityId>& completed);
  void end_latencies(std::vector<ActivityId>& completed);

  double epsilon_;
  SimTime time_;
  std::vector<Resource> resources_;
  std::vector<Account> accounts_;  ///< [links]
  fluid::Sharing sharing_;
  std::vector<std::uint32_t> spare_cap_links_;
  std::vector<char> is_cap_;  ///< [links]

  std::deque<std::uint32_t> by_id_;  ///< flow, from first_kept_id_ on; kNobody: completed
  std::size_t first_kept_id_ = 0;
  std::size_t next_id_ = 0;
  std::size_t live_ = 0;
  std::vector<ActivityId> instant_;  ///< of amount 0, to be reported at time_
  std::vector<Waiting> waiting_;     ///< heap, earliest first

  std::vector<fluid::Sharing::Late> window_;  ///< what completes in it, in order
  std::size_t reported_ = 0;                  ///< of these

  // Kept to spare allocations.
  std::vector<std::uint32_t> completed_;
  std::vector<fluid::FlowUse> uses_;
};

// Activities ---------------------------------------------------------------------------------------------------

std::uint32_t FluidSystem::State::link_of(ResourceId resource, std::size_t place) {
  Resource& wanted = resources_[resource.index()];
  if (wanted.link == kNobody) {
    wanted.link = sharing_.add_link(wanted.capacity, kind_of(place, wanted.capacity));
    if (wanted.link >= accounts_.size()) {
      accounts_.resize(wanted.link + 1);
      is_cap_.resize(wanted.link + 1, 0);
    }
  }
  return wanted.link;
}

/// A cap is a link of its own.
std::uint32_t FluidSystem::State::cap_link(double cap) {
  if (spare_cap_links_.empty()) {
    const std::uint32_t link = sharing_.add_link(cap, kCapKind);
    accounts_.resize(std::max<std::size_t>(accounts_.size(), link + 1));
    is_cap_.resize(accounts_.size(), 0);
    is_cap_[link] = 1;
    return link;
  }
  const std::uint32_t link = spare_cap_links_.back();
  spare_cap_links_.pop_back();
  sharing_.set_capacity(link, cap);
  return link;
}

std::uint32_t FluidSystem::State::new_flow(const ActivitySpec& spec, ActivityId id) {
  uses_.clear();
  for (const Use& use : spec.uses) {
    const std::uint32_t link = link_of(use.resource, uses_.size());
    const double weight = use.weight * spec.count;
    const auto same = std::find_if(uses_.begin(), uses_.end(), [&](const auto& other) { return other.link == link; });
    if (same != uses_.end()) {
      same->weight += weight;
    } else {
      uses_.push_back({weight, link, 0});
    }
  }
  if (spec.rate_cap < std::numeric_limits<double>::infinity()) {
    uses_.push_back({1.0, cap_link(spec.rate_cap), 0});
  }
  return sharing_.add({.amount = spec.amount, .fairness = spec.fairness, .uses = uses_, .id = id});
}

ActivityId FluidSystem::State::start(SimTime now, const ActivitySpec& spec) {
  ensure(spec.amount >= 0.0 && std::isfinite(spec.amount), "the amount of an activity is finite and not negative");
  ensure(positive_and_finite(spec.fairness), "the fairness of an activity is positive and finite");
  ensure(spec.rate_cap > 0.0, "the rate cap of an activity is positive");
  ensure(!spec.uses.empty() || std::isfinite(spec.rate_cap), "an activity uses something or has a cap");
  ensure(spec.latency >= SimTime() && spec.latency <= kLongest, "the latency of an activity is 0 to 2^60 ps");
  ensure(spec.count > 0, "an activity is there at least once");
  for (const Use& use : spec.uses) {
    ensure(use.resource.index() < resources_.size(), "an activity uses a resource that does not exist");
    ensure(positive_and_finite(use.weight), "the weight of a use is positive and finite");
  }
  move_clock(now);
  end_window();
  ensure(next_id_ < std::numeric_limits<std::uint32_t>::max(), "activity ids are used up");
  const ActivityId id(next_id_++);
  const std::uint32_t flow = spec.amount > 0.0 ? new_flow(spec, id) : kNobody;
  by_id_.push_back(flow);
  if (spec.latency > SimTime()) {
    ++live_;
    waiting_.push_back(Waiting{(now + spec.latency).ticks(), id, flow});
    std::push_heap(waiting_.begin(), waiting_.end(), std::greater<>());
  } else if (flow == kNobody) {
    instant_.push_back(id);
  } else {
    ++live_;
    enter(flow);
  }
  return id;
}

void FluidSystem::State::enter(std::uint32_t flow) {
  sharing_.enter(flow, time_.ticks());
  for (const fluid::FlowUse& use : sharing_.flows().uses(flow)) {
    Account& account = accounts_[use.link];
    if (account.users++ == 0) {
      account.busy_since = time_;
    }
  }
}

void FluidSystem::State::retire(std::uint32_t index) {
  const fluid::Flow& flow = sharing_.flows()[index];
  for (const fluid::FlowUse& use : sharing_.flows().uses(index)) {
    Account& account = accounts_[use.link];
    account.carried.add(use.weight * flow.amount);
    if (--account.users == 0) {
      account.busy += time_ - account.busy_since;
    }
    // In use until the flow is removed, which is before the next one starts.
    if (is_cap_[use.link] != 0) {
      spare_cap_links_.push_back(use.link);
    }
  }
  by_id_[flow.id.index() - first_kept_id_] = kNobody;
  --live_;
}

/// From now on rates are without those that have completed.
void FluidSystem::State::end_window() {
  if (window_.empty()) {
    return;
  }
  for (std::size_t i = reported_; i < window_.size(); ++i) {
    sharing_.put_back(window_[i].flow);
  }
  sharing_.remove(std::span(window_).first(reported_), time_.ticks());
  window_.clear();
  reported_ = 0;
}

double FluidSystem::State::carried(ResourceId resource) {
  const std::uint32_t link = resources_.at(resource.index()).link;
  if (link == kNobody) {
    return 0.0;
  }
  settle();
  CompensatedSum total = accounts_[link].carried;
  const fluid::FlowTable& flows = sharing_.flows();
  for (const fluid::Sharing::User& user : sharing_.users(link)) {
    if (find(flows[user.flow].id) == kNobody) {
      continue;  // completed, within a window
    }
    for (const fluid::FlowUse& use : flows.uses(user.flow)) {
      if (use.link == link) {
        total.add(use.weight * (flows[user.flow].amount - sharing_.remaining(user.flow, time_.ticks())));
      }
    }
  }
  return total.value();
}

// The clock ----------------------------------------------------------------------------------------------------

std::int64_t FluidSystem::State::next_event() {
  if (reported_ == window_.size()) {
    end_window();
    settle();
  }
  std::int64_t finish = window_.empty() ? sharing_.earliest_finish() : window_[reported_].finish;
  if (window_.empty() && epsilon_ > 0.0 && finish != SimTime::never().ticks()) {
    sharing_.take_window(finish, window_);
    finish = window_.front().finish;
  }
  return waiting_.empty() ? finish : std::min(finish, waiting_.front().until);
}

void FluidSystem::State::move_clock(SimTime now) {
  ensure(now >= time_, "the clock of a fluid system does not run backwards");
  if (now == time_) {
    return;
  }
  ensure(instant_.empty() && now.ticks() <= next_event(), "completions before this instant have not been taken");
  time_ = now;
}

std::optional<SimTime> FluidSystem::State::next_completion() {
  if (!instant_.empty()) {
    settle();
    return time_;
  }
  const std::int64_t next = next_event();
  if (next == SimTime::never().ticks()) {
    return std::nullopt;
  }
  if (next - time_.ticks() > kLongest.ticks()) {
    throw ModelError("an activity would take more than 2^60 ps (13 days) to complete");
  }
  return SimTime::from_ticks(next);
}

void FluidSystem::State::end_latencies(std::vector<ActivityId>& completed) {
  while (!waiting_.empty() && waiting_.front().until <= time_.ticks()) {
    std::pop_heap(waiting_.begin(), waiting_.end(), std::greater<>());
    const Waiting over = waiting_.back();
    waiting_.pop_back();
    end_window();
    if (over.flow == kNobody) {
      completed.push_back(over.id);
      --live_;
    } else {
      enter(over.flow);
    }
  }
}

void FluidSystem::State::take_completed(std::int64_t now, std::vector<ActivityId>& completed) {
  if (epsilon_ > 0.0) {
    constexpr std::size_t kAhead = 8;
    for (; reported_ < window_.size() && window_[reported_].finish <= now; ++reported_) {
      if (reported_ + 2 * kAhead < window_.size()) {
        sharing_.flows().prefetch(window_[reported_ + 2 * kAhead].flow);
        sharing_.flows().prefetch_uses(window_[reported_ + kAhead].flow);
      }
      completed.push_back(window_[reported_].id);
      retire(window_[reported_].flow);
    }
    return;
  }
  completed_.clear();
  sharing_.take_completed(now, completed_);
  for (const std::uint32_t flow : completed_) {
    completed.push_back(sharing_.flows()[flow].id);
    retire(flow);
    sharing_.remove(flow, now);
  }
}

void FluidSystem::State::advance(SimTime to, std::vector<ActivityId>& completed) {
  ensure(to >= time_, "the clock of a fluid system does not run backwards");
  std::size_t instant_begin = completed.size();
  completed.insert(completed.end(), instant_.begin(), instant_.end());
  instant_.clear();
  for (std::int64_t next = next_event(); next <= to.ticks() && next != SimTime::never().ticks(); next = next_event()) {
    if (next > time_.ticks()) {
      instant_begin = completed.size();
      time_ = SimTime::from_ticks(next);
    }
    take_completed(next, completed);
    end_latencies(completed);
    // By id within the instant, however often the instant was solved.
    std::sort(completed.begin() + static_cast<std::ptrdiff_t>(instant_begin), completed.end());
  }
  time_ = to;
  while (!by_id_.empty() && by_id_.front() == kNobody) {
    by_id_.pop_front();
    ++first_kept_id_;
  }
}

// The public face ----------------------------------------------------------------------------------------------

FluidSystem::FluidSystem(const FluidOptions& options) : state_(std::make_unique<State>(options)) {}
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
