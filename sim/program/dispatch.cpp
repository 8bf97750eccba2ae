#include "sim/program/dispatch.hpp"

#include <algorithm>
#include <utility>

#include "sim/program/dispatch_builders.hpp"

namespace moesim {

namespace {

constexpr DispatchEntry kProtocols[] = {
    {DispatchProtocol::kDeepEpLowLatency, "every copy straight to its expert's rank, also several of one token",
     "deepseek-ai/DeepEP low-latency kernels"},
    {DispatchProtocol::kPerGpu, "a token once to each rank that has experts for it",
     "deepseek-ai/DeepEP normal kernels inside a node"},
    {DispatchProtocol::kDeepEpNormal, "a token once to each node, along the rail, then over NVLink once to each rank",
     "deepseek-ai/DeepEP normal kernels"},
    {DispatchProtocol::kNaive, "every copy by itself in an uneven all-to-all of NCCL",
     "Megatron-LM alltoall dispatcher"},
    {DispatchProtocol::kOneSided, "a token stored once in each rank's memory, all ranks in one scale-up domain",
     "TensorRT-LLM NVLinkOneSided"},
    {DispatchProtocol::kAllGather, "all-gather of all tokens, reduce-scatter of all results",
     "vLLM allgather_reducescatter"},
    {DispatchProtocol::kHierarchical, "copies inside nodes to the rail, stride copy, then along the rail",
     "Tutel 2DH, arXiv 2206.03382"},
    {DispatchProtocol::kAllReduce,
     "none is sent: tensor-parallel ranks have all tokens, and sum what their experts make of them",
     "vLLM, SGLang and TensorRT-LLM without data-parallel attention"},
};

Protocol terms_of(DispatchProtocol protocol) {
  switch (protocol) {
    case DispatchProtocol::kDeepEpLowLatency:
    case DispatchProtocol::kOneSided:
      return Protocol::kLowLatency;
    case DispatchProtocol::kPerGpu:
    case DispatchProtocol::kDeepEpNormal:
      return Protocol::kHighThroughput;
    case DispatchProtocol::kNaive:
    case DispatchProtocol::kAllGather:
    case DispatchProtocol::kHierarchical:
    case DispatchProtocol::kAllReduce:
      break;
  }
  return Protocol::kCollective;
}

/// In place of a list in braces, which would copy all transfers.
CollectivePhases only(Exchange exchange) {
  CollectivePhases phases;
  phases.emplace_back(std::move(exchange));
  return phases;
}

}  // namespace

std::span<const DispatchEntry> dispatch_protocols() { return kProtocols; }

bool stays_in_place(DispatchProtocol protocol) { return protocol == DispatchProtocol::kAllReduce; }

bool delivers_rows(DispatchProtocol protocol) { return protocol == DispatchProtocol::kDeepEpLowLatency; }

bool runs_collectives(DispatchProtocol protocol) {
  return terms_of(protocol) == Protocol::kCollective && !stays_in_place(protocol);
}

bool sends_copies(DispatchProtocol protocol) {
  return protocol == DispatchProtocol::kNaive || protocol == DispatchProtocol::kHierarchical;
}

ExpertLayout layout_of(DispatchProtocol protocol) {
  switch (protocol) {
    case DispatchProtocol::kDeepEpLowLatency:
      return ExpertLayout::kMasked;
    case DispatchProtocol::kPerGpu:
    case DispatchProtocol::kDeepEpNormal:
      return ExpertLayout::kContiguous;
    default:
      return ExpertLayout::kSorted;
  }
}

std::string_view dispatch_obstacle(DispatchProtocol protocol, const Cluster& cluster, std::size_t ranks) {
  if (protocol == DispatchProtocol::kOneSided && !cluster.same_scale_up(RankId(0), RankId(ranks - 1))) {
    return "it needs all ranks in one scale-up domain";
  }
  if (stays_in_place(protocol)) {
    return "it dispatches nothing: it is a way to run a step, where tensor_parallel is all ranks";
  }
  return {};
}

RankId relay_in(const Cluster& cluster, std::size_t from, std::size_t node, std::size_t ranks) {
  const std::size_t first = node * cluster.gpus_per_node();
  const std::size_t last = std::min(first + cluster.gpus_per_node(), ranks) - 1;
  return RankId(std::min(first + from % cluster.gpus_per_node(), last));
}

Exchange token_exchange(StepOperator op, const LayerTraffic& traffic, const DispatchPlan& plan) {
  Exchange exchange;
  exchange.op = op;
  exchange.protocol = terms_of(plan.protocol);
  exchange.collective = ProfiledCollective::kAllToAll;
  exchange.group_size = static_cast<std::uint32_t>(traffic.ranks);
  exchange.experts = static_cast<std::uint32_t>(traffic.experts);
  exchange.message_bytes = plan.token_bytes;
  exchange.units = plan.units;
  exchange.kernels = plan.kernels;
  return exchange;
}

CollectivePhases dispatch_phases(const LayerTraffic& traffic, const DispatchPlan& plan) {
  switch (plan.protocol) {
    case DispatchProtocol::kAllGather:
      return gathered_dispatch(traffic, plan);
    case DispatchProtocol::kHierarchical:
      return hierarchical_dispatch(traffic, plan);
    default:
      return only(forwarded_dispatch(traffic, plan));
  }
}

CollectivePhases combine_phases(const LayerTraffic& traffic, const DispatchPlan& plan) {
  switch (plan.protocol) {
    case DispatchProtocol::kAllGather:
      return scattered_combine(traffic, plan);
    case DispatchProtocol::kHierarchical:
      return hierarchical_combine(traffic, plan);
    default:
      return only(forwarded_combine(traffic, plan));
  }
}

}  // namespace moesim
