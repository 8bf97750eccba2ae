#include "sim/program/operators.hpp"

#include <algorithm>

#include "sim/core/quantity.hpp"
#include "sim/program/operator_parts.hpp"

namespace moesim {

namespace {

/// SwiGLU, GEGLU or a plain activation between the two GEMMs of a feed-forward block, with the quantisation of its
/// output for the second.
OperatorKernel activation_kernel(const OperatorContext& context, StepOperator op, DataType weight, std::int64_t rows,
                                 std::int64_t width, std::int64_t up_matrices) {
  return {op, Streaming{elements(rows * width * up_matrices, context.precision.activations),
                        elements(rows * width, input_type(context, weight)),
                        flops(5.0 * static_cast<double>(rows * width))}};
}

KernelList feed_forward(const OperatorContext& context, StepOperator op, std::int64_t rows, std::int64_t width,
                        std::int64_t up_matrices) {
  if (rows == 0 || width == 0) {
    return {};
  }
  return {{op, gemm(context, rows, width * up_matrices, context.hidden)},
          activation_kernel(context, op, context.weights, rows, width, up_matrices),
          {op, gemm(context, rows, context.hidden, width)}};
}

}  // namespace

OperatorKernel norm_kernel(const OperatorContext& context, std::int64_t tokens) {
  const Bytes rows = elements(tokens * context.hidden, context.precision.activations);
  return {StepOperator::kNorm,
          Streaming{2.0 * rows, 2.0 * rows, flops(6.0 * static_cast<double>(tokens * context.hidden))}};
}

KernelList dense_kernels(const OperatorContext& context, const DenseFeedForward& dense, std::int64_t tokens) {
  return feed_forward(context, StepOperator::kDenseFeedForward, tokens,
                      split(dense.intermediate, context.tensor_parallel), dense.gated ? 2 : 1);
}

KernelList router_kernels(const OperatorContext& context, const MixtureOfExperts& moe, std::int64_t tokens) {
  // Routers run in bf16 or wider whatever the precision of the rest (Switch, arXiv 2101.03961, section 2.4).
  Gemm scores = gemm(context, tokens, moe.experts, context.hidden);
  scores.weight = context.precision.embedding;
  scores.activation = DataType::kFp32;
  const double cells = static_cast<double>(tokens) * moe.experts;
  const double chosen = static_cast<double>(tokens) * moe.experts_per_token;
  return {{StepOperator::kRouter, scores},
          {StepOperator::kRouter, Streaming{bytes(4.0 * cells), bytes(8.0 * chosen), flops(5.0 * cells)}}};
}

KernelList expert_kernels(const OperatorContext& context, const MixtureOfExperts& moe, std::vector<std::int64_t> rows,
                          const ExpertArrival& arrival, int ways) {
  if (std::all_of(rows.begin(), rows.end(), [](std::int64_t count) { return count == 0; })) {
    return {};
  }
  Experts experts{.rows = std::move(rows),
                  .tokens = arrival.tokens,
                  .experts = moe.experts,
                  .experts_per_token = moe.experts_per_token,
                  .hidden = context.hidden,
                  .intermediate = split(moe.intermediate, ways),
                  .up_matrices = moe.gated ? 2 : 1,
                  .weight = context.expert_weights,
                  .activation = context.precision.activations,
                  .layout = arrival.layout};
  if (arrival.layout != ExpertLayout::kContiguous) {
    experts.tokens = tokens_of_all_ranks(experts);
  }
  return {{StepOperator::kExperts, std::move(experts)}};
}

KernelList shared_expert_kernels(const OperatorContext& context, const MixtureOfExperts& moe, std::int64_t tokens,
                                 int ways) {
  KernelList kernels = feed_forward(context, StepOperator::kSharedExperts, tokens, split(moe.shared_intermediate, ways),
                                    moe.gated ? 2 : 1);
  if (moe.shared_gate && !kernels.empty()) {  // [tokens, 1], whose sigmoid the block's output is multiplied with
    const Bytes rows = elements(tokens * context.hidden, context.precision.activations);
    kernels.push_back({StepOperator::kSharedExperts, plain_gemm(context, tokens, 1, context.hidden)});
    kernels.push_back({StepOperator::kSharedExperts,
                       Streaming{rows, rows, flops(2.0 * static_cast<double>(tokens * context.hidden))}});
  }
  return kernels;
}

OperatorKernel permute_kernel(const OperatorContext& context, std::int64_t tokens, std::int64_t rows,
                              DataType arrived) {
  const DataType wanted = input_type(context, context.expert_weights);
  return {StepOperator::kPermute,
          Streaming{elements(tokens * context.hidden, arrived), elements(rows * context.hidden, wanted), flops(0.0)}};
}

OperatorKernel unpermute_kernel(const OperatorContext& context, std::int64_t tokens, std::int64_t rows, DataType sent) {
  return {StepOperator::kPermute,
          Streaming{elements(rows * context.hidden, context.precision.activations),
                    elements(tokens * context.hidden, sent), flops(2.0 * static_cast<double>(rows * context.hidden))}};
}

KernelList quantise_kernels(const OperatorContext& context, std::int64_t tokens, DataType to) {
  const DataType from = context.precision.activations;
  if (to == from || tokens == 0) {
    return {};
  }
  return {
      {StepOperator::kPermute, Streaming{elements(tokens * context.hidden, from), elements(tokens * context.hidden, to),
                                         flops(2.0 * static_cast<double>(tokens * context.hidden))}}};
}

OperatorKernel embedding_kernel(const OperatorContext& context, std::int64_t tokens) {
  const Bytes rows = elements(tokens * context.hidden, context.precision.activations);
  return {StepOperator::kEmbedding, Streaming{rows, rows, flops(0.0)}};
}

KernelList head_kernels(const OperatorContext& context, int vocabulary, std::int64_t tokens) {
  if (vocabulary == 0 || tokens == 0) {
    return {};
  }
  const std::int64_t columns = split(vocabulary, context.tensor_parallel);
  Gemm logits = gemm(context, tokens, columns, context.hidden);
  logits.weight = context.precision.embedding;
  logits.activation = DataType::kFp32;
  const double cells = static_cast<double>(tokens * vocabulary);  // gathered before, where ranks share them
  OperatorKernel norm = norm_kernel(context, tokens);
  norm.op = StepOperator::kLmHead;
  return {norm,
          {StepOperator::kLmHead, logits},
          {StepOperator::kSampling,
           Streaming{bytes(4.0 * cells), bytes(8.0 * static_cast<double>(tokens)), flops(4.0 * cells)}}};
}

OperatorKernel verification_kernel(std::int64_t tokens, std::int64_t sequences) {
  constexpr double kToken = 8.0;  // a 64-bit id
  return {StepOperator::kVerification,
          Streaming{bytes(2.0 * kToken * static_cast<double>(tokens)),
                    bytes(kToken * static_cast<double>(tokens + sequences)), flops(static_cast<double>(tokens))}};
}

KernelList draft_input_kernels(const OperatorContext& context, std::int64_t tokens) {
  const std::int64_t cells = tokens * context.hidden;
  const Bytes rows = elements(cells, context.precision.activations);
  const OperatorKernel norm{StepOperator::kDraftInput, Streaming{rows, rows, flops(5.0 * static_cast<double>(cells))}};
  return {norm,
          norm,
          {StepOperator::kDraftInput, Streaming{2.0 * rows, 2.0 * rows, flops(0.0)}},
          {StepOperator::kDraftInput, plain_gemm(context, tokens, context.hidden, 2 * std::int64_t{context.hidden})}};
}

}  // namespace moesim
