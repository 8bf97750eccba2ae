#include "sim/execute/all_to_all.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <numeric>

#include "sim/core/error.hpp"
#include "sim/core/quantity.hpp"
#include "sim/fluid/known_flows.hpp"

namespace moesim {

namespace {

constexpr double kNever = std::numeric_limits<double>::infinity();

/// Equal transfers that never differ: one by itself, or all of a class of symmetric ones.
struct Bundle {
  double bytes = 0.0;           ///< of each
  SimTime latency;              ///< before it takes any link
  std::uint32_t first_use = 0;  ///< in Bundles::uses
  std::uint32_t use_count = 0;
};

/// What is to be shared: resources are links, or classes of links that carry the same.
struct Bundles {
  std::vector<double> capacity;            ///< [resources], bytes/s
  std::vector<std::uint32_t> resource_of;  ///< [links]
  std::vector<Bundle> bundles;
  std::vector<Use> uses;

  [[nodiscard]] std::span<const Use> uses_of(const Bundle& bundle) const {
    return std::span(uses).subspan(bundle.first_use, bundle.use_count);
  }
};

bool crosses_network(const Cluster& cluster, const Route& route) {
  return std::any_of(route.hops.begin(), route.hops.end(),
                     [&](const RouteHop& hop) { return cluster.link(hop.link).kind == LinkKind::kNetwork; });
}

void count(const Cluster& cluster, const Route& route, double bytes, AllToAllResult& result) {
  (crosses_network(cluster, route) ? result.bytes_inter_node : result.bytes_intra_node) += bytes;
}

Bundles one_by_one(const Cluster& cluster, std::span<const PairBytes> pairs, AllToAllResult& result) {
  Bundles all;
  all.resource_of.resize(cluster.links().size());
  std::iota(all.resource_of.begin(), all.resource_of.end(), 0U);
  for (const Link& link : cluster.links()) {
    all.capacity.push_back(link.capacity.base());
  }
  all.bundles.reserve(pairs.size());
  for (const PairBytes& pair : pairs) {
    const Route route = cluster.route(pair.from, pair.to);
    count(cluster, route, pair.bytes, result);
    all.bundles.push_back({pair.bytes, round_to_ticks(route.latency), static_cast<std::uint32_t>(all.uses.size()),
                           static_cast<std::uint32_t>(route.hops.size())});
    for (const RouteHop& hop : route.hops) {
      all.uses.push_back({ResourceId(hop.link.index()), hop.share});
    }
  }
  return all;
}

/// Uniform traffic on a symmetric cluster: links of one orbit are one resource, and all transfers whose routes pass the
/// same orbits are one bundle, as rank 0 sees them. Max-min rates are unique, so no symmetry changes them, and a
/// bundle's transfers never differ. With m destinations of rank 0 in the class, a link of the orbit o carries
/// ranks·m·share/|o| of its transfers.
std::optional<Bundles> by_symmetry(const Cluster& cluster, std::size_t ranks, double bytes, AllToAllResult& result) {
  const std::optional<Orbits> orbits = cluster.orbits(ranks);
  if (!orbits) {
    return std::nullopt;
  }
  Bundles all;
  all.resource_of = orbits->of_link;
  all.capacity.resize(orbits->count);
  std::vector<double> links(orbits->count, 0.0);
  for (std::size_t link = 0; link < all.resource_of.size(); ++link) {
    all.capacity[all.resource_of[link]] = cluster.links()[link].capacity.base();
    links[all.resource_of[link]] += 1.0;
  }
  struct Class {
    Route route;  ///< of one of them
    std::size_t destinations = 0;
  };
  using Passed = std::vector<std::pair<std::uint32_t, double>>;  // orbit and share
  std::map<Passed, Class> classes;
  for (std::size_t to = 1; to < ranks; ++to) {
    Route route = cluster.route(RankId(0), RankId(to));
    Passed passed;
    for (const RouteHop& hop : route.hops) {
      passed.emplace_back(all.resource_of[hop.link.index()], hop.share);
    }
    Class& found = classes[std::move(passed)];
    found.route = std::move(route);
    ++found.destinations;
  }
  for (const auto& [passed, found] : classes) {
    const double transfers = static_cast<double>(ranks * found.destinations);
    count(cluster, found.route, bytes * transfers, result);
    all.bundles.push_back({bytes, round_to_ticks(found.route.latency), static_cast<std::uint32_t>(all.uses.size()),
                           static_cast<std::uint32_t>(passed.size())});
    for (const auto& [orbit, share] : passed) {
      all.uses.push_back({ResourceId(orbit), transfers * share / links[orbit]});
    }
  }
  return all;
}

/// Resource by resource: what it carries, and the least time before which none of that can flow.
struct Load {
  double bytes = 0.0;
  double earliest = kNever;
};

std::vector<Load> loads_of(const Bundles& all) {
  std::vector<Load> loads(all.capacity.size());
  for (const Bundle& bundle : all.bundles) {
    for (const Use& use : all.uses_of(bundle)) {
      Load& load = loads[use.resource.index()];
      load.bytes += bundle.bytes * use.weight;
      load.earliest = std::min(load.earliest, bundle.latency.duration().base());
    }
  }
  return loads;
}

void take_bound(const Bundles& all, std::span<const Load> loads, AllToAllResult& result) {
  double worst = 0.0;
  for (std::size_t link = 0; link < all.resource_of.size(); ++link) {
    const std::uint32_t resource = all.resource_of[link];
    const double time = loads[resource].earliest + loads[resource].bytes / all.capacity[resource];
    if (loads[resource].bytes > 0.0 && time > worst) {
      worst = time;
      result.bound_link = LinkId(link);
    }
  }
  result.bound = round_to_ticks(seconds(worst));
}

/// How long each sample of the links' use lasts, where any are wanted.
std::optional<SimTime> slot_of(const AllToAllOptions& options, const AllToAllResult& result) {
  if (options.slots == 0 || result.bound.ticks() == 0) {
    return std::nullopt;
  }
  const auto slots = static_cast<std::int64_t>(options.slots);
  return SimTime::from_ticks((result.bound.ticks() + slots - 1) / slots);
}

/// When each bundle is through.
std::vector<SimTime> run(const Bundles& all, const AllToAllOptions& options, const TaskPool& pool,
                         AllToAllResult& result) {
  std::vector<KnownFlow> flows;
  flows.reserve(all.bundles.size());
  for (const Bundle& bundle : all.bundles) {
    flows.push_back({.amount = bundle.bytes, .latency = bundle.latency, .uses = all.uses_of(bundle)});
  }
  KnownFlowsOptions known{.epsilon = options.epsilon};
  if (const auto slot = slot_of(options, result)) {
    result.slot = known.sample_every = *slot;
  }
  KnownFlowsResult shared = share_known_flows(all.capacity, flows, known, pool);
  result.completion = shared.finish.empty() ? SimTime() : *std::max_element(shared.finish.begin(), shared.finish.end());
  const std::size_t links = all.resource_of.size();
  result.link_busy.resize(links);
  for (std::size_t link = 0; link < links; ++link) {
    result.link_busy[link] = shared.busy[all.resource_of[link]];
  }
  SimTime begin;
  for (const std::vector<double>& carried : shared.sampled) {
    const SimTime end = std::min(begin + result.slot, result.completion);
    if (end <= begin) {
      break;
    }
    std::vector<double>& use = result.use_over_time.emplace_back(links);
    for (std::size_t link = 0; link < links; ++link) {
      const std::uint32_t resource = all.resource_of[link];
      use[link] = carried[resource] / ((end - begin).duration().base() * all.capacity[resource]);
    }
    begin = end;
  }
  return std::move(shared.finish);
}

}  // namespace

AllToAllResult all_to_all(const Cluster& cluster, const TrafficMatrix& traffic, const AllToAllOptions& options,
                          const TaskPool& pool) {
  ensure(traffic.ranks() <= cluster.gpus(), "a matrix has more ranks than the cluster has GPUs");
  AllToAllResult result;
  result.fidelity = options.fidelity;
  result.bytes_local = traffic.local_bytes();
  std::vector<PairBytes> pairs;
  std::optional<Bundles> bundles;
  if (traffic.uniform_bytes().value_or(0.0) > 0.0 && traffic.ranks() > 1 &&
      options.symmetry == AllToAllOptions::Symmetry::kUse) {
    bundles = by_symmetry(cluster, traffic.ranks(), *traffic.uniform_bytes(), result);
    result.transfers = traffic.ranks() * (traffic.ranks() - 1);
  }
  if (!bundles) {
    pairs = traffic.pairs();
    bundles = one_by_one(cluster, pairs, result);
    result.transfers = pairs.size();
  }
  const Bundles& all = *bundles;
  const std::vector<Load> loads = loads_of(all);
  result.link_bytes.resize(all.resource_of.size());
  for (std::size_t link = 0; link < result.link_bytes.size(); ++link) {
    result.link_bytes[link] = loads[all.resource_of[link]].bytes;
  }
  take_bound(all, loads, result);
  if (options.fidelity == Fidelity::kBound) {
    result.completion = result.bound;
    return result;
  }
  const std::vector<SimTime> finish = run(all, options, pool, result);
  result.flows.reserve(pairs.size());
  for (std::size_t i = 0; i < pairs.size(); ++i) {
    result.flows.push_back({pairs[i], finish[i]});
  }
  return result;
}

std::vector<std::vector<LinkLoader>> link_loaders(const Cluster& cluster, const TrafficMatrix& traffic,
                                                  std::span<const LinkId> links, std::size_t count) {
  std::vector<std::map<RankId, double>> sums(links.size());
  std::map<LinkId, std::size_t> wanted;
  for (std::size_t i = 0; i < links.size(); ++i) {
    wanted.emplace(links[i], i);
  }
  for (const PairBytes& pair : traffic.pairs()) {
    for (const RouteHop& hop : cluster.route(pair.from, pair.to).hops) {
      const auto found = wanted.find(hop.link);
      if (found != wanted.end()) {
        sums[found->second][pair.from] += pair.bytes * hop.share;
      }
    }
  }
  std::vector<std::vector<LinkLoader>> result(links.size());
  for (std::size_t i = 0; i < links.size(); ++i) {
    for (const auto& [from, bytes] : sums[i]) {
      result[i].push_back({from, bytes});
    }
    std::stable_sort(result[i].begin(), result[i].end(),
                     [](const LinkLoader& a, const LinkLoader& b) { return a.bytes > b.bytes; });
    result[i].resize(std::min(result[i].size(), count));
  }
  return result;
}

}  // namespace moesim
