#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <string>

#include "sim/core/error.hpp"
#include "topologies/cluster_config.hpp"
#include "topologies/graph.hpp"

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
  [[nodiscard]] std::span<const Link> links() const;
  [[nodiscard]] const Link& link(LinkId id) const;
  /// "node0/gpu3 → node0/nvswitch".
  [[nodiscard]] std::string link_name(LinkId id) const;

  /// The way from one GPU to another, which differ: fewest links, over the scale-up fabric where there is a choice.
  /// A value, made anew at each call (a few hundred nanoseconds): a table of all pairs would not fit in memory.
  [[nodiscard]] Route route(RankId from, RankId to) const;

 private:
  struct Data;
  explicit Cluster(std::shared_ptr<const Data> data) : data_(std::move(data)) {}
  friend Cluster build_cluster(const ClusterConfig& config, const Place& place);

  std::shared_ptr<const Data> data_;
};

/// Looks names up, fills defaults in, checks, and builds. Throws ConfigError with all faults; `place` is where
/// `config` stands. Without `nodes` there is one.
Cluster build_cluster(const ClusterConfig& config, const Place& place);

/// The chosen cluster for `ranks` ranks; where the choice says no number of nodes, as many as they need. Throws
/// ConfigError, also for more ranks than GPUs; `place` is where the choice stands.
Cluster load_cluster(const ClusterChoice& choice, std::size_t ranks, const Place& place);

/// The same for a configuration that stands at `place`.
Cluster build_cluster_for(ClusterConfig config, std::size_t ranks, const Place& place);

/// The graph for Graphviz. As many whole nodes as have sixteen GPUs together (at least one) and the switches
/// they hang on; further nodes are alike and are only counted.
std::string to_dot(const Cluster& cluster);

}  // namespace moesim
