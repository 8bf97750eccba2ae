#include "topologies/routing.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <limits>

#include "sim/core/error.hpp"
#include "sim/core/quantity.hpp"

namespace moesim {

namespace {

/// The finaliser of SplitMix64 (Steele, Lea, Flood, OOPSLA 2014).
std::uint64_t mix(std::uint64_t value) {
  value += 0x9e3779b97f4a7c15;
  value = (value ^ (value >> 30)) * 0xbf58476d1ce4e5b9;
  value = (value ^ (value >> 27)) * 0x94d049bb133111eb;
  return value ^ (value >> 31);
}

}  // namespace

std::span<const Router::Attachment> Router::attachments(const std::vector<std::size_t>& offsets,
                                                        const std::vector<Attachment>& all, VertexId gpu) const {
  const std::size_t begin = offsets.at(gpu.index());
  return std::span(all).subspan(begin, offsets.at(gpu.index() + 1) - begin);
}

std::optional<Route> Router::route(VertexId from, VertexId to) const {
  ensure(from != to, "route: from and to differ");
  const std::vector<Pairing> pairings = shortest_pairings(from, to);
  if (pairings.empty()) {
    return std::nullopt;
  }
  const std::uint64_t hash = mix(options_.seed ^ mix((std::uint64_t{from.index()} << 32) | to.index()));
  Route route;
  route.hops.reserve(8);
  if (pairings.size() == 1 || options_.paths != PathChoice::kEcmpSpray) {
    append(pairings[options_.paths == PathChoice::kEcmpHash ? hash % pairings.size() : 0], 1.0, hash, route);
    return route;
  }
  for (const Pairing& pairing : pairings) {
    Route part;
    append(pairing, 1.0 / static_cast<double>(pairings.size()), hash, part);
    route.hops.insert(route.hops.end(), part.hops.begin(), part.hops.end());
    route.latency = std::max(route.latency, part.latency);
  }
  // Two ways may have links in common: each link once.
  std::sort(route.hops.begin(), route.hops.end(), [](const RouteHop& a, const RouteHop& b) { return a.link < b.link; });
  std::vector<RouteHop> merged;
  for (const RouteHop& hop : route.hops) {
    if (!merged.empty() && merged.back().link == hop.link) {
      merged.back().share += hop.share;
    } else {
      merged.push_back(hop);
    }
  }
  route.hops = std::move(merged);
  return route;
}

std::vector<Router::Pairing> Router::shortest_pairings(VertexId from, VertexId to) const {
  std::vector<Pairing> best;
  std::uint32_t shortest = std::numeric_limits<std::uint32_t>::max();
  const auto consider = [&](const Pairing& pairing) {
    const auto found = length(pairing, to);
    if (!found || *found > shortest) {
      return;
    }
    if (*found < shortest) {
      best.clear();
      shortest = *found;
    }
    best.push_back(pairing);
  };
  for (const Attachment& first : attachments(leaving_offsets_, leaving_, from)) {
    if (first.link && first.peer == to) {
      consider({first, {std::nullopt, to, true}});  // a direct link
    } else if (first.through) {
      for (const Attachment& last : attachments(arriving_offsets_, arriving_, to)) {
        if (last.through) {
          consider({first, last});
        }
      }
    }
  }
  return best;
}

std::optional<std::uint32_t> Router::length(const Pairing& pairing, VertexId to) const {
  std::uint32_t total = pairing.first.link ? links_[pairing.first.link->index()].weight : 0;
  total += pairing.last.link ? links_[pairing.last.link->index()].weight : 0;
  if (pairing.first.peer == to && !pairing.last.link) {
    return total;
  }
  const auto middle = distance(pairing.first.peer, pairing.last.peer);
  return middle ? std::optional(total + *middle) : std::nullopt;
}

std::optional<std::uint32_t> Router::distance(VertexId from, VertexId to) const {
  if (station(from).core != station(to).core) {
    return std::nullopt;
  }
  std::uint32_t total = 0;
  while (from != to && (station(from).depth > 0 || station(to).depth > 0)) {
    if (station(from).depth >= station(to).depth) {
      total += links_[station(from).up.index()].weight;
      from = station(from).parent;
    } else {
      total += links_[station(to).down.index()].weight;
      to = station(to).parent;
    }
  }
  if (from == to) {
    return total;
  }
  const Core& core = cores_[station(from).core];
  const std::uint16_t across = core.distance[station(to).position * core.size + station(from).position];
  return across == kFar ? std::nullopt : std::optional(total + across);
}

void Router::take(LinkId link, double share, Route& route) const {
  route.hops.push_back({link, share});
  route.latency += links_[link.index()].latency;
}

void Router::append(const Pairing& pairing, double share, std::uint64_t hash, Route& route) const {
  if (pairing.first.link) {
    take(*pairing.first.link, share, route);
  }
  VertexId from = pairing.first.peer;
  VertexId to = pairing.last.peer;
  std::vector<LinkId> descent;  // last link first
  while (from != to && (station(from).depth > 0 || station(to).depth > 0)) {
    if (station(from).depth >= station(to).depth) {
      take(station(from).up, share, route);
      from = station(from).parent;
    } else {
      descent.push_back(station(to).down);
      to = station(to).parent;
    }
  }
  if (from != to) {
    cross(cores_[station(from).core], station(from).position, station(to).position, share, hash, route);
  }
  for (auto link = descent.rbegin(); link != descent.rend(); ++link) {
    take(*link, share, route);
  }
  if (pairing.last.link) {
    take(*pairing.last.link, share, route);
  }
}

/// The bytes of one pair on their way through a core: how much reaches each vertex, and when at the latest.
class Router::Spray {
 public:
  Spray(const Router& router, const Core& core, std::uint32_t to)
      : router_(router),
        core_(core),
        distance_(std::span(core.distance).subspan(to * core.size, core.size)),
        share_(core.size),
        latency_(core.size, kNotReached) {}

  /// Vertices are taken by falling distance from the destination, so that all that comes into one is known before it
  /// is split among the links out of it.
  void run(std::uint32_t from, double share, Route& route) {
    std::vector<std::vector<std::uint32_t>> at(distance_[from] + 1);
    at[distance_[from]].push_back(from);
    share_[from] = share;
    latency_[from] = Duration{};
    for (std::size_t left = distance_[from]; left > 0; --left) {
      for (const std::uint32_t vertex : at[left]) {
        split(vertex, at, route);
      }
    }
    route.latency += latency_[at[0].front()];
  }

 private:
  void split(std::uint32_t vertex, std::vector<std::vector<std::uint32_t>>& at, Route& route) {
    const auto links =
        std::span(core_.links).subspan(core_.offsets[vertex], core_.offsets[vertex + 1] - core_.offsets[vertex]);
    const auto leads_on = [&](const CoreLink& link) { return distance_[link.to] + link.weight == distance_[vertex]; };
    const double part = share_[vertex] / static_cast<double>(std::count_if(links.begin(), links.end(), leads_on));
    for (const CoreLink& link : links) {
      if (leads_on(link)) {
        route.hops.push_back({link.id, part});
        if (share_[link.to] == 0.0) {
          at[distance_[link.to]].push_back(link.to);
        }
        share_[link.to] += part;
        latency_[link.to] = std::max(latency_[link.to], latency_[vertex] + router_.links_[link.id.index()].latency);
      }
    }
  }

  /// Less than the latency of any way: that of a link may be below zero (NicRows).
  static constexpr Duration kNotReached = seconds(-1.0);

  const Router& router_;
  const Core& core_;
  std::span<const std::uint16_t> distance_;
  std::vector<double> share_;
  std::vector<Duration> latency_;
};

void Router::cross(const Core& core, std::uint32_t from, std::uint32_t to, double share, std::uint64_t hash,
                   Route& route) const {
  const auto distance = std::span(core.distance).subspan(to * core.size, core.size);
  std::vector<const CoreLink*> next;
  while (from != to) {
    next.clear();
    for (std::uint32_t i = core.offsets[from]; i < core.offsets[from + 1]; ++i) {
      const CoreLink& link = core.links[i];
      if (distance[link.to] + link.weight == distance[from]) {
        next.push_back(&link);
        if (options_.paths == PathChoice::kShortest) {
          break;
        }
      }
    }
    if (options_.paths == PathChoice::kEcmpSpray && next.size() > 1) {
      Spray(*this, core, to).run(from, share, route);
      return;
    }
    const CoreLink& link = *next[next.size() == 1 ? 0 : mix(hash ^ from) % next.size()];
    take(link.id, share, route);
    from = link.to;
  }
}

}  // namespace moesim
