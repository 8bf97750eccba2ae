#include "sim/program/torus_box.hpp"

#include <algorithm>

#include "topologies/torus.hpp"

namespace moesim {

std::optional<std::size_t> BoxSide::neighbour(std::size_t rank, std::size_t direction) const {
  const std::size_t last = chips - 1;
  const std::size_t at = place(rank);
  if (at != (direction == 0 ? last : 0)) {
    return direction == 0 ? rank + stride : rank - stride;
  }
  if (edge == TorusEdge::kOpen) {
    return std::nullopt;
  }
  return direction == 0 ? rank - last * stride : rank + last * stride;
}

std::vector<RankId> BoxSide::row_of(std::size_t rank) const {
  const std::size_t first = rank - place(rank) * stride;
  std::vector<RankId> row;
  for (std::size_t at = 0; at < chips; ++at) {
    row.emplace_back(first + at * stride);
  }
  return row;
}

std::vector<BoxSide> box_of(const CollectiveGroups& groups) {
  const ScaleUp& fabric = groups.cluster->config().scale_up;
  const std::size_t per_torus = groups.cluster->gpus_per_node();
  const bool crosses = groups.ranks > per_torus && per_torus % groups.size != 0;
  if (fabric.kind != ScaleUpKind::kTorus || crosses) {
    return {};
  }
  const Torus& torus = *fabric.torus;
  const std::vector<TorusEdge> edges = torus_edges(torus);
  std::vector<BoxSide> sides;
  std::size_t chips = 1;
  for (std::size_t d = torus.shape.size(); d-- > 0 && chips < groups.size;) {
    const std::size_t whole = torus.shape[d];
    const std::size_t part = std::min(groups.size / chips, whole);
    const bool several = groups.ranks > groups.size;
    if (groups.size % chips != 0 || (several && whole % part != 0)) {
      return {};
    }
    if (part > 1) {
      sides.push_back({part, chips, part == whole && part > 2 ? edges[d] : TorusEdge::kOpen});
    }
    chips *= part;
  }
  return chips == groups.size ? sides : std::vector<BoxSide>{};
}

std::string_view no_box(const CollectiveGroups& groups) {
  if (groups.cluster->config().scale_up.kind != ScaleUpKind::kTorus) {
    return "it needs a torus";
  }
  if (groups.stride != 1) {
    return "it needs groups of neighbours";
  }
  return box_of(groups).empty() ? "it needs boxes of chips: last dimensions, whole but for the first of them" : "";
}

}  // namespace moesim
