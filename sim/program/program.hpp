#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "models/kernels/communication.hpp"
#include "models/kernels/kernel.hpp"
#include "sim/config/describe.hpp"
#include "sim/core/id.hpp"

/// A step of a model as what each GPU does in order, like the streams of a real run: kernels, sends and receives.
/// Nothing here knows how long anything takes.
namespace moesim {

/// What a kernel or an exchange is for: the rows of the result's table of operators.
enum class StepOperator {
  kEmbedding,
  kNorm,
  kAttentionProjection,
  kIndexer,
  kAttention,
  kAttentionOutput,
  kRecurrence,
  kRouter,
  kPermute,
  kDispatch,
  kExperts,
  kSharedExperts,
  kCombine,
  kDenseFeedForward,
  kReduceScatter,
  kAllGather,
  kAllReduce,
  kAllToAll,
  kBroadcast,
  kSendRecv,
  kLmHead,
  kSampling,
  kVerification,
  kDraftInput,
};
template <>
struct EnumNames<StepOperator> {
  static constexpr auto names = std::to_array<std::pair<StepOperator, std::string_view>>({
      {StepOperator::kEmbedding, "embedding"},
      {StepOperator::kNorm, "norm"},
      {StepOperator::kAttentionProjection, "attention projections"},
      {StepOperator::kIndexer, "indexer"},
      {StepOperator::kAttention, "attention"},
      {StepOperator::kAttentionOutput, "attention output"},
      {StepOperator::kRecurrence, "recurrence"},
      {StepOperator::kRouter, "router"},
      {StepOperator::kPermute, "permute"},
      {StepOperator::kDispatch, "dispatch"},
      {StepOperator::kExperts, "experts"},
      {StepOperator::kSharedExperts, "shared experts"},
      {StepOperator::kCombine, "combine"},
      {StepOperator::kDenseFeedForward, "dense feed-forward"},
      {StepOperator::kReduceScatter, "reduce-scatter"},
      {StepOperator::kAllGather, "all-gather"},
      {StepOperator::kAllReduce, "all-reduce"},
      {StepOperator::kAllToAll, "all-to-all"},
      {StepOperator::kBroadcast, "broadcast"},
      {StepOperator::kSendRecv, "send-receive"},
      {StepOperator::kLmHead, "LM head"},
      {StepOperator::kSampling, "sampling"},
      {StepOperator::kVerification, "verification"},
      {StepOperator::kDraftInput, "module input"},
  });
};

/// Which of the profile's terms an exchange has: those of a dispatch protocol, or of Exchange::collective.
enum class Protocol { kLowLatency, kHighThroughput, kCollective };

/// Bytes on their way from one rank's GPU to another's. It starts when every starter has sent, and `to` waits for it.
/// From a rank to itself: what the exchange's kernels read or sum of the rank's own, which takes no link.
struct Transfer {
  RankId from;
  RankId to;
  double bytes = 0.0;               ///< payload; 0 for a bare notification, which costs latency only
  std::uint32_t first_starter = 0;  ///< in Exchange::starters
  std::uint32_t starter_count = 0;
  std::uint32_t steps = 1;  ///< sent in so many equal parts, each of which waits for what the rank before has sent
};

/// Whether an exchange begins with its kernel's fixed time, or goes on in a kernel that runs already.
enum class ExchangeStart { kLaunch, kContinue };

/// What carries an exchange on a rank.
enum class ExchangeKernels {
  /// One kernel beside those of the compute stream, from the rank's Send until it is through. Dispatch and combine have
  /// one stream for it, and wait there for those before them (deepseek-ai/DeepEP, csrc/deep_ep.cpp, comm_stream).
  kBeside,
  /// The same where another micro-batch computes all the while, which slows the transfers.
  kBesideOther,
  /// One on the compute stream that sends, and one that receives; between them nothing runs (return_recv_hook of
  /// DeepEP's low-latency kernels).
  kSendAndReceive,
};

/// One all-to-all, or the same collective of several groups of ranks at once. Each rank takes part with one Send and
/// one Receive; Receive returns when all transfers to the rank have arrived.
struct Exchange {
  StepOperator op = StepOperator::kDispatch;
  Protocol protocol = Protocol::kCollective;
  ProfiledCollective collective = ProfiledCollective::kAllToAll;
  ExchangeStart start = ExchangeStart::kLaunch;
  ExchangeKernels kernels = ExchangeKernels::kBeside;
  std::uint32_t stage = 0;
  std::uint8_t micro_batch = 0;
  std::uint32_t group_size = 0;  ///< ranks of one group
  std::uint32_t experts = 0;     ///< of a dispatch or combine
  double message_bytes = 0.0;    ///< of one token's row, in a dispatch or combine
  double local_bytes = 0.0;      ///< that each rank copies within itself, one after the other with the rest
  /// Of a collective in several exchanges: what leaves or enters its busiest rank in all of them; 0: in this one.
  double port_bytes = 0.0;
  std::optional<int> units = std::nullopt;  ///< compute units that the kernels use; absent: what the profile says
  std::vector<Transfer> transfers;
  std::vector<RankId> starters;
  /// Hops of one path: `then` has arrived only when its own bytes and all of `first` have, and has the latency of all.
  /// Chunks are forwarded as they come, so that the hops run side by side. `first` < `then`.
  struct Order {
    std::uint32_t first;
    std::uint32_t then;
  };
  std::vector<Order> orders;

  /// Both return the transfer's index.
  std::uint32_t add(RankId from, RankId to, double bytes) { return add(from, to, bytes, std::span(&from, 1)); }
  std::uint32_t add(RankId from, RankId to, double bytes, std::span<const RankId> starting_ranks);

  [[nodiscard]] std::span<const RankId> starters_of(const Transfer& transfer) const {
    return std::span(starters).subspan(transfer.first_starter, transfer.starter_count);
  }
};

/// Stages and micro-batches are for what is recorded of a run. Micro-batch 0 is the whole batch, 1 and 2 its parts.
struct RunKernel {
  std::uint32_t kernel;  ///< in Program::kernels
  StepOperator op;
  std::uint32_t stage;
  std::uint32_t repeat;  ///< one after the other
  std::uint8_t micro_batch = 0;
};
struct Send {
  std::uint32_t exchange;
};
struct Receive {
  std::uint32_t exchange;
};
using Instruction = std::variant<RunKernel, Send, Receive>;

/// Stage 0 is what comes before the first layer, stage l+1 is layer l, the stage after the last layer is the head, and
/// those after it are passes that draft tokens, one each.
struct Program {
  std::vector<Kernel> kernels;  ///< each may run many times, on many ranks
  std::vector<Exchange> exchanges;
  std::vector<std::vector<Instruction>> ranks;  ///< [ranks], in order
  std::uint32_t stages = 0;
};

/// What a program does in the stages from `first` to `last`, both included. Kernels, exchanges and stages keep their
/// numbers.
Program stages_of(const Program& program, std::uint32_t first, std::uint32_t last);

}  // namespace moesim
