#include <algorithm>
#include <cmath>

#include "models/memory/memory.hpp"
#include "sim/core/quantity.hpp"

/// DeepEP's buffers, after csrc/config.hpp (deepseek-ai/DeepEP@030cdf0).
namespace moesim {
namespace {

double aligned(double size) { return std::ceil(size / 128.0) * 128.0; }

/// Physical experts of the layer that has most, over all ranks.
double physical_experts(const MemoryRequest& request) {
  const auto most = std::max_element(request.expert_slots.begin(), request.expert_slots.end());
  return most == request.expert_slots.end() ? 0.0 : static_cast<double>(*most) * request.expert_ranks;
}

/// get_low_latency_rdma_size_hint, with T = max_dispatch_tokens, E physical experts, h hidden, s = h/128 scales:
///   dispatch message d = 16 + max(2·h, h + 4·s),  combine message c = 4·s + 2·h
///   send = max(T·d, E·T·c),  receive = E·T·max(d, c),  flags = 8·E + 4·E/ranks
///   total = 2·(send + receive + flags), for odd and even steps, or for two micro-batches. V3, T = 128, 256 experts:
///   1.9 GB.
Bytes low_latency_buffers(const MemoryRequest& request) {
  const auto tokens = static_cast<double>(request.max_dispatch_tokens);
  const double experts = physical_experts(request);
  const double hidden = request.model.architecture().hidden;
  const double scales = std::floor(hidden / 128.0);
  const double dispatch = 16.0 + std::max(2.0 * hidden, hidden + 4.0 * scales);
  const double combine = 4.0 * scales + 2.0 * hidden;
  const double send = std::max(tokens * dispatch, experts * tokens * combine);
  const double receive = experts * tokens * std::max(dispatch, combine);
  const double flags = aligned(8.0 * experts + 4.0 * experts / request.expert_ranks);
  return bytes(2.0 * (send + receive + flags));
}

/// get_nvl_buffer_size_hint and get_rdma_buffer_size_hint with the sizes that DeepEP's own configurations reach:
/// 20 SMs = 10 channels, 288 tokens per NVLink chunk, 128 per network chunk, 8 GPUs a node; per token 2·h bytes and
/// 8 of source, 128·(8 + 4) of top-k ids and weights, 128·4 of scales. The network's are kept twice, with 16 bytes
/// more per token and 1 MiB. They do not grow with the batch.
Bytes high_throughput_buffers(const MemoryRequest& request) {
  constexpr double kChannels = 10.0;
  constexpr double kNvlinkTokens = 288.0;
  constexpr double kNetworkTokens = 128.0;
  constexpr double kNvlinkPeers = 8.0;
  const double token = 2.0 * request.model.architecture().hidden + 8.0 + 128.0 * 12.0 + 128.0 * 4.0;
  const double ranks = request.expert_ranks;
  const double nodes = std::max(1.0, std::floor(ranks / kNvlinkPeers));
  const double peers = std::min(ranks, kNvlinkPeers);
  double total = aligned(kChannels * peers * ((2.0 * nodes + 3.0) * 4.0 + kNvlinkTokens * token));
  if (ranks > kNvlinkPeers) {
    total += aligned(kChannels * nodes * ((kNvlinkPeers * 2.0 + 2.0) * 8.0 + kNetworkTokens * (token + 16.0) * 2.0) +
                     1048576.0);
  }
  return bytes(total);
}

/// Two tensors [ranks·tokens, hidden]: gathered, and to be scattered; of each micro-batch.
Bytes gathered_buffers(const MemoryRequest& request) {
  const double tokens = static_cast<double>(request.max_dispatch_tokens) * request.expert_ranks * request.micro_batches;
  return tokens * request.model.architecture().hidden *
         (activation_element_size(request.precision.dispatch) + activation_element_size(request.precision.combine));
}

}  // namespace

Bytes communication_buffer_bytes(const MemoryRequest& request) {
  if (request.model.moe_layers() == 0 || request.expert_ranks == 1) {
    return {};
  }
  switch (request.exchange) {
    case ExpertExchange::kNone:
      return {};
    case ExpertExchange::kHighThroughput:
      return high_throughput_buffers(request);
    case ExpertExchange::kGathered:
      return gathered_buffers(request);
    case ExpertExchange::kLowLatency:
      return low_latency_buffers(request);
  }
  return {};
}

}  // namespace moesim
