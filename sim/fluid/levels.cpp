#include <algorithm>
#include <bit>
#include <cmath>
#include <span>

#include "sim/core/error.hpp"
#include "sim/fluid/noise.hpp"
#include "sim/fluid/sharing.hpp"

// The rates: links on the agenda are relaxed, lowest level first, until none is left.
namespace moesim::fluid {
namespace {

/// Changes of `free` until it is summed anew.
constexpr std::uint32_t kChangesToSum = 4096;

bool later(double a, std::uint32_t link_a, double b, std::uint32_t link_b) { return a != b ? a > b : link_a > link_b; }

}  // namespace

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
