#pragma once

#include <compare>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <limits>
#include <optional>
#include <span>
#include <vector>

#include "sim/core/id.hpp"
#include "sim/core/time.hpp"
#include "sim/fluid/component.hpp"

namespace moesim::fluid {

/// All live activities, in components that do not depend on each other. Changes are noted and done by settle(), once
/// for all that happens at one instant; only the components that they touch are grouped or solved anew.
class ComponentSet {
 public:
  void add_resource();
  /// A new activity; it must stay where it is until completed.
  void add(Activity* activity);
  /// The resource has another capacity.
  void touch(ResourceId resource);

  /// Brings all rates up to date, as of `now`. The questions below are only good after it.
  void settle(SimTime now, std::span<const double> capacities);

  /// When the next activity completes.
  [[nodiscard]] std::optional<SimTime> next_completion();
  /// Takes out all that complete at or before `now`. Rates are then to be settled.
  void complete(SimTime now, std::vector<Activity*>& completed);

  [[nodiscard]] const Progress& progress(const Activity& activity) const {
    return components_[activity.component].progress(activity.local);
  }
  /// The component of the live users of a resource, null if there are none.
  [[nodiscard]] const Component* users_of(ResourceId resource) const;

 private:
  static constexpr std::uint32_t kNone = std::numeric_limits<std::uint32_t>::max();

  /// The first completion within a component, at the time when it was noted.
  struct Due {
    std::int64_t finish;
    std::uint32_t component;
    auto operator<=>(const Due&) const = default;
  };
  /// What is known of a resource; all but `component` only while grouping.
  struct Place {
    std::uint32_t component = kNone;
    std::uint32_t parent = kNone;  ///< in the union-find forest
    std::uint32_t group = kNone;   ///< of a root
  };

  void rebuild(std::uint32_t component);
  void regroup(std::span<const double> capacities);
  void dissolve();
  void join();
  std::size_t group();
  std::uint32_t root(std::uint32_t resource);
  std::uint32_t new_component();
  [[nodiscard]] bool out_of_date(const Due& due) const {
    // A component that has changed and now completes something at that same tick is as good.
    return components_[due.component].earliest_finish() != due.finish;
  }

  std::deque<Component> components_;
  std::vector<std::uint32_t> free_components_;
  std::vector<Due> due_;  ///< heap, earliest first

  std::vector<Activity*> unplaced_;        ///< in no component
  std::vector<std::uint32_t> to_rebuild_;  ///< components whose activities are to be grouped anew
  std::vector<char> marked_to_rebuild_;    ///< [components]
  std::vector<std::uint32_t> to_fill_;     ///< components whose rates are out of date

  std::vector<Place> places_;                   ///< [resources]
  std::vector<std::uint32_t> local_of_;         ///< [resources], for Component::build
  std::vector<std::vector<Activity*>> groups_;  ///< kept to spare allocations
};

}  // namespace moesim::fluid
