#pragma once

#include <memory>
#include <span>
#include <vector>

#include "models/kernels/communication.hpp"
#include "sim/fluid/fluid_system.hpp"
#include "sim/program/program.hpp"
#include "topologies/cluster.hpp"

namespace moesim {

/// What a communication profile makes of an exchange on a cluster: its fixed time, and what each byte of payload
/// takes of each link on the way.
class NetworkTerms {
 public:
  NetworkTerms(const Cluster& cluster, const CommunicationProfile& profile, std::size_t ranks);

  /// From a rank's Send until its transfers begin to flow. Includes the latency of the path (communication.hpp).
  [[nodiscard]] Duration overhead(const Exchange& exchange) const;

  /// Share of a GPU's compute units that the exchange's kernels keep while they run.
  [[nodiscard]] double compute_share(const Exchange& exchange) const;

  struct Path {
    std::vector<RouteHop> hops;
    std::vector<Use> uses;  ///< resource = link
    bool crosses_network = false;
  };
  /// Made when first asked for, kept for the next time.
  const Path& path(const Exchange& exchange, RankId from, RankId to);

 private:
  struct Efficiency {
    double scale_up;
    double network;
    bool operator==(const Efficiency&) const = default;
  };
  struct Table {
    Efficiency efficiency;
    std::vector<std::unique_ptr<Path>> paths;  // [from · ranks + to]
  };
  [[nodiscard]] const TransferTerms& dispatch_terms(const Exchange& exchange) const;
  [[nodiscard]] const CollectiveTerms& collective_terms(const Exchange& exchange) const;
  [[nodiscard]] Efficiency efficiency(const Exchange& exchange) const;

  const Cluster& cluster_;
  const CommunicationProfile& profile_;
  std::size_t ranks_;
  bool one_domain_;
  std::vector<Table> tables_;
};

}  // namespace moesim
