#include "sim/fluid/sharing.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#ifdef MOESIM_EFFORT
#include <cstdio>
#endif

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

#ifdef MOESIM_EFFORT
Sharing::~Sharing() {
  std::fprintf(stderr, "touched %zu relaxed %zu flipped %zu filled %zu\n", effort_.touched, effort_.relaxed,
               effort_.flipped, effort_.filled);
}
#endif
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
         (tick > link.since ? level * (static_cast<double>(tick - link.since) / kTicksPerSecond) : 0.0);
}

/// At tick `since` of the link behind it.
double Sharing::clock(Owner owner) const { return links_[link_of(owner)].clock.value() + offset_of(owner); }

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
  for (;;) {  // bounded: a bundle that is due later than it stands for is put back once
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

// Windows --------------------------------------------------------------------------------------------------------

Sharing::Course Sharing::course(std::uint32_t index) const {
  return {links_[index].clock.value(), 0.0, links_[index].own, level_[index]};
}

/// To where a flow with that tag completes, which then leaves its share of the link to the others. Returns the clock
/// there.
double Sharing::run_to(Course& course, std::uint32_t index, double tag, double claim) const {
  course.ticks += std::max(0.0, tag - course.clock) * (kTicksPerSecond / course.level);
  course.clock = std::max(course.clock, tag);
  course.own -= claim;
  course.level = course.own > kCapacityNoise * links_[index].own ? free_[index] / course.own : course.level;
  return course.clock;
}

/// What `flow` claims of the link that owns it.
double Sharing::own_claim(std::uint32_t index) const {
  const std::uint32_t owner = link_of(flows_[index].owner);
  for (const FlowUse& use : flows_.uses(index)) {
    if (use.link == owner) {
      return use.weight * flows_[index].fairness;
    }
  }
  throw InternalError("a flow does not use the link that owns it");
}

void Sharing::take_link(std::uint32_t index, std::int64_t until, std::vector<Late>& late) {
  Course way = course(index);
  const std::int64_t since = links_[index].since;
  for (std::optional<Next> next = next_of(index); next; next = next_of(index)) {  // bounded: each is taken once
    const double before = way.ticks;
    const double noise = kTickNoise + kTagNoise * next->tag * (kTicksPerSecond / way.level);
    run_to(way, index, next->tag, own_claim(next->flow));
    if (!(way.ticks < static_cast<double>(until - since) + 1.0)) {
      break;
    }
    const std::int64_t finish = since + round_up(std::max(before, way.ticks), noise);
    if (finish > until) {
      break;
    }
    late.push_back({finish, flows_[next->flow].id, next->flow});
    take_next(index, next->flow);
  }
  links_[index].due = kUnknown;
}

void Sharing::take_window(std::int64_t first, std::vector<Late>& late) {
  std::int64_t until = first;
  for (std::size_t block = 0; block < block_finish_.size() && until == first; ++block) {
    const auto begin = static_cast<std::uint32_t>(kBlock * block);
    for (std::uint32_t link = begin; block_finish_[block] == first && link < begin + kBlock; ++link) {
      if (finish_[link] == first) {
        const std::int64_t since = flows_[next_of(link)->flow].since;
        until = first + static_cast<std::int64_t>(epsilon_ * static_cast<double>(first - since));
        break;
      }
    }
  }
  for (std::size_t block = 0; block < block_finish_.size(); ++block) {
    const auto begin = static_cast<std::uint32_t>(kBlock * block);
    for (std::uint32_t link = begin; block_finish_[block] <= until && link < begin + kBlock; ++link) {
      if (finish_[link] <= until) {
        take_link(link, until, late);
      }
    }
  }
  ensure(!late.empty(), "a window in which nobody completes");
  std::sort(late.begin(), late.end());
}

void Sharing::put_back(std::uint32_t index) {
  flows_[index].stage = Flow::Stage::kFlows;
  enqueue(index);
  touch(link_of(flows_[index].owner));
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

void Sharing::credit(std::uint32_t link, double unused) {
  if (credit_[link] == 0.0) {
    credited_.push_back(link);
  }
  credit_[link] += unused;
}

void Sharing::remove(std::span<const Late> late, std::int64_t now) {
  now_ = now;
  const auto seconds_to = [&](std::int64_t since) { return static_cast<double>(now - since) / kTicksPerSecond; };
  credit_.resize(links_.size(), 0.0);
  courses_.resize(links_.size());
  for (const Late& gone : late) {
    const Flow& flow = flows_[gone.flow];
    const std::uint32_t owner = link_of(flow.owner);
    const Link& link = links_[owner];
    Course& way = courses_[owner];
    if (link_seen_[owner] == 0) {
      link_seen_[owner] = 1;
      on_course_.push_back(owner);
      way = course(owner);
    }
    const double begin = link.clock.value();
    const double reached = run_to(way, owner, flow.tag - offset_of(flow.owner), own_claim(gone.flow));
    const double unused = level_[owner] * seconds_to(link.since) - (reached - begin);
    for (const FlowUse& use : flows_.uses(gone.flow)) {
      if (use.link != owner && watched(use.link)) {
        credit(use.link, use.weight * flow.fairness * unused);
      }
    }
  }
  for (const std::uint32_t index : on_course_) {
    Course& way = courses_[index];
    const Link& link = links_[index];
    const double ticks = static_cast<double>(now - link.since);
    // What it did beyond its level.
    way.clock += std::max(0.0, ticks - way.ticks) / kTicksPerSecond * way.level;
    way.clock -= link.clock.value() + level_[index] * seconds_to(link.since);
  }
  constexpr std::size_t kAhead = 4;
  for (std::size_t i = 0; i < late.size(); ++i) {
    if (i + kAhead < late.size()) {
      prefetch_removal(late[i + kAhead].flow);
    }
    remove(late[i].flow, now);
  }
  for (const std::uint32_t index : on_course_) {
    link_seen_[index] = 0;
    if (links_[index].owned == 0 || !(courses_[index].clock > 0.0)) {
      continue;
    }
    links_[index].clock.add(courses_[index].clock);
    for (const RowBlock& block : coupling_.row(index)) {
      for (std::uint32_t bits = block.owned; bits != 0; bits &= bits - 1) {
        const auto other = static_cast<std::uint32_t>(kBlock * block.block + std::countr_zero(bits));
        if (links_[other].owned > 0) {
          credit(other, -coupling_.weight(block, other) * courses_[index].clock);
        }
      }
    }
  }
  on_course_.clear();
  for (const std::uint32_t index : credited_) {
    Link& link = links_[index];
    if (link.owned > 0) {
      // Nobody loses more than half of what it got since the link last changed.
      const double least = -0.5 * level_[index] * seconds_to(link.since);
      touch(index);
      link.clock.add(std::max(least, credit_[index] / link.own));
    }
    credit_[index] = 0.0;
  }
  credited_.clear();
}

/// What remove() is about to look at.
void Sharing::prefetch_removal(std::uint32_t index) const {
  const std::uint32_t owner = link_of(flows_[index].owner);
  for (const FlowUse& use : flows_.uses(index)) {
    const std::vector<User>& users = links_[use.link].users;
    __builtin_prefetch(&users[use.position], 1);
    __builtin_prefetch(&flows_.use(users.back().use), 1);
    if (use.link != owner) {
      coupling_.prefetch(owner, use.link);
    }
  }
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
