#include "sim/execute/network_terms.hpp"

#include <algorithm>

#include "models/hardware/hardware.hpp"
#include "sim/core/error.hpp"

namespace moesim {

NetworkTerms::NetworkTerms(const Cluster& cluster, const CommunicationProfile& profile, std::size_t ranks)
    : cluster_(cluster),
      profile_(profile),
      ranks_(ranks),
      one_domain_(cluster.same_scale_up(RankId(0), RankId(ranks - 1))) {}

const TransferTerms& NetworkTerms::dispatch_terms(const Exchange& exchange) const {
  const DispatchTerms& terms =
      exchange.protocol == Protocol::kLowLatency ? profile_.low_latency : profile_.high_throughput;
  return exchange.op == StepOperator::kDispatch ? terms.dispatch : terms.combine;
}

const CollectiveTerms& NetworkTerms::collective_terms(const Exchange& exchange) const {
  const auto kind =
      exchange.op == StepOperator::kAllGather ? ProfiledCollective::kAllGather : ProfiledCollective::kReduceScatter;
  const auto found = profile_.collective.find(kind);
  ensure(found != profile_.collective.end(), "a checked profile lacks a collective");
  return found->second;
}

Duration NetworkTerms::overhead(const Exchange& exchange) const {
  if (exchange.protocol == Protocol::kCollective) {
    // Groups of a tensor-parallel collective lie inside a domain: as many ranks as a rank has transfers, and itself.
    const CollectiveTerms& terms = collective_terms(exchange);
    const double group = 1.0 + static_cast<double>(exchange.transfers.size()) / static_cast<double>(ranks_);
    return terms.overhead + terms.overhead_per_rank * group;
  }
  const TransferTerms& terms = dispatch_terms(exchange);
  return one_domain_ ? terms.scale_up_overhead : terms.network_overhead;
}

double NetworkTerms::compute_share(const Exchange& exchange) const {
  if (exchange.protocol == Protocol::kCollective) {
    return 0.0;
  }
  const DispatchTerms& terms =
      exchange.protocol == Protocol::kLowLatency ? profile_.low_latency : profile_.high_throughput;
  return static_cast<double>(terms.compute_units.value_or(0)) / cluster_.accelerator().compute_units;
}

NetworkTerms::Efficiency NetworkTerms::efficiency(const Exchange& exchange) const {
  if (exchange.protocol == Protocol::kCollective) {
    const CollectiveTerms& terms = collective_terms(exchange);
    return {terms.scale_up_efficiency, terms.network_efficiency};
  }
  const TransferTerms& terms = dispatch_terms(exchange);
  return {terms.scale_up_efficiency, terms.network_efficiency};
}

const NetworkTerms::Path& NetworkTerms::path(const Exchange& exchange, RankId from, RankId to) {
  const Efficiency wanted = efficiency(exchange);
  auto table = std::find_if(tables_.begin(), tables_.end(), [&](const Table& t) { return t.efficiency == wanted; });
  if (table == tables_.end()) {
    tables_.push_back({wanted, std::vector<std::unique_ptr<Path>>(ranks_ * ranks_)});
    table = tables_.end() - 1;
  }
  auto& path = table->paths[from.index() * ranks_ + to.index()];
  if (!path) {
    path = std::make_unique<Path>();
    path->hops = cluster_.route(from, to).hops;
    for (const auto& [link, share] : path->hops) {
      const bool scale_up = cluster_.link(link).kind == LinkKind::kScaleUp;
      path->crosses_network |= cluster_.link(link).kind == LinkKind::kNetwork;
      path->uses.push_back({ResourceId(link.index()), share / (scale_up ? wanted.scale_up : wanted.network)});
    }
  }
  return *path;
}

}  // namespace moesim
