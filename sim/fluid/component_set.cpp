#include "sim/fluid/component_set.hpp"

#include <algorithm>
#include <functional>

#include "sim/core/error.hpp"

namespace moesim::fluid {
namespace {

std::uint32_t first_resource(const Activity& activity) {
  return static_cast<std::uint32_t>(activity.uses.front().resource.index());
}

}  // namespace

void ComponentSet::add_resource() {
  places_.emplace_back();
  local_of_.push_back(0);
}

void ComponentSet::add(Activity* activity) {
  unplaced_.push_back(activity);
  for (const Use& use : activity->uses) {
    touch(use.resource);
  }
}

void ComponentSet::touch(ResourceId resource) {
  if (places_[resource.index()].component != kNone) {
    rebuild(places_[resource.index()].component);
  }
}

const Component* ComponentSet::users_of(ResourceId resource) const {
  const std::uint32_t index = places_[resource.index()].component;
  return index == kNone ? nullptr : &components_[index];
}

void ComponentSet::rebuild(std::uint32_t component) {
  if (marked_to_rebuild_[component] == 0) {
    marked_to_rebuild_[component] = 1;
    to_rebuild_.push_back(component);
  }
}

void ComponentSet::settle(SimTime now, std::span<const double> capacities) {
  if (!unplaced_.empty() || !to_rebuild_.empty()) {
    regroup(capacities);
  }
  for (const std::uint32_t index : to_fill_) {
    Component& component = components_[index];
    if (component.live_count() == 0) {
      continue;  // dissolved since
    }
    component.fill(now);
    due_.push_back(Due{component.earliest_finish(), index});
    std::push_heap(due_.begin(), due_.end(), std::greater<>());
  }
  to_fill_.clear();
  constexpr std::size_t kSlack = 64;
  if (due_.size() > 2 * components_.size() + kSlack) {
    std::erase_if(due_, [&](const Due& due) { return out_of_date(due); });
    std::sort(due_.begin(), due_.end());  // ascending is a heap
    due_.erase(std::unique(due_.begin(), due_.end()), due_.end());
  }
}

std::optional<SimTime> ComponentSet::next_completion() {
  while (!due_.empty() && out_of_date(due_.front())) {
    std::pop_heap(due_.begin(), due_.end(), std::greater<>());
    due_.pop_back();
  }
  return due_.empty() ? std::nullopt : std::optional(SimTime::from_ticks(due_.front().finish));
}

void ComponentSet::complete(SimTime now, std::vector<Activity*>& completed) {
  for (auto next = next_completion(); next && *next <= now; next = next_completion()) {
    const std::uint32_t index = due_.front().component;
    const std::size_t before = completed.size();
    components_[index].complete(now, completed);
    ensure(completed.size() > before, "a completion that was due completed nothing");
    if (components_[index].live_count() == 0 || components_[index].sparse()) {
      rebuild(index);
    } else {
      to_fill_.push_back(index);
    }
  }
}

/// Dissolves the components that changed, and builds components from their activities and the new ones.
void ComponentSet::regroup(std::span<const double> capacities) {
  dissolve();
  join();
  const std::size_t group_count = group();
  for (std::size_t i = 0; i < group_count; ++i) {
    const std::uint32_t index = new_component();
    for (Activity* activity : groups_[i]) {
      activity->component = index;
    }
    components_[index].build(groups_[i], capacities, local_of_);
    for (const ResourceId resource : components_[index].resources()) {
      places_[resource.index()] = Place{.component = index};
    }
    to_fill_.push_back(index);
  }
  unplaced_.clear();
}

void ComponentSet::dissolve() {
  for (const std::uint32_t index : to_rebuild_) {
    for (const ResourceId resource : components_[index].resources()) {
      places_[resource.index()].component = kNone;
    }
    components_[index].release(unplaced_);
    free_components_.push_back(index);
    marked_to_rebuild_[index] = 0;
  }
  to_rebuild_.clear();
  const auto by_id = [](const Activity* a, const Activity* b) { return a->id < b->id; };
  if (!std::is_sorted(unplaced_.begin(), unplaced_.end(), by_id)) {
    std::sort(unplaced_.begin(), unplaced_.end(), by_id);
  }
}

/// Puts resources that share an activity into one tree.
void ComponentSet::join() {
  for (const Activity* activity : unplaced_) {
    for (const Use& use : activity->uses) {
      const auto resource = static_cast<std::uint32_t>(use.resource.index());
      if (places_[resource].parent == kNone) {
        places_[resource].parent = resource;
      }
      places_[root(resource)].parent = root(first_resource(*activity));
    }
  }
}

std::uint32_t ComponentSet::root(std::uint32_t resource) {
  while (places_[resource].parent != resource) {
    places_[resource].parent = places_[places_[resource].parent].parent;
    resource = places_[resource].parent;
  }
  return resource;
}

/// Sorts the activities into groups_ by tree, in order of id; returns how many groups there are.
std::size_t ComponentSet::group() {
  std::size_t count = 0;
  const auto new_group = [&] {
    if (count == groups_.size()) {
      groups_.emplace_back();
    }
    groups_[count].clear();
    return static_cast<std::uint32_t>(count++);
  };
  for (Activity* activity : unplaced_) {
    if (activity->uses.empty()) {
      groups_[new_group()].push_back(activity);
      continue;
    }
    Place& tree = places_[root(first_resource(*activity))];
    if (tree.group == kNone) {
      tree.group = new_group();
    }
    groups_[tree.group].push_back(activity);
  }
  return count;
}

std::uint32_t ComponentSet::new_component() {
  if (free_components_.empty()) {
    free_components_.push_back(static_cast<std::uint32_t>(components_.size()));
    components_.emplace_back();
    marked_to_rebuild_.push_back(0);
  }
  const std::uint32_t index = free_components_.back();
  free_components_.pop_back();
  return index;
}

}  // namespace moesim::fluid
