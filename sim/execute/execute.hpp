#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "models/kernels/communication.hpp"
#include "models/kernels/kernel.hpp"
#include "sim/core/quantity.hpp"
#include "sim/core/time.hpp"
#include "sim/execute/fidelity.hpp"
#include "sim/program/program.hpp"
#include "topologies/cluster.hpp"

namespace moesim {

/// What a stretch of a rank's time went to. Every tick of every rank has exactly one.
enum class TimeCategory {
  kCompute,            ///< kernels held back by the tensor cores
  kMemory,             ///< kernels held back by HBM
  kOverhead,           ///< kernels held back by launch and fixed latency
  kExposedDispatch,    ///< waiting for tokens that all have sent or queued; kernels that only send or receive
  kExposedCombine,     ///< the same of results
  kExposedCollective,  ///< the same in tensor-parallel collectives
  kImbalanceWait,      ///< waiting for a rank that has not sent yet, or for the last rank to finish the step
  kBubble,             ///< nothing to do in a pipeline schedule
};
template <>
struct EnumNames<TimeCategory> {
  static constexpr auto names = std::to_array<std::pair<TimeCategory, std::string_view>>(
      {{TimeCategory::kCompute, "compute"},
       {TimeCategory::kMemory, "HBM-bound"},
       {TimeCategory::kOverhead, "overhead"},
       {TimeCategory::kExposedDispatch, "exposed dispatch"},
       {TimeCategory::kExposedCombine, "exposed combine"},
       {TimeCategory::kExposedCollective, "exposed collective"},
       {TimeCategory::kImbalanceWait, "imbalance wait"},
       {TimeCategory::kBubble, "bubble"}});
};
inline constexpr std::size_t kTimeCategories = EnumNames<TimeCategory>::names.size();

/// A stretch of one rank's time.
struct Segment {
  SimTime begin;
  SimTime end;
  TimeCategory category = TimeCategory::kCompute;
  StepOperator op = StepOperator::kEmbedding;
  std::uint32_t stage = 0;
  std::uint8_t micro_batch = 0;  ///< 0: of the whole batch
};

/// What happened when a program ran.
struct Execution {
  SimTime end;
  std::vector<std::vector<Segment>> timeline;  ///< [ranks], gapless from 0 to end
  std::vector<SimTime> stage_end;              ///< [stages]: when the last rank finished it
  std::vector<double> link_bytes;              ///< [links]: payload carried
  Flops work;                                  ///< all ranks
  Duration peak_time;                          ///< Σ kernels' work / peak rate of their type, all ranks
  Bytes traffic;                               ///< HBM, all ranks
  double bytes_intra_node = 0.0;               ///< payload between GPUs of one scale-up domain, each hop once
  double bytes_inter_node = 0.0;               ///< payload that crossed the network
  std::uint64_t events = 0;
  /// With Fidelity::kBound: by what part of its time with sharing a stretch of the program is longer than without.
  struct Distance {
    std::uint32_t first = 0;  ///< its stages: from the first to the second layer that exchanges anything
    std::uint32_t last = 0;
    double longer = 0.0;
  };
  std::optional<Distance> distance = std::nullopt;
  std::vector<std::string> warnings;  ///< kernels and collectives whose cost is an extrapolation
};

/// Runs a program on a cluster: rank r on GPU r. Transfers share links and communication units under exact max-min
/// fairness (sim/fluid); time advances from event to event. An exchange that starts as one before did, bytes and times
/// alike, is not solved again.
///
/// A kernel of stand-alone time T takes traffic/T of the HBM bandwidth, and of the SMs what the profile's contention
/// says. A rank runs one at a time, beside kernels of communication that come and go: its rate follows what these leave
/// (compute_streams.hpp). A transfer takes b/efficiency of each link on its route for b bytes of payload, and of its
/// sender's communication units what the profile says; it starts when all its starters have sent and the protocol's
/// fixed time and the latency of the path have passed. A rank's dispatches and combines run one after another on its
/// communication stream. A protocol whose kernels keep compute units and HBM bandwidth takes them from a rank's Send,
/// or when the stream is free, until all to the rank has arrived and all from it is sent, or its Receive has ended.
/// Kernels that only send or receive run on the compute stream, alone (ExchangeKernels). What transfers take of the HBM
/// beyond that share is left out: at most a NIC's or NVLink port's share of it.
///
/// With Fidelity::kBound no transfer shares with another: each link and each rank's communication units work by
/// themselves through what is sent over them (bound_network.hpp). Kernels run as ever. What that leaves out is found by
/// running the first layers with sharing, too.
///
/// Throws ModelError when a time is out of range.
Execution execute(const Program& program, const Cluster& cluster, const CostModel& costs,
                  const CommunicationProfile& communication, Fidelity fidelity = Fidelity::kFlow);

}  // namespace moesim
