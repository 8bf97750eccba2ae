#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <optional>
#include <string>
#include <vector>

#include "models/kernels/communication.hpp"
#include "sim/core/quantity.hpp"
#include "sim/fluid/fluid_system.hpp"
#include "sim/program/program.hpp"
#include "topologies/cluster.hpp"

namespace moesim {

/// What a communication profile makes of one exchange on a cluster.
struct ExchangeTerms {
  std::string variant;  ///< the library's protocol, where the profile has several
  std::string warning;  ///< where the terms do not hold; empty where they do
  Duration launch;      ///< the kernels' fixed time, the path left out
  Duration notify;      ///< exchange of counts before it
  Duration local;       ///< copies within each rank that run before or after the transfer
  double scale_up_efficiency = 1.0;
  double network_efficiency = 1.0;
  Duration step;
  Duration network_step;
  double path_share = 1.0;
  double network_path_share = 1.0;
  /// Share of a rank's communication units that a byte a second takes: into the fabric, into the network, of its own.
  double units_scale_up = 0.0;
  double units_network = 0.0;
  double units_local = 0.0;
  double compute_share = 0.0;  ///< share of the GPU's compute units that the kernels keep
  double memory_share = 0.0;   ///< and of its HBM's bandwidth
  /// Kernels that only send, or only receive; none: no time.
  std::optional<StreamKernelTerms> send_kernel = std::nullopt;
  std::optional<StreamKernelTerms> receive_kernel = std::nullopt;

  [[nodiscard]] Duration fixed() const { return launch + notify + local; }
};

class NetworkTerms {
 public:
  NetworkTerms(const Cluster& cluster, const CommunicationProfile& profile, std::size_t ranks);

  [[nodiscard]] ExchangeTerms terms(const Exchange& exchange);

  /// By transfer: the latencies of its path, from when it may start until its bytes begin to arrive. A transfer in
  /// `steps` parts pays the mean over all transfers' paths with each part, since its parts come all the way round.
  [[nodiscard]] std::vector<Duration> delays(const Exchange& exchange, const ExchangeTerms& terms);

  struct Path {
    Route route;
    bool crosses_network = false;
  };
  /// Made when first asked for, kept for the next time.
  const Path& path(RankId from, RankId to);

  /// What a byte a second of the transfer takes: of each link, and of the sender's units, the resource `units`. Empty
  /// where it takes nothing.
  void uses(const Transfer& transfer, const ExchangeTerms& terms, ResourceId units, std::vector<Use>& out);

 private:
  [[nodiscard]] ExchangeTerms dispatch_terms(const Exchange& exchange) const;
  [[nodiscard]] ExchangeTerms collective_terms(const Exchange& exchange, const std::string& variant,
                                               const CollectiveTerms& terms) const;
  [[nodiscard]] ExchangeTerms domain_terms(const Exchange& exchange, const std::vector<DomainTerms>& terms,
                                           double port_bytes) const;
  /// What leaves or enters the busiest rank; std::nullopt where something crosses the network.
  [[nodiscard]] std::optional<double> bytes_in_domain(const Exchange& exchange);
  [[nodiscard]] Duration estimate(const Exchange& exchange, const ExchangeTerms& terms);

  const Cluster& cluster_;
  const CommunicationProfile& profile_;
  std::size_t nodes_;
  bool one_domain_;
  std::deque<Path> paths_;
  std::vector<std::vector<std::uint32_t>> place_;  ///< [from][to]: 1 + where in `paths_`; 0: not asked for yet
};

}  // namespace moesim
