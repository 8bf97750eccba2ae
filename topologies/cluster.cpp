#include "topologies/cluster.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <utility>
#include <variant>

#include "sim/config/codec.hpp"
#include "sim/config/decode.hpp"
#include "sim/config/document.hpp"
#include "sim/core/embedded.hpp"
#include "topologies/build.hpp"
#include "topologies/faults.hpp"
#include "topologies/routing.hpp"
#include "topologies/torus.hpp"

namespace moesim {

template struct DescribedCodec<ClusterConfig>;

std::span<const EmbeddedFile> embedded_clusters();

struct Cluster::Data {
  ResolvedCluster resolved;
  ClusterGraph graph;
  std::vector<bool> dead;  ///< by vertex
  Place place;
  std::variant<Router, TorusRouter> router;
};

namespace {

std::variant<Router, TorusRouter> make_router(const ClusterConfig& config, const ClusterGraph& graph) {
  const NetworkRouting& routing = config.routing;
  if (routing.paths == PathChoice::kDimensionOrder) {
    return TorusRouter(*config.scale_up.torus, graph);
  }
  const bool over_gpus =
      config.graph ? config.graph->gpus_forward == GpuForwarding::kAlways : config.scale_up.kind == ScaleUpKind::kTorus;
  return Router(graph,
                {*routing.paths, routing.seed, over_gpus ? Forwarding::kSwitchesAndGpus : Forwarding::kSwitches});
}

}  // namespace

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

bool Cluster::is_dead(VertexId id) const {
  ensure(id.index() < vertices().size(), "is_dead: a vertex of this cluster");
  return data_->dead[id.index()];
}

std::string Cluster::link_name(LinkId id) const {
  return fmt::format("{} → {}", vertex(link(id).from).name, vertex(link(id).to).name);
}

Route Cluster::route(RankId from, RankId to) const {
  ensure(from.index() < gpus() && to.index() < gpus() && from != to, "route: two different GPUs of this cluster");
  auto route = find_route(from.index(), to.index());
  if (!route) {
    throw_no_route(from.index(), to.index());
  }
  return std::move(*route);
}

std::optional<Route> Cluster::direct(std::size_t from, std::size_t to) const {
  return std::visit([&](const auto& router) { return router.route(VertexId(from), VertexId(to)); }, data_->router);
}

std::optional<Route> Cluster::find_route(std::size_t from, std::size_t to) const {
  const std::size_t per_node = gpus_per_node();
  const bool between_nodes = from / per_node != to / per_node;
  if (between_nodes && config().routing.cross_rail == CrossRail::kNvlink &&
      rail_of(config(), from % per_node) != rail_of(config(), to % per_node)) {
    if (auto route = forwarded(from, to, to % per_node)) {
      return route;
    }
  }
  if (auto route = direct(from, to)) {
    return route;
  }
  // Faults have cut it off, or there are only rails: by any pair of GPUs of the two nodes.
  for (std::size_t index = 0; index < per_node && !config().graph; ++index) {
    if (auto route = forwarded(from, to, index)) {
      return route;
    }
  }
  return std::nullopt;
}

/// Over the GPUs of both nodes that have this index, where they are not the ends themselves.
std::optional<Route> Cluster::forwarded(std::size_t from, std::size_t to, std::size_t index) const {
  const std::size_t per_node = gpus_per_node();
  const std::size_t stops[] = {from, from / per_node * per_node + index, to / per_node * per_node + index, to};
  Route whole;
  for (std::size_t i = 0; i + 1 < std::size(stops); ++i) {
    if (stops[i] == stops[i + 1]) {
      continue;
    }
    const auto part = direct(stops[i], stops[i + 1]);
    if (!part) {
      return std::nullopt;
    }
    whole.hops.insert(whole.hops.end(), part->hops.begin(), part->hops.end());
    whole.latency += part->latency;
  }
  return whole;
}

/// Asks the same cluster without its faults for the way, and names the first thing on it that is dead.
void Cluster::throw_no_route(std::size_t from, std::size_t to) const {
  const auto name = [&](std::size_t gpu) { return vertices()[gpu].name; };
  std::string message = fmt::format("expected a way from {} to {}, found none", name(from), name(to));
  if (!config().faults.empty()) {
    ClusterConfig sound = config();
    sound.faults.clear();
    const Cluster before = build_cluster(sound, data_->place);
    if (const auto route = before.find_route(from, to)) {
      for (const RouteHop& hop : route->hops) {
        const Link& link = before.link(hop.link);
        const auto alive = std::any_of(links().begin(), links().end(), [&](const Link& other) {
          return other.from == link.from && other.to == link.to;
        });
        if (!alive) {
          message += data_->dead[link.to.index()]     ? fmt::format(": {} is dead", before.vertex(link.to).name)
                     : data_->dead[link.from.index()] ? fmt::format(": {} is dead", before.vertex(link.from).name)
                                                      : fmt::format(": {} is dead", before.link_name(hop.link));
          break;
        }
      }
    }
  }
  throw ConfigError({data_->place.file, data_->place.pointer + (config().faults.empty() ? "" : "/faults")}, message);
}

Cluster build_cluster(const ClusterConfig& config, const Place& place) {
  ResolvedCluster resolved = resolve(config, place);
  ClusterGraph graph = make_graph(resolved);
  std::vector<bool> dead(graph.vertices.size());
  FaultList faults(place);
  if (!config.faults.empty()) {
    dead = apply_faults(graph, config.faults, faults);
    faults.raise();
  }
  if (config.graph || !config.faults.empty()) {
    if (const std::string parts = separate_parts(graph, dead); !parts.empty()) {
      faults.add(config.graph ? "/graph" : "/faults",
                 "expected a network that connects all GPUs, found two parts without a link between them: " + parts);
      faults.raise();
    }
  }
  auto router = make_router(resolved.config, graph);
  return Cluster(std::make_shared<const Cluster::Data>(
      Cluster::Data{std::move(resolved), std::move(graph), std::move(dead), place, std::move(router)}));
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

/// Part of a pod. It wraps around where the pod does and it is as long, or where switches join its ends.
void cut_slice(Torus& torus, const std::vector<std::size_t>& shape, const Place& place, const std::string& pod) {
  const std::vector<std::size_t> whole = torus.shape;
  const std::vector<TorusEdge> edges = torus_edges(torus);
  const bool inside = shape.size() == whole.size() &&
                      std::equal(shape.begin(), shape.end(), whole.begin(),
                                 [](std::size_t part, std::size_t all) { return part >= 1 && part <= all; });
  if (!inside) {
    throw ConfigError(place, fmt::format("expected a part of {}, which is {}, found {}", pod, fmt::join(whole, " x "),
                                         fmt::join(shape, " x ")));
  }
  torus.shape = shape;
  torus.edges.emplace();
  for (std::size_t d = 0; d < shape.size(); ++d) {
    const bool joined = torus.slice_wrap && shape[d] % *torus.slice_wrap == 0;
    torus.edges->push_back(shape[d] == whole[d] ? edges[d] : joined ? TorusEdge::kWrap : TorusEdge::kOpen);
  }
}

Chosen read_choice(const CatalogueCluster& choice, const Place& place) {
  const Document document = cluster_catalogue().find(choice.name, {place.file, place.pointer + "/catalogue/name"});
  ClusterConfig config = decode_document<ClusterConfig>(document);
  const Place own{place.file, place.pointer + "/catalogue"};
  if (choice.shape) {
    if (!config.scale_up.torus) {
      throw ConfigError({own.file, own.pointer + "/shape"},
                        fmt::format("expected a torus to go with a shape, found {}", choice.name));
    }
    cut_slice(*config.scale_up.torus, *choice.shape, {own.file, own.pointer + "/shape"}, choice.name);
    config.gpus_per_node = 1;
    for (const std::size_t size : *choice.shape) {
      config.gpus_per_node *= config.gpus_per_node > kMaxGpus ? 1 : size;
    }
  }
  config.routing = choice.routing.value_or(config.routing);
  config.faults.insert(config.faults.end(), choice.faults.begin(), choice.faults.end());
  config.nodes = choice.nodes ? choice.nodes : config.nodes;
  const bool changed = choice.nodes || choice.shape || choice.routing || !choice.faults.empty();
  return {std::move(config), changed ? own : Place{document.name(), ""}};
}

Chosen read_choice(const ClusterFile& file, const Place&) {
  const Document document = Document::read(file.value.resolved);
  return {decode_document<ClusterConfig>(document), {document.name(), ""}};
}

void check_ranks(const Cluster& cluster, std::size_t ranks, const Place& place) {
  if (cluster.config().faults.empty() && !cluster.config().graph) {
    return;
  }
  for (std::size_t rank = 0; rank < ranks; ++rank) {
    if (cluster.is_dead(VertexId(rank))) {
      throw ConfigError(place, fmt::format("expected live GPUs for {} ranks, found rank {} on {}, which is dead", ranks,
                                           rank, cluster.vertex(VertexId(rank)).name));
    }
    if (rank > 0) {
      static_cast<void>(cluster.route(RankId(0), RankId(rank)));
      static_cast<void>(cluster.route(RankId(rank), RankId(0)));
    }
  }
}

void check_enough(const ClusterConfig& config, std::size_t nodes, std::size_t ranks, const Place& place) {
  if (ranks > nodes * config.gpus_per_node) {
    throw ConfigError(place, fmt::format("expected at most {} ranks ({} node{} × {} GPUs of {}), found {}",
                                         nodes * config.gpus_per_node, nodes, nodes == 1 ? "" : "s",
                                         config.gpus_per_node, config.name, ranks));
  }
}

/// `asked` is where the number of ranks was asked for.
Cluster build_for(ClusterConfig config, std::size_t ranks, const Place& place, const Place& asked) {
  if (!config.nodes && !config.graph) {
    const std::size_t needed = ranks == 0 ? 1 : (ranks - 1) / config.gpus_per_node + 1;
    config.nodes = config.network ? needed : 1;
  }
  if (!config.graph && *config.nodes <= kMaxGpus / config.gpus_per_node) {
    check_enough(config, *config.nodes, ranks, asked);
  }
  Cluster cluster = build_cluster(config, place);
  check_enough(config, cluster.nodes(), ranks, asked);
  check_ranks(cluster, ranks, asked);
  return cluster;
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
