// Windows, where an epsilon is given: completions in them are found at once, and what they leave is put right at the
// end.
#include <algorithm>
#include <bit>
#include <span>

#include "sim/core/error.hpp"
#include "sim/fluid/sharing.hpp"
#include "sim/fluid/ticks.hpp"

namespace moesim::fluid {

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
    const std::int64_t finish = since + ticks_rounded_up(std::max(before, way.ticks), noise);
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

}  // namespace moesim::fluid
