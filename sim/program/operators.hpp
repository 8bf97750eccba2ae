#pragma once

#include <cstdint>
#include <vector>

#include "models/architecture/architecture.hpp"
#include "models/kernels/precision.hpp"
#include "sim/program/program.hpp"

/// From a layer's shape to the kernels that serving systems run for it on one rank.
namespace moesim {

struct OperatorKernel {
  StepOperator op;
  Kernel kernel;
  std::uint32_t repeat = 1;
};
using KernelList = std::vector<OperatorKernel>;

/// Prompts are computed whole; generation adds one token to each sequence, or one and drafts that it verifies, and runs
/// latent attention absorbed.
enum class StepPhase { kPrefill, kDecode };

/// What one attention group (the tensor-parallel ranks that share sequences) computes in a step: `query` new tokens
/// of each of `sequences`, attending over `keys` tokens each, the new ones included.
struct BatchShape {
  std::int64_t sequences = 0;
  std::int64_t query = 0;
  std::int64_t keys = 0;
  StepPhase phase = StepPhase::kDecode;
  Mask mask = Mask::kCausal;
  [[nodiscard]] std::int64_t tokens() const { return sequences * query; }
};

/// Shapes shared by all operators of a run.
struct OperatorContext {
  int hidden = 0;
  int tensor_parallel = 1;
  Precision precision;
  DataType weights = DataType::kBf16;
  DataType expert_weights = DataType::kBf16;
  int compute_capability = 0;  ///< the GPU's, CUDA's times ten; 0: none
};

/// RMSNorm with the residual add fused: reads and writes [tokens, hidden] of both.
OperatorKernel norm_kernel(const OperatorContext& context, std::int64_t tokens);
/// Attention or recurrence with its projections, for one rank of the group: heads are split over the group.
KernelList mixer_kernels(const OperatorContext& context, const Mixer& mixer, const BatchShape& batch);
/// Attention to an encoder's output of `batch.keys` tokens, whose keys and values are cached.
KernelList cross_attention_kernels(const OperatorContext& context, const GroupedQueryAttention& attention,
                                   const BatchShape& batch);
/// A dense feed-forward block, its inner width split over the group.
KernelList dense_kernels(const OperatorContext& context, const DenseFeedForward& dense, std::int64_t tokens);
/// Scores [tokens, experts] and the choice of experts.
KernelList router_kernels(const OperatorContext& context, const MixtureOfExperts& moe, std::int64_t tokens);
/// How the rows came to a rank, and from how many tokens that were sent to it alone.
struct ExpertArrival {
  ExpertLayout layout = ExpertLayout::kSorted;
  std::int64_t tokens = 0;
};
/// The rank's routed experts over the rows that arrived, [local experts]; `ways`: ranks that share the inner width.
KernelList expert_kernels(const OperatorContext& context, const MixtureOfExperts& moe, std::vector<std::int64_t> rows,
                          const ExpertArrival& arrival, int ways = 1);
/// The shared experts (or dense residual) over so many tokens; `ways`: ranks that share the inner width.
KernelList shared_expert_kernels(const OperatorContext& context, const MixtureOfExperts& moe, std::int64_t tokens,
                                 int ways = 1);
/// Copying `tokens` that a rank has into the `rows` of its experts, in the type that the experts take, and summing
/// the rows back to one result per token, in the type that is sent back. Low-latency dispatch delivers rows as they
/// are wanted, and needs neither.
OperatorKernel permute_kernel(const OperatorContext& context, std::int64_t tokens, std::int64_t rows, DataType arrived);
OperatorKernel unpermute_kernel(const OperatorContext& context, std::int64_t tokens, std::int64_t rows, DataType sent);
/// Activations [tokens, hidden] to the narrower type in which they are sent; nothing where the types are one.
KernelList quantise_kernels(const OperatorContext& context, std::int64_t tokens, DataType to);
/// Keys and values of an encoder's output for one decoder layer's cross-attention, made once per prompt.
KernelList cross_cache_kernels(const OperatorContext& context, const GroupedQueryAttention& attention,
                               std::int64_t tokens);
OperatorKernel embedding_kernel(const OperatorContext& context, std::int64_t tokens);
/// Final norm, logits [tokens, vocabulary/tensor_parallel] and greedy or top-p sampling over them.
KernelList head_kernels(const OperatorContext& context, int vocabulary, std::int64_t tokens);
/// Which of the sampled `tokens` agree with the drafts that they were computed from, sequence by sequence.
OperatorKernel verification_kernel(std::int64_t tokens, std::int64_t sequences);
/// What a module of multi-token prediction takes in (DeepSeek-V3 report, arXiv 2412.19437, section 2.2, equation 21):
/// norms over the token's embedding and the hidden state behind it, put side by side and projected, [2·hidden, hidden].
/// Neither split over the group nor quantised (SGLang, models/deepseek_nextn.py and qwen3_5_mtp.py: nn.Linear).
KernelList draft_input_kernels(const OperatorContext& context, std::int64_t tokens);

}  // namespace moesim
