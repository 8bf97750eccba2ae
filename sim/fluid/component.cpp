#include "sim/fluid/component.hpp"

#include <algorithm>
#include <array>

#include "sim/core/error.hpp"

namespace moesim::fluid {
namespace {

constexpr std::int64_t kNever = SimTime::never().ticks();
constexpr double kTicksPerSecond = 1e12;
/// Finishes later than this are kept as this (FluidSystem::next_completion refuses well before).
constexpr double kLatest = 4e18;
constexpr double kInfinity = std::numeric_limits<double>::infinity();

/// `ticks` rounded up, where up to `noise` above a whole number does not count as above.
std::int64_t round_up(double ticks, double noise) {
  const auto whole = static_cast<std::int64_t>(ticks);
  return ticks - static_cast<double>(whole) > noise ? whole + 1 : whole;
}

/// The least value, infinity where there is none. Four at a time, for each comparison waits for the one before.
double least_of(std::span<const double> values) {
  std::array<double, 4> least{kInfinity, kInfinity, kInfinity, kInfinity};
  std::size_t i = 0;
  for (; i + 4 <= values.size(); i += 4) {
    for (std::size_t lane = 0; lane < 4; ++lane) {
      least[lane] = values[i + lane] < least[lane] ? values[i + lane] : least[lane];
    }
  }
  for (; i < values.size(); ++i) {
    least[0] = std::min(least[0], values[i]);
  }
  return std::min(std::min(least[0], least[1]), std::min(least[2], least[3]));
}

}  // namespace

double Progress::remaining_at(std::int64_t tick) const {
  const double elapsed = static_cast<double>(tick - since) / kTicksPerSecond;
  return std::max(0.0, remaining - rate * elapsed);
}

void Progress::set_rate(double new_rate, std::int64_t tick) {
  if (new_rate == rate) {
    return;
  }
  remaining = remaining_at(tick);
  since = tick;
  rate = new_rate;
  const double ticks_per_unit = kTicksPerSecond / rate;
  const double ticks = remaining * ticks_per_unit;
  finish = ticks < kLatest - static_cast<double>(tick) ? tick + round_up(ticks, noise * ticks_per_unit) : kNever - 1;
}

void Component::build(std::span<Activity* const> members, std::span<const double> capacities,
                      std::vector<std::uint32_t>& local_of_resource) {
  members_.assign(members.begin(), members.end());
  resources_.clear();
  flows_.clear();
  progress_.clear();
  steps_.clear();
  order_.clear();
  restart_ = 0;
  live_ = members_.size();
  unfixed_ = live_;
  earliest_finish_ = kNever;

  table_.capacity.clear();
  table_.cap.clear();
  table_.first_use.assign(1, 0);
  table_.uses.clear();
  for (Activity* activity : members_) {
    activity->local = static_cast<std::uint32_t>(progress_.size());
    progress_.push_back(activity->progress);
    flows_.emplace_back().fairness = activity->fairness;
    table_.cap.push_back(activity->rate_cap);
    for (const Use& use : activity->uses) {
      // A stale entry of the map points at another resource or past the end.
      std::uint32_t& local = local_of_resource[use.resource.index()];
      if (local >= resources_.size() || resources_[local] != use.resource) {
        local = static_cast<std::uint32_t>(resources_.size());
        resources_.push_back(use.resource);
        table_.capacity.push_back(capacities[use.resource.index()]);
      }
      table_.uses.push_back(UseTable::Use{local, use.weight});
    }
    table_.first_use.push_back(static_cast<std::uint32_t>(table_.uses.size()));
  }
  table_.index_users();
  drop_redundant(table_);
  list_claims();
  list_users();
}

void Component::list_claims() {
  claims_.clear();
  caps_.clear();
  for (std::uint32_t index = 0; index < flows_.size(); ++index) {
    Flow& flow = flows_[index];
    flow.first_claim = static_cast<std::uint32_t>(claims_.size());
    for (const UseTable::Use& use : table_.uses_of(index)) {
      claims_.push_back(Claim{use.weight * flow.fairness, use.resource, 0});
    }
    flow.end_claim = static_cast<std::uint32_t>(claims_.size());
    if (table_.cap[index] < kInfinity) {
      caps_.push_back(Cap{table_.cap[index] / flow.fairness, index});
    }
  }
  std::stable_sort(caps_.begin(), caps_.end(), [](const Cap& a, const Cap& b) { return a.level < b.level; });
}

void Component::list_users() {
  shares_.clear();
  for (std::size_t resource = 0; resource < table_.resource_count(); ++resource) {
    Share& share = shares_.emplace_back();
    share.free = CompensatedSum(table_.capacity[resource]);
    share.first_user = table_.first_user[resource];
  }
  users_.resize(claims_.size());
  for (std::uint32_t flow = 0; flow < flows_.size(); ++flow) {
    for (std::uint32_t index = flows_[flow].first_claim; index < flows_[flow].end_claim; ++index) {
      Claim& claim = claims_[index];
      Share& share = shares_[claim.resource];
      share.weight.add(claim.weight);
      claim.position = share.users++;
      users_[share.first_user + claim.position] = User{flow, index};
    }
  }
}

void Component::release(std::vector<Activity*>& members) {
  for (std::size_t flow = 0; flow < members_.size(); ++flow) {
    if (flows_[flow].step != kGone) {
      members_[flow]->progress = progress_[flow];
      members.push_back(members_[flow]);
    }
  }
  members_.clear();
  steps_.clear();
  live_ = 0;
  earliest_finish_ = kNever;
}

void Component::complete(SimTime now, std::vector<Activity*>& completed) {
  std::size_t end = order_.size();
  for (std::size_t k = steps_.size(); k > 0 && steps_[k - 1].earliest_so_far <= now.ticks(); --k) {
    const Step& step = steps_[k - 1];
    if (step.earliest <= now.ticks()) {
      restart_ = std::min(restart_, static_cast<std::uint32_t>(k - 1));
      complete_between(step.begin, end, now, completed);
    }
    end = step.begin;
  }
  earliest_finish_ = kNever;
}

/// Among those in order_[begin .. end).
void Component::complete_between(std::size_t begin, std::size_t end, SimTime now, std::vector<Activity*>& completed) {
  for (std::size_t i = begin; i < end; ++i) {
    const std::uint32_t flow = order_[i];
    if (flows_[flow].step != kGone && progress_[flow].finish <= now.ticks()) {
      flows_[flow].step = kGone;
      --live_;
      completed.push_back(members_[flow]);
    }
  }
}

void Component::fill(SimTime now) {
  now_ = now.ticks();
  undo_from(restart_);
  open();
  while (unfixed_ > 0) {
    const std::size_t fixed_before = order_.size();
    while (cap_cursor_ < caps_.size() && flows_[caps_[cap_cursor_].flow].step != kUnfixed) {
      ++cap_cursor_;
    }
    steps_.push_back(Step{static_cast<std::uint32_t>(fixed_before), cap_cursor_, kUnfixed, level_, kNever, kNever});
    earliest_ = kNever;
    const double limit = least_of(open_level_);
    if (cap_cursor_ < caps_.size() && caps_[cap_cursor_].level <= limit) {
      fix_capped(limit);
    } else {
      const auto least = std::find(open_level_.begin(), open_level_.end(), limit);
      ensure(least != open_level_.end(), "an activity is bounded by nothing");
      saturate(open_resource_[least - open_level_.begin()], limit);
    }
    // Bounds the loop: every step fixes at least one activity.
    ensure(order_.size() > fixed_before, "a step of the filling fixed nobody");

    Step& step = steps_.back();
    step.level = level_;
    step.earliest = earliest_;
    step.earliest_so_far =
        steps_.size() > 1 ? std::min(earliest_, steps_[steps_.size() - 2].earliest_so_far) : earliest_;
  }
  restart_ = static_cast<std::uint32_t>(steps_.size());
  earliest_finish_ = steps_.empty() ? kNever : steps_.back().earliest_so_far;
}

/// Brings everything back to before the step. What fix() took from the sums is given back to them; being compensated,
/// they lose nothing over many events.
void Component::undo_from(std::uint32_t step) {
  cap_cursor_ = step < steps_.size() ? steps_[step].cap : 0;
  level_ = step > 0 ? steps_[step - 1].level : 0.0;
  while (steps_.size() > step) {
    const Step& last = steps_.back();
    for (; order_.size() > last.begin; order_.pop_back()) {
      unfix(order_.back(), last.saturated);
    }
    steps_.pop_back();
  }
}

void Component::unfix(std::uint32_t index, std::uint32_t saturated) {
  Flow& flow = flows_[index];
  for (std::uint32_t i = flow.first_claim; i < flow.end_claim; ++i) {
    const Claim& claim = claims_[i];
    if (claim.resource != saturated) {
      Share& share = shares_[claim.resource];
      share.free.add(claim.weight * flow.level);
      share.weight.add(claim.weight);
      --share.fixed;
    }
  }
  if (flow.step == kGone) {
    remove(index);
  } else {
    flow.step = kUnfixed;
    ++unfixed_;
  }
}

/// Takes a flow that is not fixed off the lists of the resources it uses.
void Component::remove(std::uint32_t index) {
  for (std::uint32_t i = flows_[index].first_claim; i < flows_[index].end_claim; ++i) {
    const Claim& claim = claims_[i];
    Share& share = shares_[claim.resource];
    share.weight.add(-claim.weight);
    const User last = users_[share.first_user + --share.users];
    users_[share.first_user + claim.position] = last;
    claims_[last.claim].position = claim.position;
  }
}

/// Opens every resource that some unfixed activity uses.
void Component::open() {
  open_level_.clear();
  open_resource_.clear();
  for (std::uint32_t resource = 0; resource < shares_.size(); ++resource) {
    Share& share = shares_[resource];
    if (share.fixed < share.users && share.closed >= restart_) {
      share.open = static_cast<std::uint32_t>(open_level_.size());
      open_level_.push_back(std::max(level_, share.free.value() / share.weight.value()));
      open_resource_.push_back(resource);
    }
  }
}

void Component::close(std::uint32_t resource) {
  Share& share = shares_[resource];
  share.closed = static_cast<std::uint32_t>(steps_.size() - 1);
  open_level_[share.open] = open_level_.back();
  open_resource_[share.open] = open_resource_.back();
  shares_[open_resource_.back()].open = share.open;
  open_level_.pop_back();
  open_resource_.pop_back();
}

/// All whose cap is reached before the next resource fills: fixing them moves that only further up.
void Component::fix_capped(double limit) {
  for (; cap_cursor_ < caps_.size() && caps_[cap_cursor_].level <= limit; ++cap_cursor_) {
    const Cap& cap = caps_[cap_cursor_];
    if (flows_[cap.flow].step == kUnfixed) {
      level_ = std::max(level_, cap.level);
      fix(cap.flow, cap.level, kUnfixed);
    }
  }
}

void Component::saturate(std::uint32_t resource, double level) {
  steps_.back().saturated = resource;
  level_ = level;
  close(resource);
  const Share& share = shares_[resource];
  for (std::uint32_t i = share.first_user + share.fixed; i < share.first_user + share.users; ++i) {
    fix(users_[i].flow, level, resource);
  }
}

/// `saturated` is the resource that fills, or kUnfixed.
void Component::fix(std::uint32_t index, double level, std::uint32_t saturated) {
  Flow& flow = flows_[index];
  flow.level = level;
  flow.step = static_cast<std::uint32_t>(steps_.size() - 1);
  order_.push_back(index);
  --unfixed_;
  for (std::uint32_t i = flow.first_claim; i < flow.end_claim; ++i) {
    Claim& claim = claims_[i];
    if (claim.resource == saturated) {
      continue;
    }
    Share& share = shares_[claim.resource];
    share.free.add(-claim.weight * level);
    share.weight.add(-claim.weight);
    // Changes places with the first user that is not fixed.
    User& first = users_[share.first_user + share.fixed];
    claims_[first.claim].position = claim.position;
    users_[share.first_user + claim.position] = first;
    first = User{index, i};
    claim.position = share.fixed++;
    if (share.fixed == share.users) {
      close(claim.resource);
      continue;
    }
    // Never below the present level but by rounding, which max() undoes.
    open_level_[share.open] = std::max(level_, share.free.value() / share.weight.value());
  }
  progress_[index].set_rate(flow.fairness * level, now_);
  earliest_ = std::min(earliest_, progress_[index].finish);
}

}  // namespace moesim::fluid
