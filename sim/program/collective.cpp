#include "sim/program/collective.hpp"

#include <algorithm>
#include <limits>

#include "models/hardware/hardware.hpp"
#include "sim/core/error.hpp"
#include "sim/program/collective_builders.hpp"
#include "sim/program/torus_box.hpp"

namespace moesim {

namespace {

std::string_view none(const CollectiveGroups&) { return {}; }

std::string_view too_many_pairs(const CollectiveGroups& groups) {
  const double pairs = static_cast<double>(groups.ranks) * static_cast<double>(groups.size);
  return pairs > kMostTransfers ? "so many ranks that all send to each other are more than can be simulated at once"
                                : "";
}

std::string_view crosses_domains(const CollectiveGroups& groups) {
  for (std::size_t first = 0; first < groups.ranks; first += groups.size) {
    if (!groups.cluster->same_scale_up(RankId(first), RankId(first + groups.size - 1))) {
      return "it needs all its ranks in one scale-up domain";
    }
  }
  return {};
}

/// NVLink switches reduce from the third NVSwitch on, that is with Hopper.
std::string_view cannot_reduce_in_switch(const CollectiveGroups& groups) {
  const Accelerator& accelerator = groups.cluster->accelerator();
  if (accelerator.compute_capability.value_or(0) < 90) {
    return "only the NVLink switches of Hopper and later reduce";
  }
  return crosses_domains(groups);
}

std::string_view not_several_nodes(const CollectiveGroups& groups) {
  const std::size_t width = groups.cluster->gpus_per_node();
  return groups.size % width == 0 && groups.size > width ? std::string_view{} : "it needs several whole nodes";
}

std::string_view not_whole_nodes(const CollectiveGroups& groups) {
  const std::size_t width = groups.cluster->gpus_per_node();
  const bool in_node = width % groups.size == 0;
  const bool whole = groups.size % width == 0;
  return in_node || whole ? std::string_view{} : "it needs whole nodes";
}

std::string_view not_by_nodes(const CollectiveGroups& groups) {
  const std::string_view obstacle = not_whole_nodes(groups);
  return obstacle.empty() ? too_many_pairs(groups) : obstacle;
}

/// In a box of a torus, all-to-all by dimension puts the same bytes on the same links as flows from each chip to each
/// other, in n·D messages in place of n^D, which are larger and use links better; of a few bytes it is a little slower.
double unless_by_dimension(const CollectiveGroups& groups) {
  return no_box(groups).empty() ? 0.0 : std::numeric_limits<double>::infinity();
}

/// TensorRT-LLM leaves what does not fit into its workspace to NCCL (tensorrt_llm/plugin/plugin.py,
/// CustomAllReduceHelper.max_workspace_size_auto). On a mesh vLLM's kernels reduce up to 8 MiB, those for ROCm too, of
/// 2, 4, 6 or 8 GPUs (vllm/distributed/device_communicators/custom_all_reduce.py). Under PCIe and on a torus there are
/// none.
double custom_workspace(const CollectiveGroups& groups) {
  constexpr double kTwoRanks = 16e6;
  constexpr double kMoreRanks = 8.4e6;
  const ClusterConfig& config = groups.cluster->config();
  if (!config.graph && config.scale_up.kind == ScaleUpKind::kMesh) {
    return groups.size % 2 == 0 && groups.size <= 8 ? kMoreRanks : 0.0;
  }
  const bool switched = config.graph || config.scale_up.kind == ScaleUpKind::kNvSwitch;
  if (!switched || !groups.cluster->accelerator().compute_capability) {
    return 0.0;
  }
  return groups.size <= 2 ? kTwoRanks : kMoreRanks;
}

constexpr std::string_view kNccl = "NVIDIA/nccl";
constexpr std::string_view kBucket = "Jain, Sabharwal, ICS 2010";

constexpr CollectiveAlgorithm kAlgorithms[] = {
    {Collective::kAllToAll, "pairwise", "every rank sends to every other at once", "NVIDIA/nccl sends and receives",
     pairwise_all_to_all, too_many_pairs, unless_by_dimension},
    {Collective::kAllToAll, "two-level", "all-to-all inside nodes, stride copy, then along each rail",
     "Tutel 2DH, arXiv 2206.03382", two_level_all_to_all, not_by_nodes, unless_by_dimension},
    {Collective::kAllToAll, "pxn", "over NVLink to the GPU on the receiver's rail, which sends for its node",
     "NCCL 2.12, PXN", rail_all_to_all, not_by_nodes, unless_by_dimension},
    {Collective::kAllToAll, "torus", "along each dimension in turn, all links at once, blocks for one row together",
     "Suh, Shin, IEEE TPDS 2001", torus_all_to_all, no_box},
    {Collective::kAllReduce, "ring", "2(n-1) steps of S/n", "Patarasuk, Yuan 2009; NVIDIA/nccl", ring_all_reduce, none},
    {Collective::kAllReduce, "tree", "two binary trees over nodes, chains inside, half of S each",
     "Sanders, Speck, Traeff 2009; NVIDIA/nccl src/graph/trees.cc", tree_all_reduce, none},
    {Collective::kAllReduce, "nvls", "the NVLink switch reduces and multicasts", "NVLink SHARP; NVIDIA/nccl",
     in_switch_all_reduce, cannot_reduce_in_switch},
    {Collective::kAllReduce, "one-shot", "every rank reads all others' S", "TensorRT-LLM custom all-reduce",
     one_shot_all_reduce, crosses_domains, custom_workspace},
    {Collective::kAllReduce, "two-shot", "every rank reduces S/n and hands it to all", "TensorRT-LLM custom all-reduce",
     two_shot_all_reduce, crosses_domains, custom_workspace},
    {Collective::kAllReduce, "hierarchical", "reduce-scatter in nodes, all-reduce along rails, all-gather in nodes",
     "BlueConnect, MLSys 2019", hierarchical_all_reduce, not_several_nodes},
    {Collective::kAllReduce, "torus", "reduced along each dimension in turn, gathered back, all links at once", kBucket,
     torus_all_reduce, no_box},
    {Collective::kAllGather, "torus", "along each dimension in turn, all links at once", kBucket, torus_all_gather,
     no_box},
    {Collective::kReduceScatter, "torus", "along each dimension in turn, all links at once", kBucket,
     torus_reduce_scatter, no_box},
    {Collective::kBroadcast, "torus", "down trees that have no link in common, two for each dimension, in chunks",
     "Faraj et al., HOTI 2009 (Blue Gene/P, rectangular)", torus_broadcast, no_box},
    {Collective::kAllGather, "ring", "n-1 steps of S/n", kNccl, ring_all_gather, none},
    {Collective::kReduceScatter, "ring", "n-1 steps of S/n", kNccl, ring_reduce_scatter, none},
    {Collective::kBroadcast, "ring", "from rank 0 round the rings, in chunks", kNccl, ring_broadcast, none},
    {Collective::kSendRecv, "ring", "every rank sends S to the next", "NVIDIA/nccl-tests sendrecv", ring_send_recv,
     none},
};

}  // namespace

std::span<const CollectiveAlgorithm> collective_algorithms() { return kAlgorithms; }

const CollectiveAlgorithm* find_algorithm(Collective collective, std::string_view name) {
  const auto found = std::find_if(std::begin(kAlgorithms), std::end(kAlgorithms), [&](const auto& algorithm) {
    return algorithm.collective == collective && algorithm.name == name;
  });
  return found == std::end(kAlgorithms) ? nullptr : found;
}

const CollectiveAlgorithm& usual_algorithm(Collective collective, const CollectiveGroups& groups) {
  const CollectiveAlgorithm* found = find_algorithm(collective, no_box(groups).empty() ? "torus" : "ring");
  ensure(found != nullptr, "a collective that goes round rings and by dimension");
  return *found;
}

Exchange collective_exchange(StepOperator op, ProfiledCollective profiled, const CollectiveGroups& groups) {
  Exchange exchange;
  exchange.op = op;
  exchange.collective = profiled;
  exchange.group_size = static_cast<std::uint32_t>(groups.size);
  return exchange;
}

void tell_port_bytes(CollectivePhases& phases, std::size_t ranks) {
  std::vector<double> out(ranks, 0.0);
  std::vector<double> in(ranks, 0.0);
  double busiest = 0.0;
  for (const CollectivePhase& phase : phases) {
    for (const Transfer& transfer : std::get<Exchange>(phase).transfers) {
      busiest =
          std::max({busiest, out[transfer.from.index()] += transfer.bytes, in[transfer.to.index()] += transfer.bytes});
    }
  }
  for (CollectivePhase& phase : phases) {
    std::get<Exchange>(phase).port_bytes = busiest;
  }
}

Program collective_program(CollectivePhases phases, std::size_t ranks) {
  Program program;
  program.stages = 1;
  program.ranks.resize(ranks);
  for (CollectivePhase& phase : phases) {
    if (auto* exchange = std::get_if<Exchange>(&phase)) {
      const auto index = static_cast<std::uint32_t>(program.exchanges.size());
      program.exchanges.push_back(std::move(*exchange));
      for (auto& stream : program.ranks) {
        stream.insert(stream.end(), {Send{index}, Receive{index}});
      }
      continue;
    }
    auto& kernels = std::get<std::vector<Kernel>>(phase);
    for (std::size_t rank = 0; rank < ranks; ++rank) {
      program.ranks[rank].emplace_back(
          RunKernel{static_cast<std::uint32_t>(program.kernels.size()), StepOperator::kPermute, 0, 1});
      program.kernels.push_back(std::move(kernels[rank]));
    }
  }
  return program;
}

}  // namespace moesim
