#include "topologies/cluster.hpp"

#include <fmt/format.h>

#include <utility>

#include "sim/core/embedded.hpp"
#include "topologies/resolve.hpp"
#include "topologies/routing.hpp"

namespace moesim {

template struct DescribedCodec<ClusterConfig>;

std::span<const EmbeddedFile> embedded_clusters();

struct Cluster::Data {
  ResolvedCluster resolved;
  ClusterGraph graph;
  Router router;
};

std::size_t Cluster::gpus() const { return nodes() * gpus_per_node(); }
std::size_t Cluster::nodes() const { return *data_->resolved.config.nodes; }
std::size_t Cluster::gpus_per_node() const { return data_->resolved.config.gpus_per_node; }

NodeId Cluster::node_of(RankId gpu) const {
  ensure(gpu.index() < gpus(), "node_of: a GPU of this cluster");
  return NodeId(gpu.index() / gpus_per_node());
}

bool Cluster::same_scale_up(RankId a, RankId b) const { return node_of(a) == node_of(b); }

const Accelerator& Cluster::accelerator() const { return data_->resolved.accelerator; }
const Nic* Cluster::nic() const { return data_->resolved.nic ? &*data_->resolved.nic : nullptr; }
const ClusterConfig& Cluster::config() const { return data_->resolved.config; }

std::span<const Vertex> Cluster::vertices() const { return data_->graph.vertices; }
std::span<const Link> Cluster::links() const { return data_->graph.links; }

const Vertex& Cluster::vertex(VertexId id) const {
  ensure(id.index() < vertices().size(), "vertex: a vertex of this cluster");
  return vertices()[id.index()];
}

const Link& Cluster::link(LinkId id) const {
  ensure(id.index() < links().size(), "link: a link of this cluster");
  return links()[id.index()];
}

std::string Cluster::link_name(LinkId id) const {
  return fmt::format("{} → {}", vertex(link(id).from).name, vertex(link(id).to).name);
}

Route Cluster::route(RankId from, RankId to) const {
  ensure(from.index() < gpus() && to.index() < gpus() && from != to, "route: two different GPUs of this cluster");
  auto path = data_->router.path(VertexId(from.index()), VertexId(to.index()));
  ensure(path.has_value(), "route: every builder connects all GPUs");
  Route route;
  route.hops.reserve(path->size());
  for (const LinkId id : *path) {
    route.hops.push_back({id});
    route.latency += links()[id.index()].latency;
  }
  return route;
}

Cluster build_cluster(const ClusterConfig& config, const Place& place) {
  ResolvedCluster resolved = resolve(config, place);
  ClusterGraph graph = make_graph(resolved);
  Router router(graph);
  return Cluster(
      std::make_shared<const Cluster::Data>(Cluster::Data{std::move(resolved), std::move(graph), std::move(router)}));
}

const Catalogue& cluster_catalogue() {
  static const Catalogue catalogue("cluster", embedded_clusters());
  return catalogue;
}

namespace {

/// A configuration, where it stands, and where its number of nodes would be changed.
struct Chosen {
  ClusterConfig config;
  Place place;
};

Chosen read_choice(const ClusterName& name, const Place& place) {
  const Document document = cluster_catalogue().find(name.value, place);
  return {decode_document<ClusterConfig>(document), {document.name(), ""}};
}

Chosen read_choice(const CatalogueCluster& choice, const Place& place) {
  const Document document = cluster_catalogue().find(choice.name, {place.file, place.pointer + "/catalogue/name"});
  ClusterConfig config = decode_document<ClusterConfig>(document);
  if (choice.nodes) {
    config.nodes = choice.nodes;
    return {std::move(config), {place.file, place.pointer + "/catalogue"}};
  }
  return {std::move(config), {document.name(), ""}};
}

Chosen read_choice(const ClusterFile& file, const Place&) {
  const Document document = Document::read(file.value.resolved);
  return {decode_document<ClusterConfig>(document), {document.name(), ""}};
}

/// `asked` is where the number of ranks was asked for.
Cluster build_for(ClusterConfig config, std::size_t ranks, const Place& place, const Place& asked) {
  if (!config.nodes) {
    const std::size_t needed = ranks == 0 ? 1 : (ranks - 1) / config.gpus_per_node + 1;
    config.nodes = config.network ? needed : 1;
  }
  const std::size_t nodes = *config.nodes;
  if (nodes <= kMaxGpus / config.gpus_per_node && ranks > nodes * config.gpus_per_node) {
    throw ConfigError(asked, fmt::format("expected at most {} ranks ({} node{} × {} GPUs of {}), found {}",
                                         nodes * config.gpus_per_node, nodes, nodes == 1 ? "" : "s",
                                         config.gpus_per_node, config.name, ranks));
  }
  return build_cluster(config, place);
}

}  // namespace

Cluster load_cluster(const ClusterChoice& choice, std::size_t ranks, const Place& place) {
  Chosen chosen = std::visit([&](const auto& which) { return read_choice(which, place); }, choice);
  return build_for(std::move(chosen.config), ranks, chosen.place, place);
}

Cluster build_cluster_for(ClusterConfig config, std::size_t ranks, const Place& place) {
  return build_for(std::move(config), ranks, place, place);
}

}  // namespace moesim
