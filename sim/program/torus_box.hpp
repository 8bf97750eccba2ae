#pragma once

#include <cstddef>
#include <optional>
#include <string_view>
#include <vector>

#include "sim/program/collective.hpp"
#include "topologies/cluster_config.hpp"

/// The box of chips that a group of neighbouring ranks fills on a torus.
namespace moesim {

/// One side of a box: so many chips in a row, `stride` ranks apart. The row is a ring (kWrap) or a line (kOpen).
struct BoxSide {
  std::size_t chips = 1;
  std::size_t stride = 1;
  TorusEdge edge = TorusEdge::kOpen;

  [[nodiscard]] std::size_t place(std::size_t rank) const { return rank / stride % chips; }
  /// Upwards (direction 0) or downwards (1); absent at the end of a line.
  [[nodiscard]] std::optional<std::size_t> neighbour(std::size_t rank, std::size_t direction) const;
  /// All chips in the row of one of them, in order.
  [[nodiscard]] std::vector<RankId> row_of(std::size_t rank) const;
};

/// The last dimensions count fastest, so that a group fills some of them whole and at most one, the next, in part. That
/// part is a line; so are two chips, whose links in both directions are one cable. Sides of one chip are left out.
/// Empty where the groups are no such boxes.
std::vector<BoxSide> box_of(const CollectiveGroups& groups);

/// Why groups are no boxes; empty where they are.
std::string_view no_box(const CollectiveGroups& groups);

}  // namespace moesim
