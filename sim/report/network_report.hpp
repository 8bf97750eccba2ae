#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "sim/config/document.hpp"
#include "sim/execute/all_to_all.hpp"
#include "sim/scenario/metrics.hpp"
#include "topologies/cluster.hpp"

namespace moesim {

/// What `moesim network` has to tell.
struct NetworkReport {
  static constexpr std::size_t kLinksShown = 8;  ///< in the table

  AllToAllResult result;
  std::size_t ranks = 0;
  std::string traffic;  ///< where it comes from, in words
  double epsilon = 0.0;
  std::vector<std::vector<LinkLoader>> loaders;  ///< of the busiest links, in their order; empty: of none
  std::vector<InputFile> inputs;
  std::vector<std::string> warnings;
};

/// The links by use, the busiest first.
std::vector<LinkUse> busiest_links(const Cluster& cluster, const AllToAllResult& result);

std::string network_table(const NetworkReport& report, const Cluster& cluster);

Json network_json(const NetworkReport& report, const Cluster& cluster);

/// CSV: src,dst,bytes,finish_s.
std::string flow_times_csv(const AllToAllResult& result);
/// CSV: link,begin_s,end_s,use, a line for each slot of each link that carried anything.
std::string link_use_csv(const AllToAllResult& result, const Cluster& cluster);

}  // namespace moesim
