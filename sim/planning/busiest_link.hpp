#pragma once

#include <vector>

#include "models/kernels/communication.hpp"
#include "models/kernels/kernel.hpp"
#include "sim/program/program.hpp"
#include "topologies/cluster.hpp"

namespace moesim {

struct BusiestLinkTime {
  double time = 0.0;  ///< s
  double bytes_intra_node = 0.0;
  double bytes_inter_node = 0.0;
  std::vector<double> link_bytes;  ///< [links]: payload carried
};

/// A program's time without sharing: kernels run alone, and an exchange takes its fixed time, its longest latency
/// and the time of its busiest link, max over links of Σ bytes · share / (capacity · efficiency), from the moment when
/// the last rank has sent.
/// Nobody goes on before that. Much faster than execute(), which lets transfers share links from event to event.
BusiestLinkTime busiest_link_time(const Program& program, const Cluster& cluster, const CostModel& costs,
                                  const CommunicationProfile& communication);

}  // namespace moesim
