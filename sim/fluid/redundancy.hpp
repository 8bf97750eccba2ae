#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace moesim::fluid {

/// Who uses what, both ways, with indices local to a component.
struct UseTable {
  struct Use {
    std::uint32_t resource;
    double weight;
  };
  struct User {
    std::uint32_t flow;
    double weight;
  };

  std::vector<double> capacity;  ///< [resources]
  std::vector<double> cap;       ///< [flows], infinity for none

  std::vector<std::uint32_t> first_use;  ///< [flows + 1]
  std::vector<Use> uses;
  std::vector<std::uint32_t> first_user;  ///< [resources + 1]
  std::vector<User> users;                ///< in order of flows

  [[nodiscard]] std::size_t flow_count() const { return cap.size(); }
  [[nodiscard]] std::size_t resource_count() const { return capacity.size(); }
  [[nodiscard]] std::span<const Use> uses_of(std::size_t flow) const {
    return std::span(uses).subspan(first_use[flow], first_use[flow + 1] - first_use[flow]);
  }
  [[nodiscard]] std::span<const User> users_of(std::size_t resource) const {
    return std::span(users).subspan(first_user[resource], first_user[resource + 1] - first_user[resource]);
  }
  /// Fills first_user and users from the uses.
  void index_users();
};

/// Drops constraints that the others imply, so that the set of possible rates, and with it the solution, stays the
/// same: a cap above what some resource allows alone, and a resource r whose users can be covered by other
/// constraints of no more capacity in all,
///
///   Σ_a w_{a,r}·x_a ≤ Σ_{s in cover} C_s · max_{a covered by s} w_{a,r}/w_{a,s} ≤ C_r
///
/// (the trunk of a leaf switch that is as wide as its ports together; a cable between two ports of its own speed).
/// Constraints are dropped one after the other, each implied by those still there; what remains true when activities
/// leave. The cover is sought greedily: a resource that could be dropped may stay.
void drop_redundant(UseTable& table);

}  // namespace moesim::fluid
