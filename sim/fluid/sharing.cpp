#include "sim/fluid/sharing.hpp"

#include <algorithm>
#include <bit>
#include <cmath>

#include "sim/core/error.hpp"

namespace moesim::fluid {
namespace {

constexpr std::int64_t kNever = SimTime::never().ticks();
constexpr double kTicksPerSecond = 1e12;
constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr double kUlp = std::numeric_limits<double>::epsilon();
/// Finishes later than this are kept as this (FluidSystem::next_completion refuses well before).
constexpr double kLatest = 4e18;
/// Capacity that may be rounding error, relative to the capacity.
constexpr double kCapacityNoise = 8 * kUlp;
/// Of a tag, relative.
constexpr double kTagNoise = 64 * kUlp;
/// Of a tick: less is not worth a whole one more.
constexpr double kTickNoise = 1e-4;
/// A level moves if it does by more than its own rounding.
constexpr double kLevelNoise = 2 * kUlp;
/// Of a given epsilon, what goes to levels that are not moved.
constexpr double kStillPart = 0.125;
/// Changes of `free` until it is summed anew.
constexpr std::uint32_t kChangesToSum = 4096;

/// `ticks` rounded up, where up to `noise` above a whole number does not count as above.
std::int64_t round_up(double ticks, double noise) {
  const auto whole = static_cast<std::int64_t>(ticks);
  return ticks - static_cast<double>(whole) > noise ? whole + 1 : whole;
}

std::uint32_t bit_of(std::uint32_t link) { return 1U << (link % kBlock); }

bool later(double a, std::uint32_t link_a, double b, std::uint32_t link_b) { return a != b ? a > b : link_a > link_b; }

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

// Levels ---------------------------------------------------------------------------------------------------------

void Sharing::settle(std::int64_t now) {
  now_ = now;
  if (!fresh_.empty()) {
    place_fresh();
  }
  if (!agenda_.empty()) {
    solve();
  }
  for (const std::uint32_t link : touched_) {
    touched_bits_[link / kBlock] = 0;
    note_finish(link);
  }
  touched_.clear();
}

void Sharing::mark(std::uint32_t link, double level) {
  std::uint32_t& dirty = dirty_[link / kBlock];
  if ((dirty & bit_of(link)) == 0) {
    dirty |= bit_of(link);
    agenda_.push_back(Due{level, link});
    std::push_heap(agenda_.begin(), agenda_.end(),
                   [](const Due& a, const Due& b) { return later(a.level, a.link, b.level, b.link); });
  }
}

void Sharing::solve() {
  std::size_t steps = 0;
  while (!agenda_.empty()) {
    std::pop_heap(agenda_.begin(), agenda_.end(),
                  [](const Due& a, const Due& b) { return later(a.level, a.link, b.level, b.link); });
    const std::uint32_t link = agenda_.back().link;
    agenda_.pop_back();
    if ((dirty_[link / kBlock] & bit_of(link)) == 0) {
      continue;
    }
    dirty_[link / kBlock] &= ~bit_of(link);
    constexpr std::size_t kPatience = 256;
    if (++steps > kPatience + 64 * touched_.size()) {
      ++effort_.filled;
      fill_around(std::span(&link, 1));
      steps = 0;  // bounded: the links of that component are off the agenda
      continue;
    }
    relax(link);
  }
}

/// What of a link's level is rounding error.
double Sharing::tie(std::uint32_t link) const {
  return (kCapacityNoise * links_[link].capacity + epsilon_ * kStillPart * std::abs(free_[link])) / links_[link].own;
}

/// A link nobody owns through does not bind; one that nobody uses has all its capacity, exactly.
void Sharing::rest(std::uint32_t index) {
  Link& link = links_[index];
  if (link.owned > 0) {
    return;
  }
  link.own = 0.0;
  level_[index] = kInfinity;
  saturated_[index / kBlock] &= ~bit_of(index);
  if (link.users.empty()) {
    free_[index] = link.capacity;
    link.clock = CompensatedSum();
    link.queue.clear();
    link.changes = 0;
    if (watch_[index] == Watch::kOn) {
      watch_[index] = Watch::kAsNeeded;
    }
  }
}

void Sharing::sum_anew(std::uint32_t index) {
  Link& link = links_[index];
  CompensatedSum free(link.capacity);
  CompensatedSum own;
  for (const User& user : link.users) {
    const Flow& flow = flows_[user.flow];
    const double claim = flows_.use(user.use).weight * flow.fairness;
    if (flow.owner == index) {
      own.add(claim);
    } else if (flow.owner != kNobody) {
      free.add(-claim * level_[flow.owner]);
    }
  }
  free_[index] = free.value();
  link.own = own.value();
  link.changes = 0;
}

void Sharing::relax(std::uint32_t index) {
  ++effort_.relaxed;
  Link& link = links_[index];
  if (++link.changes > kChangesToSum) {
    sum_anew(index);
  }
  if (link.owned == 0) {
    if (free_[index] >= -slack_[index]) {
      return;
    }
    saturate(index);
  }
  // One that had no level yet rises from 0, where it has not taken what is above it.
  if (level_[index] == 0.0 || takes_[index] != 0 || free_[index] / link.own < level_[index]) {
    takes_[index] = 0;
    take_below(index);
  }
  if (free_[index] / link.own > level_[index]) {
    while (link.owned > 0 && give_up_above(index)) {  // bounded: less is owned each time
    }
  }
  if (link.owned > 0) {
    move_to(index, free_[index] / link.own);
  }
  dirty_[index / kBlock] &= ~bit_of(index);  // whatever it did itself is done
}

/// The link rises: what it shares with links that are now below it is theirs. True if there was any.
bool Sharing::give_up_above(std::uint32_t index) {
  Link& link = links_[index];
  const std::span<const RowBlock> row = coupling_.row(index);
  const double least = kernels_.least_owned(row.data(), row.size(), level_.data());
  const double level = free_[index] / link.own;
  if (!(least < level - tie(index))) {
    return false;
  }
  neighbours_.clear();
  // Giving up flows makes the link rise further, and more links come to be below it: those are for the next time.
  for (const RowBlock& block : row) {
    for (std::uint32_t bits = block.owned; bits != 0; bits &= bits - 1) {
      const auto other = static_cast<std::uint32_t>(kBlock * block.block + std::countr_zero(bits));
      if (level_[other] < level && !rises_too(index, other, coupling_.weight(block, other), level)) {
        neighbours_.push_back(Neighbour{level_[other], other});
      }
    }
  }
  std::sort(neighbours_.begin(), neighbours_.end(),
            [](const Neighbour& a, const Neighbour& b) { return later(b.level, b.link, a.level, a.link); });
  bool any = false;
  for (const Neighbour& other : neighbours_) {
    if (link.owned == 0 || !(other.level < free_[index] / link.own - tie(index))) {
      break;
    }
    collect_pair(index, other.link);
    for (const std::uint32_t flow : pair_) {
      std::uint32_t lowest = other.link;
      for (const FlowUse& use : flows_.uses(flow)) {
        // Where nobody watches, the level is infinite.
        if (use.link != index && level_[use.link] < level_[lowest]) {
          lowest = use.link;
        }
      }
      flip(flow, index, lowest);
      any = true;
    }
  }
  return any;
}

/// A link that is on the agenda as well, and which will be above `level` even if `index` goes there with all it owns:
/// no need to give it what it would give back. It will look for what to take, in case that others move it down.
bool Sharing::rises_too(std::uint32_t index, std::uint32_t other, double weight, double level) {
  if ((dirty_[other / kBlock] & bit_of(other)) == 0 || links_[other].owned == 0) {
    return false;
  }
  if (free_[other] - weight * (level - level_[index]) < links_[other].own * level) {
    return false;
  }
  takes_[other] = 1;
  return true;
}

/// The link sinks: what it shares with owners that are now above it is its own.
void Sharing::take_below(std::uint32_t index) {
  Link& link = links_[index];
  const std::span<const RowBlock> row = coupling_.row(index);
  const double greatest = kernels_.greatest_owning(row.data(), row.size(), level_.data());
  const double level = free_[index] / link.own;
  if (!(greatest > level + tie(index))) {
    return;
  }
  neighbours_.clear();
  for (const RowBlock& block : row) {
    for (std::uint32_t bits = block.owning; bits != 0; bits &= bits - 1) {
      const auto other = static_cast<std::uint32_t>(kBlock * block.block + std::countr_zero(bits));
      if (level_[other] > level) {
        neighbours_.push_back(Neighbour{level_[other], other});
      }
    }
  }
  std::sort(neighbours_.begin(), neighbours_.end(),
            [](const Neighbour& a, const Neighbour& b) { return later(a.level, b.link, b.level, a.link); });
  for (const Neighbour& other : neighbours_) {
    if (!(other.level > free_[index] / link.own + tie(index))) {
      break;
    }
    collect_pair(other.link, index);
    for (const std::uint32_t flow : pair_) {
      flip(flow, other.link, index);
    }
  }
}

/// A link that bound nobody is over its capacity: it takes the flows of its highest owner, for a start.
void Sharing::saturate(std::uint32_t index) {
  const std::span<const RowBlock> row = coupling_.row(index);
  std::uint32_t highest = kNobody;
  for (const RowBlock& block : row) {
    for (std::uint32_t bits = block.owning; bits != 0; bits &= bits - 1) {
      const auto other = static_cast<std::uint32_t>(kBlock * block.block + std::countr_zero(bits));
      if (highest == kNobody || level_[other] > level_[highest]) {
        highest = other;
      }
    }
  }
  ensure(highest != kNobody, "a link is over its capacity without users");
  touch(index);
  level_[index] = level_[highest];
  collect_pair(highest, index);
  for (const std::uint32_t flow : pair_) {
    flip(flow, highest, index);
  }
}

void Sharing::move_to(std::uint32_t index, double level) {
  const double change = level - level_[index];
  if (std::abs(change) <= still_ * level) {
    return;
  }
  touch(index);
  level_[index] = level;
  const std::span<const RowBlock> row = coupling_.row(index);
  below_.resize(std::max(below_.size(), row.size()));
  kernels_.subtract(row.data(), row.size(), coupling_.weights(), change, free_.data(), slack_.data(), below_.data());
  for (std::size_t i = 0; i < row.size(); ++i) {
    const std::uint32_t block = row[i].block;
    std::uint32_t bits = row[i].owned & (saturated_[block] | below_[i]) & ~dirty_[block];
    for (; bits != 0; bits &= bits - 1) {
      const auto other = static_cast<std::uint32_t>(kBlock * block + std::countr_zero(bits));
      mark(other, level_[other] < kInfinity ? level_[other] : level);
    }
  }
}

/// The flows that `owner` owns and that use `link`, into pair_.
void Sharing::collect_pair(std::uint32_t owner, std::uint32_t link) {
  pair_.clear();
  const Coupling::Pair pair = coupling_.pair(owner, link);
  if (pair.count <= 1) {
    if (pair.count == 1) {
      pair_.push_back(pair.flows);
    }
    return;
  }
  const bool by_owner = links_[owner].users.size() < links_[link].users.size();
  const std::uint32_t other = by_owner ? link : owner;
  for (const User& user : links_[by_owner ? owner : link].users) {
    if (flows_[user.flow].owner != owner) {
      continue;
    }
    for (const FlowUse& use : flows_.uses(user.flow)) {
      if (use.link == other) {
        pair_.push_back(user.flow);
      }
    }
  }
}

void Sharing::flip(std::uint32_t index, std::uint32_t from, std::uint32_t to) {
  ++effort_.flipped;
  touch(from);
  touch(to);
  Flow& flow = flows_[index];
  const double level_from = level_[from];
  const double level_to = level_[to];
  for (const FlowUse& use : flows_.uses(index)) {
    if (!watched(use.link)) {
      continue;
    }
    const double claim = use.weight * flow.fairness;
    if (use.link != from) {
      coupling_.detach(from, use.link, index, claim);
    }
    if (use.link != to) {
      coupling_.attach(to, use.link, index, claim);
    }
    if (use.link == from) {
      links_[from].own -= claim;
      free_[from] -= claim * level_to;
    } else if (use.link == to) {
      links_[to].own += claim;
      free_[to] += claim * level_from;
    } else {
      free_[use.link] -= claim * (level_to - level_from);
    }
    if (links_[use.link].owned > 0 || free_[use.link] < -slack_[use.link]) {
      mark(use.link, std::min(level_[use.link], std::max(level_from, level_to)));
    }
  }
  --links_[from].owned;
  rest(from);
  ++links_[to].owned;
  saturated_[to / kBlock] |= bit_of(to);
  flow.owner = to;
  flow.tag = links_[to].clock.value() + std::max(0.0, flow.tag - links_[from].clock.value());
  links_[to].queue.push({flow.tag, index});
  links_[to].queue.tidy(flows_, to, links_[to].owned);
  mark(to, level_to);
}

}  // namespace moesim::fluid
