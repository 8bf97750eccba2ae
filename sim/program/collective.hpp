#pragma once

#include <array>
#include <cstddef>
#include <span>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "sim/program/program.hpp"
#include "topologies/cluster.hpp"

/// Collectives as flows: which rank sends how much to which other, in which order. Sizes follow nccl-tests
/// (NVIDIA/nccl-tests doc/PERFORMANCE.md): S is what a rank has after an all-gather, before a reduce-scatter, sends in
/// an all-to-all (its own part included), and has before and after an all-reduce.
namespace moesim {

enum class Collective { kAllToAll, kAllReduce, kAllGather, kReduceScatter, kBroadcast, kSendRecv };
template <>
struct EnumNames<Collective> {
  static constexpr auto names =
      std::to_array<std::pair<Collective, std::string_view>>({{Collective::kAllToAll, "all_to_all"},
                                                              {Collective::kAllReduce, "all_reduce"},
                                                              {Collective::kAllGather, "all_gather"},
                                                              {Collective::kReduceScatter, "reduce_scatter"},
                                                              {Collective::kBroadcast, "broadcast"},
                                                              {Collective::kSendRecv, "send_recv"}});
};

/// All groups of `size` ranks, each the `stride`-th after the one before (1: neighbours), among ranks 0 … ranks−1 run
/// the same collective at once. Only rings know strides.
struct CollectiveGroups {
  const Cluster* cluster = nullptr;
  std::size_t ranks = 0;
  std::size_t size = 0;
  std::size_t stride = 1;
};

/// One after the other on each rank, which does not wait for others between them beyond what it receives: an exchange,
/// or a kernel of its own, [ranks].
using CollectivePhase = std::variant<Exchange, std::vector<Kernel>>;
using CollectivePhases = std::vector<CollectivePhase>;

/// More transfers than this in one exchange are taken for a slip of the pen.
constexpr double kMostTransfers = 4.3e6;

/// One row of the table of algorithms, which `moesim list collectives` shows.
struct CollectiveAlgorithm {
  Collective collective;
  std::string_view name;
  std::string_view summary;
  std::string_view source;
  CollectivePhases (*build)(const CollectiveGroups& groups, double bytes);
  /// Why it cannot run on these groups; empty where it can.
  std::string_view (*obstacle)(const CollectiveGroups& groups);
  /// What libraries that choose for themselves use it for at most on these groups; nullptr: any size.
  double (*most_bytes)(const CollectiveGroups& groups) = nullptr;

  /// Whether a library would consider it.
  [[nodiscard]] bool eligible(const CollectiveGroups& groups, double bytes) const {
    return obstacle(groups).empty() && (most_bytes == nullptr || bytes <= most_bytes(groups));
  }
};
std::span<const CollectiveAlgorithm> collective_algorithms();
/// nullptr where there is none of that name.
const CollectiveAlgorithm* find_algorithm(Collective collective, std::string_view name);
/// Of all-reduce, all-gather and reduce-scatter: by dimension where groups are boxes of a torus, else round a ring.
const CollectiveAlgorithm& usual_algorithm(Collective collective, const CollectiveGroups& groups);

/// How much detail a ring has: one transfer per rank that pays the latency of every step, or each step by itself. The
/// two take the same time where all hops are alike.
enum class RingDetail { kFolded, kEveryStep };
CollectivePhases ring(StepOperator op, ProfiledCollective profiled, const CollectiveGroups& groups, double bytes,
                      RingDetail detail);

/// Every rank runs the phases, and nothing else.
Program collective_program(CollectivePhases phases, std::size_t ranks);

}  // namespace moesim
