#pragma once

#include <string>
#include <vector>

#include "sim/config/document.hpp"
#include "sim/execute/all_to_all.hpp"
#include "topologies/cluster.hpp"

namespace moesim {

/// What `moesim network` has to tell.
struct NetworkReport {
  AllToAllResult result;
  std::size_t ranks = 0;
  std::string traffic;  ///< where it comes from, in words
  double epsilon = 0.0;
  std::vector<LinkId> busiest;                   ///< by use, the busiest first
  std::vector<std::vector<LinkLoader>> loaders;  ///< of each of `busiest`
  std::vector<std::string> warnings;
};

/// The links that carried most for their capacity, at most `count`; equal ones in order of the links.
std::vector<LinkId> most_used_links(const Cluster& cluster, const AllToAllResult& result, std::size_t count);

std::string network_table(const NetworkReport& report, const Cluster& cluster);

/// metrics, links, over the contract's frame; the caller adds inputs.
Json network_json(const NetworkReport& report, const Cluster& cluster);

/// CSV: src,dst,bytes,finish_s.
std::string flow_times_csv(const AllToAllResult& result);
/// CSV: link,begin_s,end_s,use, a line for each slot of each link that carried anything.
std::string link_use_csv(const AllToAllResult& result, const Cluster& cluster);

}  // namespace moesim
