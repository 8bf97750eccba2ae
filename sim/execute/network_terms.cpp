#include "sim/execute/network_terms.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <unordered_map>
#include <utility>

#include "models/hardware/hardware.hpp"
#include "sim/core/error.hpp"
#include "sim/core/quantity.hpp"
#include "sim/core/units.hpp"

namespace moesim {

namespace {

/// Blocks of DeepEP's low-latency kernels, one a compute unit: ceil(E/U) experts share a block where there are more
/// than units, so that ceil(E / ceil(E/U)) blocks run (deepseek-ai/DeepEP csrc/kernels/internode_ll.cu).
double low_latency_units(std::uint32_t experts, int compute_units) {
  const auto units = static_cast<std::uint32_t>(compute_units);
  if (experts == 0) {
    return units;
  }
  const std::uint32_t per_block = (experts + units - 1) / units;
  const std::uint32_t blocks = (experts + per_block - 1) / per_block;
  return blocks;
}

/// Tokens of the rank that has most, by what ranks take from themselves.
double most_tokens(const Exchange& exchange) {
  double most = 0.0;
  for (const Transfer& transfer : exchange.transfers) {
    most = transfer.from == transfer.to ? std::max(most, transfer.bytes) : most;
  }
  return exchange.message_bytes > 0.0 ? most / exchange.message_bytes : 0.0;
}

/// Seconds of one unit per byte of messages of `size` bytes.
double unit_seconds(Duration each, const std::optional<Bandwidth>& rate, double size) {
  return (rate ? 1.0 / rate->base() : 0.0) + (size > 0.0 ? each.base() / size : 0.0);
}

}  // namespace

NetworkTerms::NetworkTerms(const Cluster& cluster, const CommunicationProfile& profile, std::size_t ranks)
    : cluster_(cluster),
      profile_(profile),
      nodes_(cluster.node_of(RankId(ranks - 1)).index() + 1),
      one_domain_(cluster.same_scale_up(RankId(0), RankId(ranks - 1))),
      place_(ranks) {}

ExchangeTerms NetworkTerms::dispatch_terms(const Exchange& exchange) const {
  const bool low_latency = exchange.protocol == Protocol::kLowLatency;
  const DispatchTerms& both = low_latency ? profile_.low_latency : profile_.high_throughput;
  const TransferTerms& terms = exchange.op == StepOperator::kDispatch ? both.dispatch : both.combine;
  const auto nodes = static_cast<double>(nodes_);
  ExchangeTerms result;
  result.scale_up_efficiency = terms.scale_up_efficiency;
  result.network_efficiency = terms.network_efficiency;
  result.launch = one_domain_ ? terms.scale_up_overhead : terms.network_overhead + terms.network_per_node * nodes;
  result.launch += terms.per_expert * exchange.experts;
  if (terms.message_rate) {
    result.launch += bytes(exchange.message_bytes) / *terms.message_rate;
  }
  const int compute_units = cluster_.accelerator().compute_units;
  const std::optional<int> kept = exchange.units ? exchange.units : both.compute_units;
  if (!one_domain_) {
    result.notify = terms.notify + terms.notify_per_node * nodes;
    const double share = most_tokens(exchange) / kept.value_or(compute_units);
    result.notify += terms.notify_rise * (share / (share + terms.notify_rise_at));
    result.notify += terms.notify_per_token * (share * (nodes - 1.0) / nodes);
  }
  result.compute_share = static_cast<double>(both.compute_units ? *kept : 0) / compute_units;
  result.memory_share = both.memory_share;
  result.send_kernel = terms.send_kernel;
  result.receive_kernel = terms.receive_kernel;
  if (const auto& units = one_domain_ ? terms.scale_up_units : terms.network_units) {
    const double count = low_latency ? low_latency_units(exchange.experts, compute_units)
                                     : static_cast<double>(kept.value_or(compute_units));
    const double size = exchange.message_bytes;
    result.units_scale_up = unit_seconds(units->per_message, units->scale_up, size) / count;
    result.units_network = unit_seconds(units->per_message, units->network, size) / count;
    result.units_local = unit_seconds(units->per_token, units->token, size) / count;
  }
  if (exchange.kernels == ExchangeKernels::kBesideOther) {
    result.scale_up_efficiency /= both.beside_kernels;
    result.network_efficiency /= both.beside_kernels;
    result.units_scale_up *= both.beside_kernels;
    result.units_network *= both.beside_kernels;
    result.units_local *= both.beside_kernels;
  }
  return result;
}

ExchangeTerms NetworkTerms::collective_terms(const Exchange& exchange, const std::string& variant,
                                             const CollectiveTerms& terms) const {
  ExchangeTerms result;
  result.variant = variant;
  result.scale_up_efficiency = terms.scale_up_efficiency;
  result.network_efficiency = terms.network_efficiency;
  result.step = terms.step;
  result.network_step = terms.network_step;
  result.path_share = terms.path_share;
  result.network_path_share = terms.network_path_share;
  if (exchange.start == ExchangeStart::kLaunch) {
    result.launch = terms.overhead + terms.per_rank * exchange.group_size;
    if (terms.local_copy) {
      result.local = bytes(exchange.local_bytes) / (cluster_.accelerator().scale_up_bandwidth * *terms.local_copy);
    }
  }
  return result;
}

ExchangeTerms NetworkTerms::domain_terms(const Exchange& exchange, const std::vector<DomainTerms>& terms,
                                         double port_bytes) const {
  // Below the smallest size that was measured the fixed time is that of larger ones: not far below, or where that
  // was already small, it is no other.
  constexpr double kFarBelow = 0.25;
  constexpr double kSmall = 65536.0;
  const double ranks = std::min<double>(exchange.group_size, static_cast<double>(cluster_.gpus_per_node()));
  const DomainCost cost = domain_cost(terms, ranks, port_bytes);
  const Bytes smallest = terms.front().efficiency.front().bytes;
  ExchangeTerms result;
  result.variant = "by size";
  if (smallest.base() > kSmall && port_bytes < kFarBelow * smallest.base()) {
    result.variant = "extrapolated";
    result.warning = fmt::format(
        "{} of {} a port is shorter than what was measured, from {} on: its fixed time of {} may be too long",
        name_of(exchange.collective), to_text(bytes(port_bytes)), to_text(smallest), to_text(cost.overhead));
  }
  result.scale_up_efficiency = cost.efficiency;
  result.path_share = cost.path_share;
  if (exchange.start == ExchangeStart::kLaunch) {
    result.launch = cost.overhead;
  }
  return result;
}

std::optional<double> NetworkTerms::bytes_in_domain(const Exchange& exchange) {
  std::unordered_map<RankId, double> out;
  std::unordered_map<RankId, double> in;
  double busiest = 0.0;
  for (const Transfer& transfer : exchange.transfers) {
    if (transfer.from == transfer.to) {
      continue;
    }
    if (path(transfer.from, transfer.to).crosses_network) {
      return std::nullopt;
    }
    busiest = std::max({busiest, out[transfer.from] += transfer.bytes, in[transfer.to] += transfer.bytes});
  }
  return std::max(busiest, exchange.port_bytes);
}

ExchangeTerms NetworkTerms::terms(const Exchange& exchange) {
  if (exchange.protocol != Protocol::kCollective) {
    return dispatch_terms(exchange);
  }
  if (const auto* domain = profile_.find_in_domain(exchange.collective, cluster_.accelerator().name)) {
    if (const auto port_bytes = bytes_in_domain(exchange)) {
      return domain_terms(exchange, *domain, *port_bytes);
    }
  }
  const CollectiveVariants* variants = profile_.find(exchange.collective, cluster_.accelerator().name);
  ensure(variants != nullptr && !variants->empty(), "a checked profile lacks a collective");
  std::optional<ExchangeTerms> best;
  Duration shortest;
  for (const auto& [name, terms] : *variants) {
    ExchangeTerms candidate = collective_terms(exchange, name, terms);
    const Duration time = variants->size() == 1 ? Duration{} : estimate(exchange, candidate);
    if (!best || time < shortest) {
      best = std::move(candidate);
      shortest = time;
    }
  }
  return *best;
}

/// fixed time + longest latency + busiest link: what a library's own tuner compares (NVIDIA/nccl src/graph/tuning.cc).
Duration NetworkTerms::estimate(const Exchange& exchange, const ExchangeTerms& terms) {
  std::unordered_map<LinkId, double> busy;
  double busiest = 0.0;
  std::vector<Use> needed;
  for (const Transfer& transfer : exchange.transfers) {
    needed.clear();
    uses(transfer, terms, ResourceId(), needed);
    for (const Use& use : needed) {
      const LinkId link(use.resource.index());
      double& seconds_busy = busy[link];
      seconds_busy += transfer.bytes * use.weight / cluster_.link(link).capacity.base();
      busiest = std::max(busiest, seconds_busy);
    }
  }
  Duration latency;
  for (const Duration delay : delays(exchange, terms)) {
    latency = std::max(latency, delay);
  }
  return terms.fixed() + latency + seconds(busiest);
}

std::vector<Duration> NetworkTerms::delays(const Exchange& exchange, const ExchangeTerms& terms) {
  std::vector<Duration> result;
  result.reserve(exchange.transfers.size());
  Duration sum;
  bool in_parts = false;
  for (const Transfer& transfer : exchange.transfers) {
    Duration delay;
    if (transfer.from != transfer.to) {
      const Path& way = path(transfer.from, transfer.to);
      delay = way.crosses_network ? terms.network_step + way.route.latency * terms.network_path_share
                                  : terms.step + way.route.latency * terms.path_share;
    }
    sum += delay;
    in_parts |= transfer.steps > 1;
    result.push_back(delay);
  }
  if (in_parts) {
    const Duration mean = sum / static_cast<double>(result.size());
    for (std::size_t t = 0; t < result.size(); ++t) {
      result[t] = exchange.transfers[t].steps > 1 ? mean * exchange.transfers[t].steps : result[t];
    }
  }
  // A hop's own latency, then the longest way up to it. Orders come with rising `then`, so that `first` is complete.
  Duration before;
  for (std::size_t i = 0; i < exchange.orders.size(); ++i) {
    const auto& [first, then] = exchange.orders[i];
    ensure(first < then, "a hop is to come after those before it");
    before = std::max(before, result[first]);
    if (i + 1 == exchange.orders.size() || exchange.orders[i + 1].then != then) {
      ensure(i + 1 == exchange.orders.size() || exchange.orders[i + 1].then > then, "hops are to be in order");
      result[then] += before;
      before = Duration{};
    }
  }
  return result;
}

const NetworkTerms::Path& NetworkTerms::path(RankId from, RankId to) {
  std::vector<std::uint32_t>& row = place_[from.index()];
  row.resize(place_.size(), 0);
  std::uint32_t& place = row[to.index()];
  if (place == 0) {
    Path made{.route = cluster_.route(from, to)};
    for (const RouteHop& hop : made.route.hops) {
      made.crosses_network |= cluster_.link(hop.link).kind == LinkKind::kNetwork;
    }
    paths_.push_back(std::move(made));
    place = static_cast<std::uint32_t>(paths_.size());
  }
  return paths_[place - 1];
}

void NetworkTerms::uses(const Transfer& transfer, const ExchangeTerms& terms, ResourceId units, std::vector<Use>& out) {
  double of_units = terms.units_local;
  if (transfer.from != transfer.to) {
    const Path& way = path(transfer.from, transfer.to);
    of_units = way.crosses_network ? terms.units_network : terms.units_scale_up;
    for (const auto& [link, share] : way.route.hops) {
      const bool scale_up = cluster_.link(link).kind == LinkKind::kScaleUp;
      out.push_back(
          {ResourceId(link.index()), share / (scale_up ? terms.scale_up_efficiency : terms.network_efficiency)});
    }
  }
  if (of_units > 0.0) {
    out.push_back({units, of_units});
  }
}

}  // namespace moesim
