#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "models/kernels/profile.hpp"
#include "sim/core/error.hpp"
#include "sim/core/quantity.hpp"
#include "sim/core/task_pool.hpp"
#include "sim/placement/placement.hpp"
#include "sim/program/dispatch.hpp"
#include "sim/scenario/run.hpp"
#include "topologies/cluster_config.hpp"
#include "workloads/routing/routing_config.hpp"

namespace moesim {

enum class CollectiveOperation {
  kDispatch,
  kCombine,
  kAllToAll,
  kAllReduce,
  kAllGather,
  kReduceScatter,
  kBroadcast,
  kSendRecv
};
template <>
struct EnumNames<CollectiveOperation> {
  static constexpr auto names = std::to_array<std::pair<CollectiveOperation, std::string_view>>(
      {{CollectiveOperation::kDispatch, "dispatch"},
       {CollectiveOperation::kCombine, "combine"},
       {CollectiveOperation::kAllToAll, "all_to_all"},
       {CollectiveOperation::kAllReduce, "all_reduce"},
       {CollectiveOperation::kAllGather, "all_gather"},
       {CollectiveOperation::kReduceScatter, "reduce_scatter"},
       {CollectiveOperation::kBroadcast, "broadcast"},
       {CollectiveOperation::kSendRecv, "send_recv"}});
};

/// The tokens of one MoE layer.
struct TokenLoad {
  std::int64_t tokens = 0;
  std::int64_t hidden = 0;
  std::int64_t experts = 0;
  std::int64_t experts_per_token = 0;
  std::int64_t groups = 1;
  std::int64_t groups_per_token = 1;
  std::int64_t layer = 0;
  DataType dispatch = DataType::kFp8Block;
  DataType combine = DataType::kBf16;

  template <class F>
  static void describe(F& f) {
    f.required("tokens", &TokenLoad::tokens, "Of each rank", Rules::between(1, 1 << 24));
    f.required("hidden", &TokenLoad::hidden, "Width of a token's row", Rules::between(1, 1 << 20));
    f.required("experts", &TokenLoad::experts, "Routed experts, spread over all ranks", Rules::between(1, 65536));
    f.required("experts_per_token", &TokenLoad::experts_per_token, "k of top-k", Rules::between(1, 1024));
    f.optional("groups", &TokenLoad::groups, "Groups that the experts come in", Rules::between(1, 65536));
    f.optional("groups_per_token", &TokenLoad::groups_per_token, "Groups that a token's experts may come from",
               Rules::between(1, 65536));
    f.optional("layer", &TokenLoad::layer, "Which layer of a recorded trace", Rules::between(0, 65535));
    f.optional("dispatch", &TokenLoad::dispatch, "Type in which tokens are sent");
    f.optional("combine", &TokenLoad::combine, "Type in which results are sent back");
  }
};

/// One communication operation by itself.
struct CollectiveScenario {
  CollectiveOperation operation = CollectiveOperation::kDispatch;
  ClusterChoice cluster;
  ProfileChoice kernels;
  std::int64_t ranks = 0;
  std::string protocol = "auto";
  std::optional<Bytes> size;
  std::optional<TokenLoad> load;
  RoutingConfig routing = UniformRouting{};
  PlacementConfig placement;
  std::optional<int> communication_units;
  std::uint64_t seed = 1;

  static constexpr std::string_view kDoc = "One communication operation by itself";
  template <class F>
  static void describe(F& f) {
    f.required("operation", &CollectiveScenario::operation, "What is run");
    f.required("cluster", &CollectiveScenario::cluster, "`moesim list clusters` or a moesim.cluster/1 file");
    f.optional("kernels", &CollectiveScenario::kernels, "`moesim list profiles` or a moesim.profile/1 file");
    f.required("ranks", &CollectiveScenario::ranks, "GPUs that take part", Rules::between(2, 1 << 20));
    f.optional("protocol", &CollectiveScenario::protocol,
               "`moesim list protocols` for dispatch and combine, else `moesim list collectives`; auto: the fastest");
    f.optional("size", &CollectiveScenario::size, "S as nccl-tests has it; not for dispatch and combine",
               Rules::above_zero());
    f.optional("load", &CollectiveScenario::load, "Tokens, for dispatch and combine");
    f.optional("routing", &CollectiveScenario::routing, "Which experts the tokens choose");
    f.optional("placement", &CollectiveScenario::placement, "Which experts live where");
    f.optional("communication_units", &CollectiveScenario::communication_units,
               "SMs of dispatch and combine kernels that keep some; absent: what the profile says",
               Rules::between(1, 4096));
    f.optional("seed", &CollectiveScenario::seed, "Of every random draw");
  }
};
extern template struct DescribedCodec<CollectiveScenario>;

/// What one operation took, and where the time went. The parts are those of the rank that ends last, and add up.
struct CollectiveResult {
  CollectiveScenario scenario;
  ClusterConfig cluster;
  std::string accelerator;
  std::string protocol;  ///< the one that ran
  std::string variant;   ///< protocol of the library, where it has several
  Duration time;
  Duration launch;        ///< the kernels' fixed time
  Duration notify;        ///< exchange of counts
  Duration local;         ///< copies within a rank, beside no transfer
  Duration latency;       ///< paths and steps
  Duration transfer;      ///< bytes on the links
  Duration wait;          ///< for a rank that has not sent yet
  Bytes size;             ///< S; for dispatch and combine what a rank sends others, hops included, on average
  double bus_factor = 1;  ///< bus bandwidth over algorithm bandwidth
  /// Dispatch and combine: rows that one rank's tokens need, one for each rank (in one scale-up domain) or node (over
  /// several) that a token has experts on, its own included; the mean over ranks.
  double rows_per_rank = 0.0;
  std::string routing_provenance;
  std::vector<std::string> link_names;  ///< [links]
  std::vector<Bandwidth> link_capacity;
  std::vector<std::string> warnings;
  std::vector<InputFile> inputs;
  Execution execution;
};

/// Throws ConfigError or ModelError. `place` is where the scenario stands.
CollectiveResult run_collective(const CollectiveScenario& scenario, const Place& place, const TaskPool& pool);

}  // namespace moesim
