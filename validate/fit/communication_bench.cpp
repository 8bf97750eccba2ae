#include "validate/fit/communication_bench.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <set>
#include <utility>
#include <vector>

#include "sim/config/decode.hpp"
#include "sim/config/document.hpp"
#include "sim/core/error.hpp"
#include "sim/execute/execute.hpp"

namespace moesim {

namespace {

/// C(E - others, k) / C(E, k) for a fractional number of others.
double probability_of_none(double experts, double others, std::int64_t k) {
  double none = 1.0;
  for (std::int64_t i = 0; i < k; ++i) {
    const auto drawn = static_cast<double>(i);
    none *= std::max(0.0, (experts - others - drawn) / (experts - drawn));
  }
  return none;
}

std::size_t ranks_of(const MeasuredDispatch& row) { return row.nodes * kTableNode; }

}  // namespace

std::string cluster_of(const std::string& accelerator, const Place& place) {
  std::string best;
  for (const std::string_view name : cluster_catalogue().names()) {
    const auto config = decode_document<ClusterConfig>(cluster_catalogue().find(name, place));
    if (config.accelerator == accelerator && (best.empty() || name.size() < best.size())) {
      best = std::string(name);
    }
  }
  if (best.empty()) {
    throw ConfigError(
        place, fmt::format("expected an accelerator that a cluster of the catalogue has, found \"{}\"", accelerator));
  }
  return best;
}

LayerTraffic expected_traffic(const MeasuredDispatch& row, const Cluster& cluster, std::size_t ranks) {
  const std::size_t nodes = cluster.node_of(RankId(ranks - 1)).index() + 1;
  const auto experts = static_cast<double>(row.experts);
  const auto tokens = static_cast<double>(row.tokens);
  const auto whole = [](double count) { return static_cast<std::uint32_t>(std::llround(count)); };
  const double here = 1.0 / static_cast<double>(ranks);
  const double to_rank = 1.0 - probability_of_none(experts, experts * here, row.experts_per_token);
  const double to_node =
      1.0 - probability_of_none(experts, experts / static_cast<double>(nodes), row.experts_per_token);
  LayerTraffic traffic;
  traffic.ranks = ranks;
  traffic.experts = static_cast<std::size_t>(row.experts);
  traffic.home_tokens.assign(ranks, whole(tokens));
  traffic.copies.assign(ranks * ranks, whole(tokens * static_cast<double>(row.experts_per_token) * here));
  traffic.tokens.assign(ranks * ranks, whole(tokens * to_rank));
  traffic.node_tokens.assign(ranks * nodes, whole(tokens * to_node));
  return traffic;
}

bool may_reduce_in_switch(const MeasuredCollective& row) {
  constexpr std::size_t kLeastRanks = 8;
  return row.collective == Collective::kAllReduce && row.ranks >= kLeastRanks && row.type != DataType::kInt8;
}

CommunicationBench::CommunicationBench(const std::string& cluster, const CommunicationTable& table,
                                       const KernelProfile& profile)
    : source_(table.source), profile_(profile) {
  std::set<std::size_t> sizes;
  for (const MeasuredCollective& row : table.collectives) {
    sizes.insert(row.ranks);
  }
  for (const MeasuredDispatch& row : table.dispatches) {
    sizes.insert(ranks_of(row));
  }
  for (const std::size_t ranks : sizes) {
    clusters_.emplace(ranks, load_cluster(ClusterName{cluster}, ranks, {"--gpu", ""}));
  }
  if (!clusters_.empty()) {
    costs_ = make_cost_model(profile_, clusters_.begin()->second.accelerator());
  }
}

const Cluster& CommunicationBench::cluster(std::size_t ranks) const { return clusters_.at(ranks); }

CollectivePhases CommunicationBench::phases(const MeasuredCollective& row, std::string_view algorithm) const {
  const CollectiveGroups groups{&cluster(row.ranks), row.ranks, row.ranks};
  const CollectiveAlgorithm* found = find_algorithm(row.collective, algorithm);
  return found == nullptr || !found->eligible(groups, row.bytes) ? CollectivePhases{} : found->build(groups, row.bytes);
}

Duration CommunicationBench::run(CollectivePhases phases, std::size_t ranks,
                                 const CommunicationProfile& profile) const {
  return execute(collective_program(std::move(phases), ranks), cluster(ranks), *costs_, profile).end.duration();
}

Duration CommunicationBench::predict(const MeasuredCollective& row) const {
  std::vector<std::string_view> names{row.collective == Collective::kAllToAll ? "pairwise" : "ring"};
  if (may_reduce_in_switch(row)) {
    names.push_back("nvls");
  }
  if (source_ == CommunicationSource::kCustomAllReduce) {
    names.insert(names.end(), {"one-shot", "two-shot"});
  }
  std::optional<Duration> best;
  for (const std::string_view name : names) {
    CollectivePhases way = phases(row, name);
    if (!way.empty()) {
      const Duration time = run(std::move(way), row.ranks, profile_.communication);
      best = best ? std::min(*best, time) : time;
    }
  }
  ensure(best.has_value(), "every collective has a way that runs everywhere");
  return *best;
}

CommunicationBench::Parts CommunicationBench::predict(const MeasuredDispatch& row, StepOperator op,
                                                      const CommunicationProfile& profile) const {
  const std::size_t ranks = ranks_of(row);
  const Cluster& on = cluster(ranks);
  const bool out = op == StepOperator::kDispatch;
  const auto hidden = static_cast<double>(row.hidden);
  const DispatchPlan plan{&on,
                          source_ == CommunicationSource::kDeepEpNormal ? DispatchProtocol::kDeepEpNormal
                                                                        : DispatchProtocol::kDeepEpLowLatency,
                          row.units,
                          (hidden * activation_element_size(out ? DataType::kFp8Block : DataType::kBf16)).base()};
  const LayerTraffic traffic = expected_traffic(row, on, ranks);
  CollectivePhases phases = out ? dispatch_phases(traffic, plan) : combine_phases(traffic, plan);
  NetworkTerms terms(on, profile, ranks);
  const Duration notify = terms.terms(std::get<Exchange>(phases.front())).notify;
  return {run(std::move(phases), ranks, profile), notify};
}

}  // namespace moesim
