#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <span>
#include <vector>

#include "topologies/graph.hpp"
#include "topologies/network_routing.hpp"

namespace moesim {

/// Whether traffic passes through GPUs of others on its way.
enum class Forwarding { kSwitches, kSwitchesAndGpus };

struct RouterOptions {
  PathChoice paths = PathChoice::kShortest;
  std::uint64_t seed = 0;  ///< of the hash of kEcmpHash
  Forwarding forwarding = Forwarding::kSwitches;
};

/// Shortest paths, by the sum of link weights, between the GPUs of any cluster graph.
///
/// No table of pairs of GPUs is kept: at 16,384 it would have 2.7·10^8 entries. Instead the graph without its GPUs is
/// peeled: a vertex that has one neighbour left (a NIC on its leaf, then a leaf on its spine) hangs below that
/// neighbour, until what remains of each connected component is a single vertex or a core in which every vertex lies
/// between others. Inside a core the distances between all vertices are tabulated, 2 B a pair; everywhere else the
/// path is unique: up from one end, across the core where the two ends hang below different vertices of it, down to
/// the other.
///
/// Of several shortest paths
/// - kShortest takes the one that leaves the source over its first link (lowest LinkId), then enters the destination
///   over its first, then takes the first link at each vertex of the core;
/// - kEcmpHash draws at each of these places by a hash of (from, to, vertex, seed), as switches hash a flow's
///   addresses and ports: a pair always takes the same path;
/// - kEcmpSpray splits the bytes evenly at each of these places, as packet spraying and adaptive routing aim at.
/// Immutable after construction: may be called from many threads.
class Router {
 public:
  /// Throws ModelError for a core of more than kMaxCore vertices.
  explicit Router(const ClusterGraph& graph, const RouterOptions& options = {});

  static constexpr std::size_t kMaxCore = 12288;                                    ///< 302 MB of distances
  static constexpr std::uint16_t kFar = std::numeric_limits<std::uint16_t>::max();  ///< a distance: there is no way

  /// From GPU to GPU; std::nullopt where there is no path. `from` and `to` differ.
  [[nodiscard]] std::optional<Route> route(VertexId from, VertexId to) const;

 private:
  /// A way between a GPU and the first vertex that passes traffic on: a link, or nothing where the GPU itself does.
  struct Attachment {
    std::optional<LinkId> link;
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
  struct CoreLink {
    LinkId id;
    std::uint32_t to = 0;  ///< position
    std::uint32_t weight = 0;
  };
  struct Core {
    std::size_t size = 1;
    std::vector<std::uint32_t> offsets;   ///< into links, by position
    std::vector<CoreLink> links;          ///< in the order of ids at each vertex
    std::vector<std::uint16_t> distance;  ///< [destination · size + source]
  };
  /// One way between two GPUs, up to the choice inside the core.
  struct Pairing {
    Attachment first;
    Attachment last;
  };

  class Builder;
  class Spray;

  [[nodiscard]] std::span<const Attachment> attachments(const std::vector<std::size_t>& offsets,
                                                        const std::vector<Attachment>& all, VertexId gpu) const;
  [[nodiscard]] const Station& station(VertexId id) const { return stations_[id.index()]; }
  [[nodiscard]] std::optional<std::uint32_t> distance(VertexId from, VertexId to) const;
  [[nodiscard]] std::optional<std::uint32_t> length(const Pairing& pairing, VertexId to) const;
  [[nodiscard]] std::vector<Pairing> shortest_pairings(VertexId from, VertexId to) const;
  void append(const Pairing& pairing, double share, std::uint64_t hash, Route& route) const;
  void cross(const Core& core, std::uint32_t from, std::uint32_t to, double share, std::uint64_t hash,
             Route& route) const;
  void take(LinkId link, double share, Route& route) const;

  RouterOptions options_;
  std::vector<Link> links_;
  std::vector<std::size_t> leaving_offsets_;
  std::vector<std::size_t> arriving_offsets_;
  std::vector<Attachment> leaving_;  ///< of GPUs, by vertex, then link
  std::vector<Attachment> arriving_;
  std::vector<Station> stations_;
  std::vector<Core> cores_;
};

}  // namespace moesim
