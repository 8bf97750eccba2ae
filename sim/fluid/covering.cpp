// Links that others stand in for are not looked at: no level, no row, no part in anybody else's.
#include <algorithm>

#include "sim/core/error.hpp"
#include "sim/fluid/sharing.hpp"

namespace moesim::fluid {

/// A flow has entered: which of its links are to be looked at. The two ends of a route always are, and cover what is
/// between.
void Sharing::cover(std::uint32_t index) {
  const std::span<const FlowUse> uses = flows_.uses(index);
  const FlowUse& first = uses.front();
  const FlowUse& last = uses.back();
  watch(first.link);
  watch(last.link);
  for (const FlowUse& use : uses) {
    if (watched(use.link)) {
      continue;
    }
    Link& link = links_[use.link];
    if (link.users.size() == 1) {
      link.upstream.clear();
      link.downstream.clear();
    }
    const auto extend = [&](Cover& cover, const FlowUse& end) {
      if (watch_[end.link] == Watch::kAlways) {
        cover.fail();  // its capacity changes
      } else {
        cover.extend(end.link, links_[end.link].capacity * (use.weight / end.weight), link.capacity);
      }
    };
    extend(link.upstream, first);
    extend(link.downstream, last);
    if (link.upstream.failed() && link.downstream.failed()) {
      watch(use.link);
    }
  }
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
    if (flow.owner != kNobody) {
      coupling_.attach(flow.owner, index, user.flow, flows_.use(user.use).weight * flow.fairness);
    }
  }
  sum_anew(index);
  if (free_[index] < -slack_[index]) {
    mark(index, 0.0);
  }
}

}  // namespace moesim::fluid
