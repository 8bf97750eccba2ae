#include "validate/fit/communication_fit.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <optional>
#include <string_view>
#include <tuple>
#include <utility>
#include <variant>

#include "sim/core/error.hpp"
#include "validate/fit/communication_bench.hpp"
#include "validate/fit/domain_fit.hpp"

namespace moesim {

namespace {

constexpr double kMebibyte = 1048576.0;
constexpr double kLeastInSwitch = 32.0 * kMebibyte;
constexpr double kMostOneShot = 0.25 * kMebibyte;
constexpr double kMostTwoShot = 8.0 * kMebibyte;
constexpr std::size_t kLeastSizes = 3;

/// NCCL's latency of a hop in a running kernel is .6 us on NVLink (NVIDIA/nccl src/graph/tuning.cc, hwLat, LL): this
/// share of the 3.33 us between two programs.
constexpr double kPathShare = 0.18;

/// Which algorithm's terms a row tells of; std::nullopt where it may be either of two.
struct Way {
  ProfiledCollective collective;
  std::string_view algorithm;
};
std::optional<Way> way_of(const MeasuredCollective& row, const Cluster& cluster, CommunicationSource source) {
  if (source == CommunicationSource::kCustomAllReduce && row.bytes < kLeastInSwitch) {
    return row.bytes <= kMostOneShot   ? std::optional<Way>({ProfiledCollective::kOneShotAllReduce, "one-shot"})
           : row.bytes <= kMostTwoShot ? std::optional<Way>({ProfiledCollective::kTwoShotAllReduce, "two-shot"})
                                       : std::nullopt;
  }
  switch (row.collective) {
    case Collective::kAllGather:
      return Way{ProfiledCollective::kAllGather, "ring"};
    case Collective::kReduceScatter:
      return Way{ProfiledCollective::kReduceScatter, "ring"};
    case Collective::kAllToAll:
      return Way{ProfiledCollective::kAllToAll, "pairwise"};
    default:
      break;
  }
  const CollectiveGroups groups{&cluster, row.ranks, row.ranks};
  const bool in_switch = may_reduce_in_switch(row) && row.bytes >= kLeastInSwitch &&
                         find_algorithm(Collective::kAllReduce, "nvls")->obstacle(groups).empty();
  return in_switch ? Way{ProfiledCollective::kInSwitchAllReduce, "nvls"} : Way{ProfiledCollective::kAllReduce, "ring"};
}

/// What the fit needs to know of a collective's exchanges.
DomainSample sample_of(const CollectivePhases& phases, const Cluster& cluster, const MeasuredCollective& row,
                       const CommunicationProfile& profile) {
  NetworkTerms network(cluster, profile, row.ranks);
  DomainSample sample{.time = row.time};
  std::vector<double> out(row.ranks, 0.0);
  std::vector<double> in(row.ranks, 0.0);
  for (const CollectivePhase& phase : phases) {
    const Exchange& exchange = std::get<Exchange>(phase);
    ExchangeTerms terms;
    terms.path_share = kPathShare;
    Duration longest;
    for (const Duration delay : network.delays(exchange, terms)) {
      longest = std::max(longest, delay);
    }
    sample.latency += longest;
    for (const Transfer& transfer : exchange.transfers) {
      out[transfer.from.index()] += transfer.bytes;
      in[transfer.to.index()] += transfer.bytes;
    }
  }
  sample.port_bytes = std::max(*std::max_element(out.begin(), out.end()), *std::max_element(in.begin(), in.end()));
  return sample;
}

}  // namespace

CommunicationFit fit_communication(const std::vector<CommunicationTable>& tables, const std::string& accelerator,
                                   const KernelProfile& profile, std::size_t folds) {
  CommunicationFit fit;
  std::map<std::pair<ProfiledCollective, std::size_t>, std::vector<DomainSample>> groups;
  std::optional<Bandwidth> bandwidth;
  bool dispatches = false;
  for (const CommunicationTable& table : tables) {
    if (table.collectives.empty()) {
      dispatches = true;
      continue;
    }
    const CommunicationBench bench(cluster_of(accelerator, {"--gpu", ""}), table, profile);
    for (const MeasuredCollective& row : table.collectives) {
      const Cluster& cluster = bench.cluster(row.ranks);
      bandwidth = cluster.config().scale_up.bandwidth;
      if (const auto way = way_of(row, cluster, table.source);
          way && cluster.same_scale_up(RankId(0), RankId(row.ranks - 1))) {
        groups[{way->collective, row.ranks}].push_back(
            sample_of(bench.phases(row, way->algorithm), cluster, row, profile.communication));
      }
    }
  }
  for (const auto& [key, samples] : groups) {
    const auto& [collective, ranks] = key;
    if (samples.size() < kLeastSizes) {
      fit.warnings.push_back(fmt::format("{} rows of {} on {} GPUs are too few to fit to: left as they are",
                                         samples.size(), name_of(collective), ranks));
      continue;
    }
    fit.terms[collective].push_back(fit_domain(samples, static_cast<int>(ranks),
                                               {.folds = folds, .path_share = kPathShare, .bandwidth = *bandwidth}));
  }
  if (fit.terms.empty() && !dispatches) {
    throw ConfigError({tables.empty() ? "tables" : tables.front().head.file, ""},
                      "expected collectives inside one scale-up domain, found none that can be fitted");
  }
  return fit;
}

}  // namespace moesim
