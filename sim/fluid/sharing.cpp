#include "sim/fluid/sharing.hpp"

#include <algorithm>
#include <cmath>

#include "sim/core/error.hpp"
#include "sim/fluid/noise.hpp"

// Links and flows as they come and go, clocks and completions; levels.cpp finds the rates.
namespace moesim::fluid {
namespace {

constexpr std::int64_t kNever = SimTime::never().ticks();
constexpr double kTicksPerSecond = 1e12;
/// Finishes later than this are kept as this (FluidSystem::next_completion refuses well before).
constexpr double kLatest = 4e18;
/// Of a tag, relative.
constexpr double kTagNoise = 64 * kUlp;
/// Of a tick: less is not worth a whole one more.
constexpr double kTickNoise = 1e-4;

/// `ticks` rounded up, where up to `noise` above a whole number does not count as above.
std::int64_t round_up(double ticks, double noise) {
  const auto whole = static_cast<std::int64_t>(ticks);
  return ticks - static_cast<double>(whole) > noise ? whole + 1 : whole;
}

}  // namespace

Sharing::Sharing(double epsilon)
    : kernels_(block_kernels()), epsilon_(epsilon), still_(std::max(kLevelNoise, epsilon * kStillPart)) {}

std::uint32_t Sharing::add_link(double capacity, std::uint32_t kind) {
  auto found = std::find_if(kinds_.begin(), kinds_.end(), [&](const Kind& k) { return k.kind == kind; });
  if (found == kinds_.end()) {
    found = kinds_.insert(kinds_.end(), Kind{kind, 0});
  }
  if (found->next % kBlock == 0) {
    found->next = static_cast<std::uint32_t>(links_.size());
    const std::size_t size = links_.size() + kBlock;
    links_.resize(size);
    level_.resize(size, kInfinity);
    free_.resize(size, 0.0);
    slack_.resize(size, 0.0);
    finish_.resize(size, kNever);
    link_seen_.resize(size, 0);
    takes_.resize(size, 0);
    watch_.resize(size, Watch::kAsNeeded);
    unfixed_.resize(size, 0);
    block_finish_.push_back(kNever);
    block_finish_old_.push_back(0);
    dirty_.push_back(0);
    touched_bits_.push_back(0);
    saturated_.push_back(0);
    coupling_.add_block_of_links();
  }
  const std::uint32_t link = found->next++;
  links_[link].capacity = capacity;
  free_[link] = capacity;
  slack_[link] = (kCapacityNoise + epsilon_ * kStillPart) * capacity;
  return link;
}

void Sharing::set_capacity(std::uint32_t link, double capacity) {
  // It stands in for nobody any more, and nobody for it.
  for (const User& user : links_[link].users) {
    for (const FlowUse& use : flows_.uses(user.flow)) {
      watch(use.link);
    }
  }
  watch_[link] = Watch::kAlways;
  free_[link] += capacity - links_[link].capacity;
  links_[link].capacity = capacity;
  slack_[link] = (kCapacityNoise + epsilon_ * kStillPart) * capacity;
  rest(link);
  mark(link, level_[link] < kInfinity ? level_[link] : 0.0);
}

std::uint32_t Sharing::add(const Demand& demand) {
  const std::uint32_t index = flows_.add(demand.uses.size());
  Flow& flow = flows_[index];
  flow.amount = demand.amount;
  flow.fairness = demand.fairness;
  flow.tag = demand.amount / demand.fairness;
  flow.id = demand.id;
  std::copy(demand.uses.begin(), demand.uses.end(), flows_.uses(index).begin());
  return index;
}

void Sharing::enter(std::uint32_t index, std::int64_t now) {
  flows_[index].since = now;
  const std::span<FlowUse> uses = flows_.uses(index);
  for (std::size_t i = 0; i < uses.size(); ++i) {
    std::vector<User>& users = links_[uses[i].link].users;
    uses[i].position = static_cast<std::uint32_t>(users.size());
    users.push_back(User{index, flows_[index].first_use + static_cast<std::uint32_t>(i)});
  }
  cover(index);
  fresh_.push_back(index);
  ++live_;
}

// Clocks and completions -----------------------------------------------------------------------------------------

double Sharing::clock_at(const Link& link, double level, std::int64_t tick) const {
  return link.clock.value() +
         (tick > link.since ? level * (static_cast<double>(tick - link.since) / kTicksPerSecond) : 0.0);
}

/// Brings the link's clock to the present; its level may change from here on.
void Sharing::touch(std::uint32_t index) {
  Link& link = links_[index];
  if (link.since != now_) {
    if (link.owned > 0) {
      link.clock.add(level_[index] * (static_cast<double>(now_ - link.since) / kTicksPerSecond));
    }
    link.since = now_;
  }
  std::uint32_t& listed = touched_bits_[index / kBlock];
  if ((listed & bit_of(index)) == 0) {
    listed |= bit_of(index);
    touched_.push_back(index);
  }
}

std::int64_t Sharing::finish_of(std::uint32_t index, double tag) const {
  const Link& link = links_[index];
  const double ticks_per_level = kTicksPerSecond / level_[index];
  const double ticks = std::max(0.0, tag - link.clock.value()) * ticks_per_level;
  return ticks < kLatest - static_cast<double>(link.since)
             ? link.since + round_up(ticks, kTickNoise + kTagNoise * tag * ticks_per_level)
             : kNever - 1;
}

void Sharing::note_finish(std::uint32_t index) {
  Link& link = links_[index];
  std::int64_t finish = kNever;
  if (link.owned > 0) {
    const TagQueue::Entry* least = link.queue.least(flows_, index);
    ensure(least != nullptr, "a link owns flows, but none is due");
    finish = finish_of(index, least->tag);
  }
  if (finish_[index] != finish) {
    finish_[index] = finish;
    block_finish_old_[index / kBlock] = 1;
  }
}

std::int64_t Sharing::earliest_finish() {
  std::int64_t earliest = kNever;
  for (std::size_t block = 0; block < block_finish_.size(); ++block) {
    if (block_finish_old_[block] != 0) {
      block_finish_old_[block] = 0;
      block_finish_[block] = kernels_.earliest(finish_.data() + kBlock * block);
    }
    earliest = std::min(earliest, block_finish_[block]);
  }
  return earliest;
}

void Sharing::take_completed(std::int64_t now, std::vector<std::uint32_t>& completed) {
  for (std::size_t block = 0; block < block_finish_.size(); ++block) {
    if (block_finish_[block] > now) {
      continue;
    }
    const auto begin = static_cast<std::uint32_t>(kBlock * block);
    for (std::uint32_t link = begin; link < begin + kBlock; ++link) {
      if (finish_[link] > now) {
        continue;
      }
      const std::size_t before = completed.size();
      TagQueue& queue = links_[link].queue;
      for (auto least = queue.least(flows_, link); least != nullptr && finish_of(link, least->tag) <= now;
           least = queue.least(flows_, link)) {
        completed.push_back(least->flow);
        flows_[least->flow].tag = -kInfinity;  // were it in the queue twice, it would be taken once
        queue.pop();
      }
      ensure(completed.size() > before, "a completion that was due completed nothing");
      const TagQueue::Entry* next = queue.least(flows_, link);
      finish_[link] = next == nullptr ? kNever : finish_of(link, next->tag);
      block_finish_old_[block] = 1;
    }
  }
}

void Sharing::remove(std::uint32_t index, std::int64_t now) {
  now_ = now;
  const std::uint32_t owner = flows_[index].owner;
  touch(owner);
  disown(index);
  for (const FlowUse& use : flows_.uses(index)) {
    std::vector<User>& users = links_[use.link].users;
    const User last = users.back();
    users[use.position] = last;
    flows_.use(last.use).position = use.position;
    users.pop_back();
    rest(use.link);
  }
  flows_.remove(index);
  --live_;
}

void Sharing::remove(std::span<const Late> late, std::int64_t now) {
  now_ = now;
  credits_.clear();
  for (const Late& gone : late) {
    const Flow& flow = flows_[gone.flow];
    const double level = level_[flow.owner] * (static_cast<double>(now - gone.finish) / kTicksPerSecond);
    for (const FlowUse& use : flows_.uses(gone.flow)) {
      credits_.push_back(Credit{use.link, use.weight * flow.fairness * level});
    }
  }
  for (const Late& gone : late) {
    remove(gone.flow, now);
  }
  for (const Credit& credit : credits_) {
    if (links_[credit.link].owned > 0 && credit.unused > 0.0) {
      touch(credit.link);
      links_[credit.link].clock.add(credit.unused / links_[credit.link].own);
    }
  }
}

double Sharing::rate(std::uint32_t index) const {
  const Flow& flow = flows_[index];
  return flow.owner == kNobody ? 0.0 : flow.fairness * level_[flow.owner];
}

double Sharing::remaining(std::uint32_t index, std::int64_t tick) const {
  const Flow& flow = flows_[index];
  if (flow.owner == kNobody) {
    return flow.tag * flow.fairness;
  }
  return std::max(0.0, flow.fairness * (flow.tag - clock_at(links_[flow.owner], level_[flow.owner], tick)));
}

}  // namespace moesim::fluid
