#pragma once

#include <array>
#include <cstddef>
#include <optional>
#include <span>
#include <string_view>
#include <utility>

#include "sim/program/collective.hpp"
#include "sim/program/traffic.hpp"

/// How the tokens of a MoE layer get to their experts, and the results back.
namespace moesim {

enum class DispatchProtocol {
  kDeepEpLowLatency,
  kPerGpu,
  kDeepEpNormal,
  kNaive,
  kOneSided,
  kAllGather,
  kHierarchical,
  kAllReduce,
};
template <>
struct EnumNames<DispatchProtocol> {
  static constexpr auto names = std::to_array<std::pair<DispatchProtocol, std::string_view>>(
      {{DispatchProtocol::kDeepEpLowLatency, "deepep-low-latency"},
       {DispatchProtocol::kPerGpu, "per-gpu"},
       {DispatchProtocol::kDeepEpNormal, "deepep-normal"},
       {DispatchProtocol::kNaive, "naive"},
       {DispatchProtocol::kOneSided, "nvlink-one-sided"},
       {DispatchProtocol::kAllGather, "all-gather"},
       {DispatchProtocol::kHierarchical, "hierarchical-2d"},
       {DispatchProtocol::kAllReduce, "all-reduce"}});
};

/// One row of the table of protocols, which `moesim list protocols` shows.
struct DispatchEntry {
  DispatchProtocol protocol;
  std::string_view summary;
  std::string_view source;
};
std::span<const DispatchEntry> dispatch_protocols();

struct DispatchPlan {
  const Cluster* cluster = nullptr;
  DispatchProtocol protocol = DispatchProtocol::kDeepEpLowLatency;
  std::optional<int> units = std::nullopt;  ///< compute units for it; absent: what the profile says
  double token_bytes = 0.0;                 ///< of one token's row
  ExchangeKernels kernels = ExchangeKernels::kBeside;
};

/// Why a protocol cannot run on so many ranks; empty where it can.
std::string_view dispatch_obstacle(DispatchProtocol protocol, const Cluster& cluster, std::size_t ranks);

/// What every rank does to dispatch (home rank → experts), and to combine, the same the other way round. Every rank
/// notifies every other even when it has nothing for it: receivers wait for all counts.
CollectivePhases dispatch_phases(const LayerTraffic& traffic, const DispatchPlan& plan);
CollectivePhases combine_phases(const LayerTraffic& traffic, const DispatchPlan& plan);

/// Whether no token is sent at all: every rank of a tensor-parallel group has all of them, and adds what its own
/// experts make of them to a sum over the group.
bool stays_in_place(DispatchProtocol protocol);

/// Whether a protocol delivers one row per copy, in the order of the experts, so that nothing is to be permuted.
bool delivers_rows(DispatchProtocol protocol);
/// Whether every copy of a token is sent by itself: the sender lays them out by receiver, the receiver by expert, and
/// the sender sums what comes back.
bool sends_copies(DispatchProtocol protocol);
/// Whether it runs collectives of a library, rather than kernels of its own for dispatch and combine.
bool runs_collectives(DispatchProtocol protocol);
/// How what it delivers lies before the experts.
ExpertLayout layout_of(DispatchProtocol protocol);

}  // namespace moesim
