// Links that others stand in for are not looked at: no level, no row, no part in anybody else's.
#include <algorithm>
#include <span>

#include "sim/core/error.hpp"
#include "sim/fluid/sharing.hpp"

namespace moesim::fluid {

/// A flow has entered: which of its links are to be looked at. The two ends of its route always are. From there
/// inwards, a link of the first half may be covered by the narrowest link before it that is looked at, one of the
/// second half by the narrowest behind it.
void Sharing::cover(std::uint32_t index) {
  const std::span<const FlowUse> uses = flows_.uses(index);
  watch(uses.front().link);
  watch(uses.back().link);
  const FlowUse* before = &uses.front();
  const FlowUse* behind = &uses.back();
  for (std::size_t distance = 1; 2 * distance < uses.size(); ++distance) {
    before = cover(uses[distance], *before, Side::kBefore);
    const std::size_t mirrored = uses.size() - 1 - distance;
    if (mirrored > distance) {
      behind = cover(uses[mirrored], *behind, Side::kBehind);
    }
  }
}

/// `narrowest` of those on that side. Returns the narrowest with this one.
const FlowUse* Sharing::cover(const FlowUse& use, const FlowUse& narrowest, Side side) {
  Link& link = links_[use.link];
  if (!watched(use.link)) {
    if (link.users.size() == 1) {
      link.before.clear();
      link.behind.clear();
      (side == Side::kBefore ? link.behind : link.before).fail();
    }
    Cover& cover = side == Side::kBefore ? link.before : link.behind;
    if (watch_[narrowest.link] == Watch::kAlways) {
      cover.fail();  // its capacity changes
    } else {
      cover.extend(narrowest.link, links_[narrowest.link].capacity * (use.weight / narrowest.weight), link.capacity);
    }
    if (cover.failed()) {
      watch(use.link);
    }
  }
  const bool narrower = link.capacity * narrowest.weight < links_[narrowest.link].capacity * use.weight;
  return watched(use.link) && narrower ? &use : &narrowest;
}

/// From here on the link is looked at, with all that it carries.
void Sharing::watch(std::uint32_t index) {
  if (watched(index)) {
    return;
  }
  watch_[index] = Watch::kOn;
  ensure(links_[index].owned == 0, "a link that is not looked at owns a flow");
  for (const User& user : links_[index].users) {
    const Flow& flow = flows_[user.flow];
    if (flow.owner.is_nobody()) {
      continue;
    }
    const double claim = flows_.use(user.use).weight * flow.fairness;
    coupling_.attach(link_of(flow.owner), index, {1, user.flow}, claim);
    if (flow.owner.is_bundle()) {
      Bundle::Part& part = bundles_[flow.owner.index()].parts[flows_.use(user.use).part];
      ++part.count;
      part.flows ^= user.flow;
      part.claim += claim;
    }
  }
  sum_anew(index);
  if (free_[index] < -slack_[index]) {
    mark(index, 0.0);
  }
}

}  // namespace moesim::fluid
