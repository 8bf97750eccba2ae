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

/// Moves and changes of owners for one link on end, before others have their turn.
constexpr int kRounds = 4;

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

/// The link is to be looked at.
void Sharing::mark(std::uint32_t link, double level) {
  dirty_[link / kBlock] |= bit_of(link);
  std::uint32_t& listed = listed_[link / kBlock];
  if ((listed & bit_of(link)) == 0) {
    listed |= bit_of(link);
    agenda_.push(link, level);
  }
}

void Sharing::solve() {
  std::size_t steps = 0;
  std::size_t fills = 0;
  while (!agenda_.empty()) {
    const std::uint32_t link = agenda_.pop();
    listed_[link / kBlock] &= ~bit_of(link);
    if ((dirty_[link / kBlock] & bit_of(link)) == 0) {
      continue;
    }
    dirty_[link / kBlock] &= ~bit_of(link);
    constexpr std::size_t kPatience = 256;
    if (++steps > kPatience + 64 * touched_.size()) {
      ++effort_.filled;
      // The links of that component are off the agenda with that.
      ensure(++fills <= links_.size(), "rates do not settle");
      fill_around(std::span(&link, 1));
      steps = 0;
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
    link.due = kInfinity;
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
    if (flow.owner.is_nobody()) {
      continue;
    }
    if (const std::uint32_t owner = link_of(flow.owner); owner == index) {
      own.add(claim);
    } else {
      free.add(-claim * level_[owner]);
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
  for (std::size_t tries = 0; link.owned == 0; ++tries) {
    if (free_[index] >= -slack_[index]) {
      return;
    }
    ensure(tries <= link.users.size(), "a link that is over its capacity gets no flows");
    saturate(index);
  }
  // One that had no level yet rises from 0, where it has not taken what is above it.
  Look look = takes_[index] != 0 || level_[index] == 0.0 ? Look::kAlways : Look::kWhenMoved;
  takes_[index] = 0;
  int round = 0;
  for (bool changed = true; changed && link.owned > 0; ++round) {
    if (round == kRounds) {
      mark(index, level_[index]);
      return;
    }
    const double level = free_[index] / link.own;
    const bool rises = level > level_[index];
    const bool takes = level < level_[index] || look == Look::kAlways;
    const RowLevels levels = move_to(index, level, look);
    changed =
        (takes && levels.greatest_owning > level && levels.greatest_owning > level + tie(index) && take_below(index)) ||
        (rises && levels.least_owned < level && levels.least_owned < level - tie(index) && give_up_above(index));
  }
  dirty_[index / kBlock] &= ~bit_of(index);  // whatever it did itself is done
}

/// The link rises: what it shares with links that are now below it is theirs. True if there was any.
bool Sharing::give_up_above(std::uint32_t index) {
  const Link& link = links_[index];
  const std::span<const RowBlock> row = coupling_.row(index);
  const double level = level_[index];
  neighbours_.clear();
  // Giving up flows makes the link rise further, and more links come to be below it: those are for the next time.
  for (const RowBlock& block : row) {
    for (std::uint32_t bits = block.owned; bits != 0; bits &= bits - 1) {
      const auto other = static_cast<std::uint32_t>(kBlock * block.block + std::countr_zero(bits));
      if (level_[other] < level && !rises_too(other, level)) {
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
    for (const std::uint32_t bundle : pair_bundles_) {
      std::uint32_t lowest = other.link;
      for (const std::uint32_t member : bundles_[bundle].links) {
        if (member != index && level_[member] < level_[lowest]) {
          lowest = member;
        }
      }
      flip_bundle(bundle, lowest);
      any = true;
    }
    for (const std::uint32_t flow : pair_) {
      std::uint32_t lowest = other.link;
      for (const FlowUse& use : flows_.uses(flow)) {
        // Where nobody watches, the level is infinite.
        if (use.link != index && level_[use.link] < level_[lowest]) {
          lowest = use.link;
        }
      }
      any = flip(flow, index, lowest) || any;
    }
  }
  return any;
}

/// A link that is to be looked at as well, and which will then be above `level`: no need to give it what it would give
/// back. It will look for what to take, in case that others move it down.
bool Sharing::rises_too(std::uint32_t other, double level) {
  if ((dirty_[other / kBlock] & bit_of(other)) == 0 || links_[other].owned == 0 ||
      free_[other] < links_[other].own * level) {
    return false;
  }
  takes_[other] = 1;
  return true;
}

/// The link sinks: what it shares with owners that are now above it is its own.
bool Sharing::take_below(std::uint32_t index) {
  const Link& link = links_[index];
  const std::span<const RowBlock> row = coupling_.row(index);
  const double level = level_[index];
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
  bool any = false;
  for (const Neighbour& other : neighbours_) {
    if (!(other.level > free_[index] / link.own + tie(index))) {
      break;
    }
    collect_pair(other.link, index);
    any = take_pair(index, other.link) || any;
  }
  return any;
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
  take_pair(index, highest);
  rest(index);  // where bundles that others own took them all, which leaves it more
}

/// What was collected of `from` is the link's own.
bool Sharing::take_pair(std::uint32_t index, std::uint32_t from) {
  for (const std::uint32_t bundle : pair_bundles_) {
    flip_bundle(bundle, index);
  }
  bool any = !pair_bundles_.empty();
  for (const std::uint32_t flow : pair_) {
    any = flip(flow, from, index) || any;
  }
  return any;
}

/// The link goes to a level, unless it is there already as nearly as matters and `look` is not asked for. Returns what
/// levels there are in its row.
RowLevels Sharing::move_to(std::uint32_t index, double level, Look look) {
  const double change = level - level_[index];
  const bool moves = std::abs(change) > still_ * level;
  if (!moves && look == Look::kWhenMoved) {
    return {};
  }
  if (moves) {
    touch(index);
    level_[index] = level;
  }
  const std::span<const RowBlock> row = coupling_.row(index);
  below_.resize(std::max(below_.size(), row.size()));
  const RowLevels levels = kernels_.move({.row = row.data(),
                                          .blocks = row.size(),
                                          .wanted = look == Look::kAlways ? Wanted::kBoth
                                                    : change > 0.0        ? Wanted::kLeastOwned
                                                                          : Wanted::kGreatestOwning,
                                          .weights = coupling_.weights(),
                                          .change = moves ? change : 0.0,
                                          .level = level_.data(),
                                          .free = free_.data(),
                                          .slack = slack_.data(),
                                          .below = below_.data()});
  if (!moves) {
    return levels;
  }
  for (std::size_t i = 0; i < row.size(); ++i) {
    const std::uint32_t block = row[i].block;
    std::uint32_t bits = row[i].owned & (saturated_[block] | below_[i]) & ~dirty_[block];
    dirty_[block] |= bits;
    bits &= ~listed_[block];
    listed_[block] |= bits;
    for (; bits != 0; bits &= bits - 1) {
      const auto other = static_cast<std::uint32_t>(kBlock * block + std::countr_zero(bits));
      agenda_.push(other, level_[other] < kInfinity ? level_[other] : level);
    }
  }
  return levels;
}

}  // namespace moesim::fluid
