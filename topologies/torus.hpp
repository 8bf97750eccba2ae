#pragma once

#include <array>
#include <cstddef>
#include <optional>
#include <vector>

#include "sim/core/quantity.hpp"
#include "topologies/cluster_config.hpp"
#include "topologies/graph.hpp"

namespace moesim {

/// Dimension-order routing on a torus or mesh of up to eight dimensions, by arithmetic: along the first dimension until
/// the coordinate is the destination's, then along the second, and so on, the short way round. Where a ring is even
/// and both ways are as short (exactly half way), half of the bytes go each way, so that all chips see the same.
///
/// Chips pass each other's traffic on. GPU r is the chip at the coordinates of r in row-major order: the last
/// dimension counts fastest. Where a link on that way is missing (dead), a tie is resolved to the other side, and
/// otherwise the shortest way that is left is searched for.
class TorusRouter {
 public:
  TorusRouter(const Torus& torus, const ClusterGraph& graph);

  [[nodiscard]] std::optional<Route> route(VertexId from, VertexId to) const;

 private:
  struct Segment {
    std::vector<LinkId> links;
  };
  [[nodiscard]] std::size_t coordinate(std::size_t vertex, std::size_t dimension) const;
  [[nodiscard]] std::optional<Segment> walk(std::size_t from, std::size_t dimension, std::size_t steps,
                                            std::size_t direction) const;
  [[nodiscard]] bool along(std::size_t& at, std::size_t dimension, std::size_t target, Route& route) const;
  [[nodiscard]] std::optional<Route> detour(std::size_t from, std::size_t to) const;
  [[nodiscard]] Duration latency(const Segment& segment) const;

  std::vector<std::size_t> shape_;
  std::vector<std::size_t> stride_;
  std::vector<TorusEdge> edges_;
  std::vector<Link> links_;
  std::vector<std::optional<LinkId>> ports_;  ///< [vertex · 2·dimensions + 2·dimension + direction]; 0: upwards
};

/// A chip's neighbour in a dimension, upwards (direction 0) or downwards (1); absent at an open edge, and for a chip
/// that is alone in the dimension.
std::optional<std::size_t> torus_neighbour(const Torus& torus, std::size_t vertex, std::size_t dimension,
                                           std::size_t direction);

/// Of each dimension: wrap-around unless the configuration says otherwise.
std::vector<TorusEdge> torus_edges(const Torus& torus);

}  // namespace moesim
