// Flows and bundles that come to an owner, go from one to another, and leave.
#include <algorithm>
#include <span>
#include <vector>

#include "sim/core/error.hpp"
#include "sim/fluid/noise.hpp"
#include "sim/fluid/sharing.hpp"

namespace moesim::fluid {

/// Of the links of its way that are looked at, those between the first and the last make its bundle if there are
/// several. Of two that are looked at from later on, one may not be in it: that can own the flow by itself.
void Sharing::choose_bundle(std::uint32_t index) {
  const std::span<FlowUse> uses = flows_.uses(index);
  if (uses.size() < 4) {
    return;
  }
  inner_.clear();
  for (const FlowUse& use : uses.subspan(1, uses.size() - 2)) {
    if (watched(use.link)) {
      inner_.push_back(use.link);
    }
  }
  if (inner_.size() < 2) {
    return;
  }
  std::sort(inner_.begin(), inner_.end());
  const std::size_t before = bundles_.size();
  const std::uint32_t bundle = bundles_.find_or_add(inner_);
  if (bundle == before) {
    for (const std::uint32_t link : inner_) {
      links_[link].bundles.push_back(bundle);
    }
  }
  flows_[index].bundle = bundle;
  for (FlowUse& use : uses) {
    use.part = bundles_.part(bundle, use.link);
  }
}

/// Who it is that owns the flow where the link does: the link, or the flow's bundle, which is the link's from then on
/// if it was empty.
Owner Sharing::hold(std::uint32_t index, std::uint32_t link) {
  const Flow& flow = flows_[index];
  if (flow.bundle == kNobody || !bundles_[flow.bundle].may_be_owned_by(link)) {
    return Owner::link(link);
  }
  Bundle& bundle = bundles_[flow.bundle];
  if (bundle.held == 0) {
    bundle.owner = link;
    bundle.offset = -links_[link].clock.value();
    bundle.due = kInfinity;
    bundle.queue.clear();
  }
  ensure(bundle.owner == link, "a bundle holds a flow for a link that does not own it");
  ++bundle.held;
  bundle.flows ^= index;
  for (const FlowUse& use : flows_.uses(index)) {
    if (watched(use.link)) {
      Bundle::Part& part = bundle.parts[use.part];
      ++part.count;
      part.flows ^= index;
      part.claim += use.weight * flow.fairness;
    }
  }
  return Owner::bundle(flow.bundle);
}

/// The flow leaves the bundle that holds it, if one does.
void Sharing::let_go(std::uint32_t index) {
  const Flow& flow = flows_[index];
  if (!flow.owner.is_bundle()) {
    return;
  }
  Bundle& bundle = bundles_[flow.owner.index()];
  --bundle.held;
  bundle.flows ^= index;
  for (const FlowUse& use : flows_.uses(index)) {
    if (watched(use.link)) {
      Bundle::Part& part = bundle.parts[use.part];
      part.flows ^= index;
      part.claim = --part.count == 0 ? 0.0 : part.claim - use.weight * flow.fairness;
    }
  }
}

/// The flows that `owner` owns and that use `link`: bundles that may go from the one to the other as a whole into
/// pair_bundles_, the others into pair_.
void Sharing::collect_pair(std::uint32_t owner, std::uint32_t link) {
  pair_.clear();
  pair_bundles_.clear();
  Coupling::Pair pair = coupling_.pair(owner, link);
  const bool fewer = links_[owner].bundles.size() < links_[link].bundles.size();
  for (const std::uint32_t number : links_[fewer ? owner : link].bundles) {
    const Bundle& bundle = bundles_[number];
    if (bundle.held > 0 && bundle.owner == owner && bundle.may_be_owned_by(link)) {
      pair_bundles_.push_back(number);
      pair.count -= bundle.held;
      pair.flows ^= bundle.flows;
    }
  }
  if (pair.count <= 1) {
    if (pair.count == 1) {
      pair_.push_back(pair.flows);
    }
    return;
  }
  const bool by_owner = links_[owner].users.size() < links_[link].users.size();
  const std::uint32_t other = by_owner ? link : owner;
  for (const User& user : links_[by_owner ? owner : link].users) {
    const Flow& flow = flows_[user.flow];
    if (flow.owner.is_nobody() || link_of(flow.owner) != owner ||
        (flow.owner.is_bundle() && bundles_[flow.owner.index()].may_be_owned_by(link))) {
      continue;
    }
    for (const FlowUse& use : flows_.uses(user.flow)) {
      if (use.link == other) {
        pair_.push_back(user.flow);
      }
    }
  }
}

/// Flows that take `claim` of the link for each unit of level go from one owner to another.
void Sharing::change_hands(std::uint32_t link, Coupling::Pair flows, double claim, std::uint32_t from,
                           std::uint32_t to) {
  const double level_from = level_[from];
  const double level_to = level_[to];
  if (link != from) {
    coupling_.detach(from, link, flows, claim);
  }
  if (link != to) {
    coupling_.attach(to, link, flows, claim);
  }
  if (link == from) {
    links_[from].own -= claim;
    free_[from] -= claim * level_to;
  } else if (link == to) {
    links_[to].own += claim;
    free_[to] += claim * level_from;
  } else {
    free_[link] -= claim * (level_to - level_from);
  }
  if (links_[link].owned > 0 || free_[link] < -slack_[link]) {
    mark(link, std::min(level_[link], std::max(level_from, level_to)));
  }
}

/// The flow, of `from`, becomes one of `to`, or of the link that owns its bundle, which may come to `to` with that.
/// False where it belongs to `from` no more, or remains with it.
bool Sharing::flip(std::uint32_t index, std::uint32_t from, std::uint32_t to) {
  if (link_of(flows_[index].owner) != from) {
    return false;
  }
  if (const std::uint32_t number = flows_[index].bundle; number != kNobody) {
    const Bundle& bundle = bundles_[number];
    if (bundle.held > 0 && bundle.owner != to && bundle.may_be_owned_by(to)) {
      if (level_[to] < level_[bundle.owner]) {
        flip_bundle(number, to);
      }
      to = bundle.owner;
      if (link_of(flows_[index].owner) == to) {
        return to != from;
      }
    }
  }
  ++effort_.flipped;
  touch(from);
  touch(to);
  Flow& flow = flows_[index];
  for (const FlowUse& use : flows_.uses(index)) {
    if (watched(use.link)) {
      change_hands(use.link, {1, index}, use.weight * flow.fairness, from, to);
    }
  }
  const double left = std::max(0.0, flow.tag - clock(flow.owner));
  forget_due(from, flow.tag - offset_of(flow.owner));
  let_go(index);
  --links_[from].owned;
  rest(from);
  ++links_[to].owned;
  saturated_[to / kBlock] |= bit_of(to);
  flow.owner = hold(index, to);
  flow.tag = clock(flow.owner) + left;
  enqueue(index);
  tidy(index);
  mark(to, level_[to]);
  return true;
}

/// The same for all flows of a bundle.
void Sharing::flip_bundle(std::uint32_t index, std::uint32_t to) {
  ++effort_.flipped;
  Bundle& bundle = bundles_[index];
  const std::uint32_t from = bundle.owner;
  touch(from);
  touch(to);
  for (const Bundle::Part& part : bundle.parts) {
    if (part.count > 0) {
      change_hands(part.link, {part.count, part.flows}, part.claim, from, to);
    }
  }
  const double shift = links_[from].clock.value() - links_[to].clock.value();
  forget_due(from, bundle.due);
  bundle.owner = to;
  bundle.offset += shift;
  if (bundle.due < kInfinity) {
    bundle.due -= shift;  // as nearly as matters: it is looked up when its turn comes
    links_[to].queue.push({bundle.due, index | TagQueue::kBundleItem});
    forget_due(to, bundle.due);
  }
  links_[from].owned -= bundle.held;
  rest(from);
  links_[to].owned += bundle.held;
  saturated_[to / kBlock] |= bit_of(to);
  mark(to, level_[to]);
}

}  // namespace moesim::fluid
