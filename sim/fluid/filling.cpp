// How flows get their first owners, and rates from nothing.
#include <algorithm>
#include <span>

#include "sim/core/error.hpp"
#include "sim/fluid/noise.hpp"
#include "sim/fluid/sharing.hpp"

namespace moesim::fluid {

void Sharing::place_fresh() {
  for (const std::uint32_t flow : fresh_) {
    choose_bundle(flow);
  }
  // So many that most levels move far: from nothing is quicker.
  constexpr std::size_t kFew = 16;
  if (fresh_.size() > kFew && 4 * fresh_.size() > live_) {
    std::vector<std::uint32_t> seeds;
    for (const std::uint32_t flow : fresh_) {
      for (const FlowUse& use : flows_.uses(flow)) {
        if (watched(use.link) && link_seen_[use.link] == 0) {
          link_seen_[use.link] = 1;
          seeds.push_back(use.link);
        }
      }
    }
    for (const std::uint32_t link : seeds) {
      link_seen_[link] = 0;
    }
    fill_around(seeds);
  } else {
    for (const std::uint32_t flow : fresh_) {
      place(flow);
    }
  }
  fresh_.clear();
}

/// To the link that would leave it the least; solve() puts right what that gets wrong.
void Sharing::place(std::uint32_t index) {
  std::uint32_t owner = kNobody;
  double least = kInfinity;
  for (const FlowUse& use : flows_.uses(index)) {
    if (!watched(use.link)) {
      continue;
    }
    const double level = free_[use.link] / (links_[use.link].own + use.weight * flows_[index].fairness);
    if (owner == kNobody || level < least) {
      owner = use.link;
      least = level;
    }
  }
  const std::uint32_t number = flows_[index].bundle;
  if (number != kNobody && bundles_[number].held > 0 && bundles_[number].may_be_owned_by(owner)) {
    owner = bundles_[number].owner;  // with the others
  }
  touch(owner);
  if (links_[owner].owned == 0) {
    level_[owner] = 0.0;  // its first flows wait for it to rise, and so burden nobody before it does
  }
  own(index, owner);
}

void Sharing::own(std::uint32_t index, std::uint32_t owner) {
  Flow& flow = flows_[index];
  Link& link = links_[owner];
  for (const FlowUse& use : flows_.uses(index)) {
    if (!watched(use.link)) {
      continue;
    }
    const double claim = use.weight * flow.fairness;
    if (use.link == owner) {
      link.own += claim;
    } else {
      coupling_.attach(owner, use.link, {1, index}, claim);
      free_[use.link] -= claim * level_[owner];
      if (links_[use.link].owned > 0 || free_[use.link] < -slack_[use.link]) {
        mark(use.link, std::min(level_[use.link], level_[owner]));
      }
    }
  }
  ++link.owned;
  saturated_[owner / kBlock] |= bit_of(owner);
  flow.owner = hold(index, owner);
  flow.tag += clock(flow.owner);
  enqueue(index);
  mark(owner, level_[owner]);
}

/// The flow, whose owner's clock is at the present, gives back what it takes.
void Sharing::disown(std::uint32_t index) {
  Flow& flow = flows_[index];
  const std::uint32_t owner = link_of(flow.owner);
  Link& link = links_[owner];
  for (const FlowUse& use : flows_.uses(index)) {
    if (!watched(use.link)) {
      continue;
    }
    const double claim = use.weight * flow.fairness;
    if (use.link == owner) {
      link.own -= claim;
    } else {
      coupling_.detach(owner, use.link, {1, index}, claim);
      free_[use.link] += claim * level_[owner];
      if (links_[use.link].owned > 0) {
        mark(use.link, level_[use.link]);
      }
    }
  }
  forget_due(owner, flow.tag - offset_of(flow.owner));
  flow.tag -= clock(flow.owner);
  let_go(index);
  flow.owner = Owner();
  if (--link.owned > 0) {
    mark(owner, level_[owner]);
  } else {
    rest(owner);
  }
}

/// All links and flows that the seeds depend on, in any way.
void Sharing::gather_component(std::span<const std::uint32_t> seeds) {
  component_links_.assign(seeds.begin(), seeds.end());
  component_flows_.clear();
  for (const std::uint32_t link : seeds) {
    link_seen_[link] = 1;
  }
  for (std::size_t i = 0; i < component_links_.size(); ++i) {
    const std::uint32_t link = component_links_[i];
    for (const User& user : links_[link].users) {
      const std::span<const FlowUse> uses = flows_.uses(user.flow);
      const auto first = std::find_if(uses.begin(), uses.end(), [&](const FlowUse& u) { return watched(u.link); });
      if (first->link == link) {
        component_flows_.push_back(user.flow);  // each once, at the first of its links
      }
      for (const FlowUse& use : uses) {
        if (watched(use.link) && link_seen_[use.link] == 0) {
          link_seen_[use.link] = 1;
          component_links_.push_back(use.link);
        }
      }
    }
  }
  for (const std::uint32_t link : component_links_) {
    link_seen_[link] = 0;
  }
}

/// Progressive filling: the level of all flows rises together from 0; the link that is full first, at free/own with
/// all flows that have no owner counted in `own`, owns them; and so on. A link's free/own never falls on the way.
void Sharing::fill_around(std::span<const std::uint32_t> seeds) {
  gather_component(seeds);
  for (const std::uint32_t index : component_links_) {
    touch(index);
  }
  for (const std::uint32_t index : component_flows_) {
    if (!flows_[index].owner.is_nobody()) {
      disown(index);
      flows_[index].tag = std::max(0.0, flows_[index].tag);
    }
  }
  const auto later = [](const Due& a, const Due& b) {
    return a.level != b.level ? a.level > b.level : a.link > b.link;
  };
  std::vector<Due> heap;
  for (const std::uint32_t index : component_links_) {
    Link& link = links_[index];
    dirty_[index / kBlock] &= ~bit_of(index);
    link.queue.clear();
    link.due = kInfinity;
    link.clock = CompensatedSum();
    free_[index] = link.capacity;
    link.changes = 0;
    CompensatedSum own;
    for (const User& user : link.users) {
      own.add(flows_.use(user.use).weight * flows_[user.flow].fairness);
    }
    link.own = own.value();
    unfixed_[index] = static_cast<std::uint32_t>(link.users.size());
    if (unfixed_[index] > 0) {
      heap.push_back(Due{free_[index] / link.own, index});
    }
  }
  std::make_heap(heap.begin(), heap.end(), later);
  double level = 0.0;
  std::size_t rest_of_rounds = component_links_.size();
  for (const std::uint32_t index : component_links_) {
    rest_of_rounds += links_[index].users.size();
  }
  while (!heap.empty()) {
    // A link comes back only after a flow of its was fixed.
    ensure(rest_of_rounds-- > 0, "filling does not come to an end");
    std::pop_heap(heap.begin(), heap.end(), later);
    const Due due = heap.back();
    heap.pop_back();
    if (unfixed_[due.link] == 0) {
      continue;
    }
    Link& link = links_[due.link];
    const double reached = free_[due.link] / link.own;
    if (reached > due.level) {
      heap.push_back(Due{reached, due.link});
      std::push_heap(heap.begin(), heap.end(), later);
      continue;
    }
    level = std::max(level, reached);
    level_[due.link] = level;
    saturated_[due.link / kBlock] |= bit_of(due.link);
    unfixed_[due.link] = 0;
    for (const User& user : link.users) {
      Flow& flow = flows_[user.flow];
      if (!flow.owner.is_nobody()) {
        continue;
      }
      flow.owner = hold(user.flow, due.link);
      ++link.owned;
      flow.tag += clock(flow.owner);
      enqueue(user.flow);
      for (const FlowUse& use : flows_.uses(user.flow)) {
        if (use.link != due.link && watched(use.link)) {
          const double claim = use.weight * flow.fairness;
          coupling_.attach(due.link, use.link, {1, user.flow}, claim);
          free_[use.link] -= claim * level;
          links_[use.link].own -= claim;
          --unfixed_[use.link];
        }
      }
    }
  }
  for (const std::uint32_t index : component_links_) {
    rest(index);
  }
}

}  // namespace moesim::fluid
