#include "sim/fluid/windows.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <tuple>
#include <utility>

#include "sim/core/error.hpp"
#include "sim/fluid/noise.hpp"

namespace moesim::fluid {
namespace {

constexpr double kWindow = 2.5;   ///< w/ε where there are many flows
constexpr double kMany = 6e4;     ///< flows
constexpr double kPower = 0.3;    ///< of flows/kMany: measured at 64 to 256 GPUs
constexpr double kLongest = 2.0;  ///< of w·t
constexpr double kShortest = 0.5;
constexpr double kMostLive = 0.3;    ///< of the live flows end in one window: else they hold each other back unseen
constexpr double kLeast = 0.1;       ///< of w·t, nevertheless
constexpr double kGrowth = 2.0;      ///< of h/t, from one window to the next
constexpr double kSurprise = 2.0;    ///< so many times the flows that were to end do: the window is made shorter
constexpr double kMostStay = 0.999;  ///< of a link's capacity that flows held back elsewhere can take from (1)
constexpr double kForgiven = 1e-4;   ///< of a tick: the noise of doubles

}  // namespace

Windows::Windows(std::span<const KnownFlow> all, Component component, const Options& options)
    : all_(all),
      component_(std::move(component)),
      options_(options),
      levels_(component_),
      window_(kWindow * options.epsilon *
              std::min(1.0, std::pow(static_cast<double>(component_.flows.size()) / kMany, kPower))),
      before_(component_.capacity.size(), 0.0),
      order_(component_.flows.size()),
      finish_(component_.flows.size(), 0.0) {
  std::iota(order_.begin(), order_.end(), 0U);
  const auto earlier = [&](std::uint32_t a, std::uint32_t b) {
    return all_[component_.flows[a]].latency < all_[component_.flows[b]].latency;
  };
  if (!std::is_sorted(order_.begin(), order_.end(), earlier)) {
    std::stable_sort(order_.begin(), order_.end(), earlier);
  }
}

double Windows::latency(std::size_t next) const {
  return all_[component_.flows[order_[next]]].latency.duration().base();
}

void Windows::run(std::span<SimTime> finish, Samples& samples) {
  if (options_.sample_every < SimTime::never()) {
    samples_ = &samples;
    slot_.assign(options_.resources, 0.0);
    unsampled_.resize(finish_.size());
    for (std::size_t flow = 0; flow < finish_.size(); ++flow) {
      unsampled_[flow] = all_[component_.flows[flow]].amount;
    }
  }
  while (levels_.live() > 0 || next_ < order_.size()) {
    if (levels_.live() == 0) {
      now_ = std::max(now_, latency(next_));
    }
    begin();
    window();
  }
  if (samples_ != nullptr && now_ > static_cast<double>(samples_->size()) * options_.sample_every.duration().base()) {
    sample();
  }
  for (std::size_t flow = 0; flow < finish_.size(); ++flow) {
    finish[component_.flows[flow]] =
        SimTime::from_ticks(static_cast<std::int64_t>(std::ceil(finish_[flow] * 1e12 - kForgiven)));
  }
}

void Windows::begin() {
  for (; next_ < order_.size() && latency(next_) <= now_; ++next_) {
    const std::uint32_t flow = order_[next_];
    levels_.begin(flow);
  }
}

void Windows::window() {
  const double plain = window_ * now_;
  double length = length_ > 0.0 ? next_length() : first_length();
  if (next_ < order_.size()) {  // who begins early in a window has to wait for its end
    length = std::min(length, std::max(latency(next_) - now_, kShortest * plain));
  }
  double until_sample = kInfinity;
  if (samples_ != nullptr) {
    until_sample = static_cast<double>(samples_->size() + 1) * options_.sample_every.duration().base() - now_;
    length = std::min(length, until_sample);
  }
  for (std::uint32_t link = 0; link < before_.size(); ++link) {
    before_[link] = levels_.level(link);
  }
  levels_.solve(length);
  if (length_ > 0.0 && (length > plain || 2 * levels_.live() < finish_.size())) {
    shorten(length, plain);
  }
  endings_.clear();
  ensure(length > 0.0 && length < kInfinity, "a window has no length");
  levels_.advance(length, endings_);
  end(length);
  ended_ = static_cast<double>(endings_.size()) / static_cast<double>(finish_.size()) * now_ / length;
  now_ += length;
  length_ = length;
  if (samples_ != nullptr && length == until_sample) {
    now_ = static_cast<double>(samples_->size() + 1) * options_.sample_every.duration().base();
    sample();
  }
}

/// Until somebody is through at the levels of the first instant.
double Windows::first_length() {
  levels_.solve(0.0);
  return std::max(window_ * now_, levels_.least_time());
}

double Windows::next_length() const {
  const double plain = window_ * now_;
  const double length = plain * std::clamp(1.0 / std::sqrt(std::max(ended_, 1e-9)), kShortest, kLongest);
  return std::min(length, std::max(kShortest * plain, kGrowth * length_ * now_ / std::max(now_ - length_, length_)));
}

/// A window is solved again, shorter, where more flows would end in it than before, or most of those that are left.
void Windows::shorten(double& length, double plain) {
  while (length > kLeast * plain) {
    const auto ends = static_cast<double>(levels_.ends(length));
    const double part = ends / static_cast<double>(finish_.size());
    const double most = kSurprise * window_ * plain;
    if (length > plain && part * length > most) {
      length = std::max(plain, length * std::clamp(0.7 * std::sqrt(most / (part * length)), 0.25, 0.7));
    } else if (ends > kMostLive * static_cast<double>(levels_.live())) {
      length = std::max(kLeast * plain, 0.5 * length);
    } else {
      return;
    }
    levels_.solve(length);
  }
}

/// When in the window `endings_` end.
void Windows::end(double length) {
  if (endings_.empty()) {
    return;
  }
  take_from_links();
  std::sort(endings_.begin(), endings_.end(),
            [](const Ending& a, const Ending& b) { return std::tie(a.left, a.flow) < std::tie(b.left, b.flow); });
  place_.assign(first_.begin(), first_.end());
  through_.resize(first_.back());
  for (std::uint32_t i = 0; i < endings_.size(); ++i) {
    double before = kInfinity;
    double now = kInfinity;
    each_link(endings_[i], [&](std::uint32_t link) {
      before = std::min(before, before_[link]);
      now = std::min(now, levels_.level(link));
    });
    each_link(endings_[i], [&](std::uint32_t link) {
      const bool holds = before_[link] == before || levels_.level(link) == now || levels_.users(link) == 0;
      through_[place_[link]++] = {i, holds ? Through::Holds::kYes : Through::Holds::kNo, endings_[i].left};
    });
  }
  time_.assign(endings_.size(), 0.0);
  for (std::uint32_t link = 0; link < component_.capacity.size(); ++link) {
    if (first_[link] < first_[link + 1]) {
      end_on(link, length);
    }
  }
  for (std::size_t i = 0; i < endings_.size(); ++i) {
    finish_[endings_[i].flow] = now_ + std::min(time_[i], length);
  }
}

/// Takes `endings_` from their links, and notes how many there are on each.
void Windows::take_from_links() {
  first_.assign(component_.capacity.size() + 1, 0);
  for (const Ending& ending : endings_) {
    each_link(ending, [&](std::uint32_t link) {
      ++first_[link + 1];
      levels_.leave(link);
    });
    if (samples_ != nullptr) {
      const KnownFlow& flow = all_[component_.flows[ending.flow]];
      for (const Use& use : flow.uses) {
        slot_[use.resource.index()] += use.weight * unsampled_[ending.flow];
      }
      unsampled_[ending.flow] = 0.0;
    }
  }
  std::partial_sum(first_.begin(), first_.end(), first_.begin());
}

/// (1) for the flows that end on a link, which come in the order of what they have left.
void Windows::end_on(std::uint32_t link, double length) {
  const std::span<const Through> through = std::span(through_).subspan(first_[link], first_[link + 1] - first_[link]);
  double ending = 0.0;
  for (const Through& flow : through) {
    ending += flow.left;
  }
  const auto [elsewhere, here] = levels_.sums(link);
  const double capacity = levels_.target(link);
  const double stay = levels_.users(link) > 0 ? std::max(0.0, elsewhere - ending / length) : 0.0;
  const double given = capacity - std::min(stay, kMostStay * capacity);
  double sharing = here + static_cast<double>(through.size());
  double service = 0.0;
  double time = 0.0;
  for (const Through& flow : through) {
    time += sharing * (flow.left - service) / given;
    service = flow.left;
    sharing -= 1.0;
    if (flow.holds == Through::Holds::kYes) {
      time_[flow.ending] = std::max(time_[flow.ending], time);
    }
  }
}

/// What all resources carried since the last sample, of this component's flows.
void Windows::sample() {
  levels_.each_live([&](std::uint32_t flow, double left) {
    for (const Use& use : all_[component_.flows[flow]].uses) {
      slot_[use.resource.index()] += use.weight * (unsampled_[flow] - left);
    }
    unsampled_[flow] = left;
  });
  std::vector<Sample>& sample = samples_->emplace_back();
  for (std::uint32_t resource = 0; resource < slot_.size(); ++resource) {
    if (slot_[resource] != 0.0) {
      sample.push_back({resource, slot_[resource]});
      slot_[resource] = 0.0;
    }
  }
}

}  // namespace moesim::fluid
