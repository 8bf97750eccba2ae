#include "sim/fluid/episodes.hpp"

#include <algorithm>
#include <bit>

#include "sim/core/error.hpp"

namespace moesim {

namespace {

/// A layer has few: a dispatch, a combine, collectives of its attention group.
constexpr std::size_t kKept = 8;
constexpr std::size_t kKeptStarts = std::size_t{1} << 22;  ///< of all of them, half a gigabyte

}  // namespace

bool FluidEpisodes::Episode::starts_like(const Episode& other, std::size_t start) const {
  const Start& a = starts[start];
  const Start& b = other.starts[start];
  const std::span<const Use> uses_of_a = uses_of(start);
  return a.after == b.after && a.amount == b.amount && a.fairness == b.fairness && a.end_of_uses == b.end_of_uses &&
         std::equal(uses_of_a.begin(), uses_of_a.end(), other.uses_of(start).begin(),
                    [](const Use& x, const Use& y) { return x.resource == y.resource && x.weight == y.weight; });
}

std::uint64_t FluidEpisodes::Episode::hash() const {
  std::uint64_t hash = starts.size();
  const auto mix = [&](std::uint64_t value) {
    hash = (hash ^ value) * 0x9e3779b97f4a7c15ULL;
    hash ^= hash >> 32U;
  };
  for (const Start& start : starts) {
    mix(std::bit_cast<std::uint64_t>(start.amount));
  }
  for (const Use& use : uses) {
    mix(use.resource.index());
  }
  return hash;
}

ActivityId FluidEpisodes::start(SimTime now, double amount, std::span<const Use> uses, double fairness) {
  ensure(amount > 0.0, "an activity of an episode has something to do");
  if (started_ == 0) {
    begin_ = now;
    time_ = {};
  }
  ensure(now - begin_ >= time_, "the clock of an episode does not run backwards");
  time_ = now - begin_;
  ensure(mode_ != Mode::kBegins || time_ == SimTime(), "after each instant's starts the next completion is asked for");
  if (mode_ != Mode::kSolves) {
    collected_.uses.insert(collected_.uses.end(), uses.begin(), uses.end());
    collected_.starts.push_back({time_, amount, fairness, collected_.uses.size()});
  }
  if (system_) {
    system_->start(time_, {.amount = amount, .uses = uses, .fairness = fairness});
  } else if (mode_ == Mode::kFollows &&
             (started_ == followed_->starts.size() || !collected_.starts_like(*followed_, started_))) {
    follow_or_record(time_);
  }
  return ActivityId(started_++);
}

/// The first instant is over.
void FluidEpisodes::decide() {
  if (begun_.insert(collected_.hash()).second) {
    mode_ = Mode::kSolves;
    solve();
    collected_ = {};
  } else {
    follow_or_record(SimTime::from_ticks(1));
  }
}

void FluidEpisodes::follow_or_record(SimTime not_before) {
  followed_ = std::find_if(remembered_.begin(), remembered_.end(),
                           [&](const Episode& other) { return goes_like(other, not_before); });
  mode_ = followed_ == remembered_.end() ? Mode::kRecords : Mode::kFollows;
  if (mode_ == Mode::kRecords) {
    solve();
  }
}

/// Whether `other` did what has been started so far, and the rest not before that time.
bool FluidEpisodes::goes_like(const Episode& other, SimTime not_before) const {
  const std::size_t count = collected_.starts.size();
  if (other.starts.size() < count || (other.starts.size() > count && other.starts[count].after < not_before)) {
    return false;
  }
  for (std::size_t start = count; start-- > 0;) {  // the last is the likeliest to differ
    if (!collected_.starts_like(other, start)) {
      return false;
    }
  }
  return true;
}

/// What has been collected, from its begin.
void FluidEpisodes::solve() {
  system_.emplace();
  for (const double capacity : capacities_) {
    system_->add_resource(capacity);
  }
  SimTime before;
  for (std::size_t index = 0; index < collected_.starts.size(); ++index) {
    const Start& start = collected_.starts[index];
    if (start.after > before) {
      record_completions(start.after);
      before = start.after;
    }
    system_->start(start.after,
                   {.amount = start.amount, .uses = collected_.uses_of(index), .fairness = start.fairness});
  }
}

void FluidEpisodes::record_completions(SimTime until) {
  for (auto next = system_->next_completion(); next && *next <= until; next = system_->next_completion()) {
    at_once_.clear();
    system_->advance(*next, at_once_);
    for (const ActivityId activity : at_once_) {
      collected_.completions.push_back({*next, activity});
    }
  }
}

std::optional<SimTime> FluidEpisodes::next_completion() {
  if (started_ == 0) {
    return std::nullopt;
  }
  if (mode_ == Mode::kBegins) {
    decide();
  }
  const auto start_to_come = [&] {
    return started_ < followed_->starts.size() ? followed_->starts[started_].after : SimTime::never();
  };
  if (mode_ == Mode::kFollows && start_to_come() <= time_) {  // it did not come
    follow_or_record(time_ + SimTime::from_ticks(1));
  }
  if (mode_ == Mode::kFollows) {
    return begin_ + std::min(followed_->completions.at(completed_).after, start_to_come());
  }
  if (mode_ == Mode::kRecords) {
    record_completions(time_);
    ensure(collected_.completions.size() >= completed_, "what began alike went alike");
    if (collected_.completions.size() > completed_) {
      return begin_ + collected_.completions[completed_].after;
    }
  }
  const std::optional<SimTime> next = system_->next_completion();
  ensure(next.has_value(), "an episode is over when nothing is live");
  return begin_ + *next;
}

void FluidEpisodes::advance(SimTime to, std::vector<ActivityId>& completed) {
  if (started_ == 0) {
    return;
  }
  ensure(mode_ != Mode::kBegins, "the clock of an episode moves on when the next completion is known");
  ensure(to - begin_ >= time_, "the clock of an episode does not run backwards");
  time_ = to - begin_;
  if (mode_ == Mode::kSolves) {
    const std::size_t before = completed.size();
    system_->advance(time_, completed);
    completed_ += completed.size() - before;
  } else {
    if (mode_ == Mode::kRecords) {
      record_completions(time_);
    }
    const Episode& told = mode_ == Mode::kFollows ? *followed_ : collected_;
    for (; completed_ < told.completions.size() && told.completions[completed_].after <= time_; ++completed_) {
      completed.push_back(told.completions[completed_].activity);
    }
  }
  if (completed_ == started_) {
    end();
  }
}

void FluidEpisodes::end() {
  if (mode_ == Mode::kFollows) {
    ensure(followed_->starts.size() == started_, "an episode ends where the one that it follows ended");
    remembered_.splice(remembered_.begin(), remembered_, followed_);
    remembered_count_ += started_;
  } else if (mode_ == Mode::kRecords) {
    remembered_.push_front(std::move(collected_));
    std::size_t starts = 0;
    const auto fits = [&](const Episode& episode) { return (starts += episode.starts.size()) <= kKeptStarts; };
    const auto first = std::find_if_not(remembered_.begin(), remembered_.end(), fits);
    remembered_.erase(first, remembered_.end());
    remembered_.resize(std::min(remembered_.size(), kKept));
  }
  mode_ = Mode::kBegins;
  started_ = completed_ = 0;
  collected_ = {};
  system_.reset();
}

}  // namespace moesim
