#include "sim/fluid/sharing.hpp"

#include <algorithm>
#include <bit>
#include <cmath>

#include "sim/core/error.hpp"
#include "sim/fluid/noise.hpp"
#include "sim/fluid/ticks.hpp"

// Links and flows as they come and go, clocks and completions; levels.cpp finds the rates.
namespace moesim::fluid {

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
    block_is_old_.push_back(0);
    dirty_.push_back(0);
    listed_.push_back(0);
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
         (tick > link.since ? level * (static_cast<double>(tick - link.since) * kSecondsPerTick) : 0.0);
}

/// At tick `since` of the link behind it.
double Sharing::clock(Owner owner) const { return links_[link_of(owner)].clock.value() + offset_of(owner); }

/// Brings the link's clock to the present; its level may change from here on.
void Sharing::touch(std::uint32_t index) {
  Link& link = links_[index];
  if (link.since != now_) {
    if (link.owned > 0) {
      link.clock.add(level_[index] * (static_cast<double>(now_ - link.since) * kSecondsPerTick));
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
  return ticks < kLatestTick - static_cast<double>(link.since)
             ? link.since + ticks_rounded_up(ticks, kTickNoise + kTagNoise * tag * ticks_per_level)
             : kNever - 1;
}

/// Whether what was put into the queue of `owner` still is there.
bool Sharing::waits(Owner owner, const TagQueue::Entry& entry) const {
  if ((entry.item & TagQueue::kBundleItem) == 0) {
    const Flow& flow = flows_[entry.item];
    return flow.owner == owner && flow.tag == entry.tag && flow.stage == Flow::Stage::kFlows;
  }
  const Bundle& bundle = bundles_[entry.item & ~TagQueue::kBundleItem];
  return bundle.owner == owner.index() && bundle.due == entry.tag;
}

/// The flow of the link that is due next.
std::optional<Sharing::Next> Sharing::next_of(std::uint32_t index) {
  TagQueue& queue = links_[index].queue;
  for (std::size_t round = 0;; ++round) {
    ensure(round <= links_[index].bundles.size(), "a bundle is put back twice");
    const TagQueue::Entry* least =
        queue.least([&](const TagQueue::Entry& entry) { return waits(Owner::link(index), entry); });
    if (least == nullptr) {
      return std::nullopt;
    }
    const std::uint32_t item = least->item;
    if ((item & TagQueue::kBundleItem) == 0) {
      return Next{item, least->tag};
    }
    const Owner owner = Owner::bundle(item & ~TagQueue::kBundleItem);
    Bundle& bundle = bundles_[owner.index()];
    const TagQueue::Entry* first =
        bundle.queue.least([&](const TagQueue::Entry& entry) { return waits(owner, entry); });
    const double due = first == nullptr ? kInfinity : first->tag - bundle.offset;
    if (first != nullptr && due == bundle.due) {
      return Next{first->item, due};
    }
    queue.pop();
    bundle.due = due;
    if (first != nullptr) {
      queue.push({due, item});
    }
  }
}

/// The flow, which next_of() named, is through.
void Sharing::take_next(std::uint32_t index, std::uint32_t flow) {
  const Owner owner = flows_[flow].owner;
  (owner.is_bundle() ? bundles_[owner.index()].queue : links_[index].queue).pop();
  flows_[flow].stage = Flow::Stage::kThrough;
}

/// The flow waits for its tag with whoever owns it.
void Sharing::enqueue(std::uint32_t index) {
  const Flow& flow = flows_[index];
  double due = flow.tag;
  std::uint32_t link_index = flow.owner.index();
  if (flow.owner.is_bundle()) {
    Bundle& bundle = bundles_[flow.owner.index()];
    bundle.queue.push({flow.tag, index});
    due -= bundle.offset;
    link_index = bundle.owner;
    if (due < bundle.due) {
      bundle.due = due;
      links_[bundle.owner].queue.push({due, flow.owner.index() | TagQueue::kBundleItem});
    }
  } else {
    links_[link_index].queue.push({flow.tag, index});
  }
  links_[link_index].due = std::min(links_[link_index].due, due);
}

/// What waits with the link under `tag` leaves it.
void Sharing::forget_due(std::uint32_t link, double tag) {
  if (tag <= links_[link].due) {
    links_[link].due = kUnknown;
  }
}

/// Keeps the queues of an owner from growing by what changes owners.
void Sharing::tidy(std::uint32_t index) {
  const Owner owner = flows_[index].owner;
  const auto holds = [&](const TagQueue::Entry& entry) { return waits(owner, entry); };
  if (owner.is_bundle()) {
    bundles_[owner.index()].queue.tidy(holds, bundles_[owner.index()].held);
  } else {
    links_[owner.index()].queue.tidy(holds, links_[owner.index()].owned);
  }
}

void Sharing::note_finish(std::uint32_t index) {
  Link& link = links_[index];
  std::int64_t finish = kNever;
  if (link.owned > 0) {
    if (link.due == kUnknown) {
      const std::optional<Next> next = next_of(index);
      ensure(next.has_value(), "a link owns flows, but none is due");
      link.due = next->tag;
    }
    finish = finish_of(index, link.due);
  }
  set_finish(index, finish);
}

void Sharing::set_finish(std::uint32_t index, std::int64_t finish) {
  if (finish_[index] != finish) {
    finish_[index] = finish;
    const auto block = static_cast<std::uint32_t>(index / kBlock);
    if (block_is_old_[block] == 0) {
      block_is_old_[block] = 1;
      old_blocks_.push_back(block);
    }
  }
}

std::int64_t Sharing::earliest_finish() {
  if (!old_blocks_.empty()) {
    for (const std::uint32_t block : old_blocks_) {
      block_is_old_[block] = 0;
      block_finish_[block] = kernels_.earliest(finish_.data() + kBlock * block);
    }
    old_blocks_.clear();
    earliest_ = *std::min_element(block_finish_.begin(), block_finish_.end());
  }
  return earliest_;
}

void Sharing::take_completed(std::int64_t now, std::vector<std::uint32_t>& completed) {
  const std::size_t before = completed.size();
  for (std::size_t block = 0; block < block_finish_.size(); ++block) {
    if (block_finish_[block] > now) {
      continue;
    }
    const auto begin = static_cast<std::uint32_t>(kBlock * block);
    for (std::uint32_t link = begin; link < begin + kBlock; ++link) {
      if (finish_[link] > now) {
        continue;
      }
      std::optional<Next> next = next_of(link);
      for (; next && finish_of(link, next->tag) <= now; next = next_of(link)) {  // bounded: each is taken once
        completed.push_back(next->flow);
        take_next(link, next->flow);
      }
      links_[link].due = next ? next->tag : kInfinity;
      set_finish(link, next ? finish_of(link, next->tag) : kNever);
    }
  }
  ensure(completed.size() > before || earliest_ > now, "a completion that was due completed nothing");
}

void Sharing::remove(std::uint32_t index, std::int64_t now) {
  now_ = now;
  touch(link_of(flows_[index].owner));
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

double Sharing::rate(std::uint32_t index) const {
  const Flow& flow = flows_[index];
  return flow.owner.is_nobody() ? 0.0 : flow.fairness * level_[link_of(flow.owner)];
}

double Sharing::remaining(std::uint32_t index, std::int64_t tick) const {
  const Flow& flow = flows_[index];
  if (flow.owner.is_nobody()) {
    return flow.tag * flow.fairness;
  }
  const std::uint32_t link = link_of(flow.owner);
  return std::max(0.0, flow.fairness * (flow.tag - offset_of(flow.owner) - clock_at(links_[link], level_[link], tick)));
}

}  // namespace moesim::fluid
