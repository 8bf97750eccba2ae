#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>

#include "sim/core/error.hpp"
#include "sim/core/quantity.hpp"
#include "topologies/cluster_config.hpp"
#include "topologies/graph.hpp"
#include "topologies/orbits.hpp"

namespace moesim {

struct Accelerator;
struct Nic;

/// What a simulation runs on: the graph of GPUs, switches and links, and the routes between GPUs.
///
/// GPU = node · gpus_per_node + index in the node; rank r runs on GPU r, and GPU r is vertex r. Immutable, and copies
/// share one description; every member may be called from many threads.
class Cluster {
 public:
  [[nodiscard]] std::size_t gpus() const;
  [[nodiscard]] std::size_t nodes() const;
  [[nodiscard]] std::size_t gpus_per_node() const;
  [[nodiscard]] NodeId node_of(RankId gpu) const;
  /// True for GPUs that reach each other without the network; a GPU reaches itself.
  [[nodiscard]] bool same_scale_up(RankId a, RankId b) const;

  [[nodiscard]] const Accelerator& accelerator() const;
  /// nullptr where the configuration has no network.
  [[nodiscard]] const Nic* nic() const;
  /// With every default filled in.
  [[nodiscard]] const ClusterConfig& config() const;

  [[nodiscard]] std::span<const Vertex> vertices() const;
  [[nodiscard]] const Vertex& vertex(VertexId id) const;
  /// Marked dead by the configuration's faults: without links. Links that are dead are not among links().
  [[nodiscard]] bool is_dead(VertexId id) const;
  [[nodiscard]] std::span<const Link> links() const;
  [[nodiscard]] const Link& link(LinkId id) const;
  /// "node0/gpu3 → node0/nvswitch".
  [[nodiscard]] std::string link_name(LinkId id) const;

  /// The way from one GPU to another, which differ, as the configuration's routing says; over the scale-up fabric where
  /// there is a choice. A value, made anew at each call (a few hundred nanoseconds where there is one path): a table of
  /// all pairs would not fit in memory. Where faults have cut the way off, over other GPUs of the two nodes. Throws
  /// ConfigError naming what is dead on the only way.
  [[nodiscard]] Route route(RankId from, RankId to) const;

  /// The symmetry of uniform traffic among the first `ranks` GPUs; std::nullopt where the cluster has none that is
  /// known: faults, levels that are not filled, ECMP by hash, a dragonfly, a graph link by link.
  [[nodiscard]] std::optional<Orbits> orbits(std::size_t ranks) const;

  /// What the first half of the GPUs can send to the second half at most, in the order of ranks: the maximum flow
  /// between the halves, whatever routing makes of it. Not the smallest over all halves.
  [[nodiscard]] Bandwidth bisection_bandwidth() const;

 private:
  struct Data;
  explicit Cluster(std::shared_ptr<const Data> data) : data_(std::move(data)) {}
  [[nodiscard]] std::optional<Route> find_route(std::size_t from, std::size_t to) const;
  [[nodiscard]] std::optional<Route> direct(std::size_t from, std::size_t to) const;
  [[nodiscard]] std::optional<Route> forwarded(std::size_t from, std::size_t to, std::size_t index) const;
  [[noreturn]] void throw_no_route(std::size_t from, std::size_t to) const;
  friend Cluster build_cluster(const ClusterConfig& config, const Place& place);

  std::shared_ptr<const Data> data_;
};

/// Looks names up, fills defaults in, checks, and builds. Throws ConfigError with all faults, also where live GPUs are
/// in parts without a link between them; `place` is where
/// `config` stands. Without `nodes` there is one.
Cluster build_cluster(const ClusterConfig& config, const Place& place);

/// The chosen cluster for `ranks` ranks; where the choice says no number of nodes, as many as they need. Throws
/// ConfigError, also for more ranks than GPUs and for a rank on a dead or unreachable GPU; `place` is where the choice
/// stands.
Cluster load_cluster(const ClusterChoice& choice, std::size_t ranks, const Place& place);

/// The same for a configuration that stands at `place`.
Cluster build_cluster_for(ClusterConfig config, std::size_t ranks, const Place& place);

/// The graph for Graphviz. As many whole nodes as have sixteen GPUs together (at least one) and the switches
/// they hang on; further nodes are alike and are only counted.
std::string to_dot(const Cluster& cluster);

}  // namespace moesim
