#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "topologies/graph.hpp"

namespace moesim {

/// Shortest paths by hops between the GPUs of any cluster graph; GPUs are never on the way of others.
///
/// No table of pairs is kept: at 16,384 GPUs it would have 2.7·10^8 entries. Instead the graph without its GPUs is
/// peeled: a vertex that has one neighbour left (a NIC on its leaf, then a leaf on its spine) hangs below that
/// neighbour, until what remains of each connected component is a single vertex or a core in which every vertex lies
/// between others. Inside a core the next link towards each destination is tabulated; everywhere else the path is
/// unique: up from one end, across the core where the two ends hang below different vertices of it, down to the other.
///
/// Among paths with equally many hops the one that leaves the source over its first link (lowest LinkId) wins, then
/// the one that enters the destination over its first, then the core's, where breadth-first search takes links in the
/// order of their ids. Immutable after construction: path() may be called from many threads.
class Router {
 public:
  explicit Router(const ClusterGraph& graph);

  /// From GPU to GPU; std::nullopt where there is no path. `from` and `to` differ.
  [[nodiscard]] std::optional<std::vector<LinkId>> path(VertexId from, VertexId to) const;

 private:
  /// A link of a GPU and what is at its other end.
  struct Attachment {
    LinkId link;
    VertexId peer;
    bool through = false;  ///< the peer passes traffic on
  };
  /// Where a transit vertex stands after peeling.
  struct Station {
    VertexId parent;             ///< itself for a vertex of a core
    LinkId up;                   ///< to the parent
    LinkId down;                 ///< from the parent
    std::uint32_t depth = 0;     ///< links up to the core
    std::uint32_t core = 0;      ///< index of the connected component's core
    std::uint32_t position = 0;  ///< of a core vertex within its core
  };
  struct CoreStep {
    LinkId link;
    VertexId to;
  };
  /// next[destination · size + source], absent where source is destination or there is no path.
  struct Core {
    std::size_t size = 1;
    std::vector<std::optional<CoreStep>> next;
  };

  class Builder;

  [[nodiscard]] std::span<const Attachment> attachments(const std::vector<std::size_t>& offsets,
                                                        const std::vector<Attachment>& all, VertexId gpu) const;
  [[nodiscard]] std::optional<std::vector<LinkId>> transit_path(VertexId from, VertexId to) const;

  std::vector<std::size_t> leaving_offsets_;
  std::vector<std::size_t> arriving_offsets_;
  std::vector<Attachment> leaving_;  ///< of non-transit vertices, by vertex, then link
  std::vector<Attachment> arriving_;
  std::vector<Station> stations_;
  std::vector<Core> cores_;
};

}  // namespace moesim
