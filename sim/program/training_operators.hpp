#pragma once

#include <cstdint>
#include <vector>

#include "sim/program/operators.hpp"

/// From a layer's forward kernels to those of its backward pass.
///
/// Products in 8 bits take both operands quantised along the dimension that is summed over. For the gradient of a
/// weight that is the rows, so that input and output gradient are quantised once more, the other way round (DeepSeek-V3
/// report, arXiv 2412.19437, section 3.3.1 and 3.5.2: tiles of 1×128 forward, 128×1 backward); weights' copies for the
/// backward pass are made once a step, and are no part of it.
namespace moesim {

/// Whose gradient a kernel makes.
enum class GradientOf { kInput, kWeight };

struct GradientKernel {
  OperatorKernel kernel;
  GradientOf of = GradientOf::kInput;
};
using GradientList = std::vector<GradientKernel>;

/// The backward pass of `forward`, in the order it runs; gradients of weights are added up in type `sums`.
///
///   Y[m, n] = X[m, k]·W[k, n]   dX[m, k] = dY[m, n]·Wᵀ,  dW[k, n] += Xᵀ[k, m]·dY[m, n]
///   attention                   its backward kernel (ContextAttentionBackward)
///   Streaming                   reads what the forward kernel has read, and the gradient of what it has written, and
///                               writes the gradient of what it has read, with twice the work
///
/// The gradient of what a product reads comes in the activations' type, whatever type the product reads.
GradientList gradients_of(const OperatorContext& context, const KernelList& forward, DataType sums);

/// Of the gradients of a layer's routed experts on one rank, forward: the grouped products apart from each other, over
/// the rows that each expert computes, [local experts].
KernelList expert_products(const OperatorContext& context, const MixtureOfExperts& moe,
                           const std::vector<std::int64_t>& rows);

/// Of RMSNorm with the residual sum: reads the gradients of both of its outputs, and its input; writes the gradient of
/// its input, [tokens, hidden] each.
OperatorKernel norm_gradient_kernel(const OperatorContext& context, std::int64_t tokens);
/// RMSNorm again, of an input that is kept.
OperatorKernel norm_again_kernel(const OperatorContext& context, std::int64_t tokens);

/// Which of a mixer's forward kernels selective recomputation runs again: latent attention's up-projections, with the
/// norms and the rotation before attention.
KernelList recomputed_of_mixer(const Mixer& mixer, const KernelList& forward);
/// And of a feed-forward block's: the kernel between its products.
KernelList recomputed_of_feed_forward(const KernelList& forward);

/// Logits [tokens, vocabulary / tensor_parallel] and what the cross-entropy makes of them: reads them, and writes their
/// softmax in the same place (Megatron-Core, fusions/fused_cross_entropy.py).
KernelList loss_kernels(const OperatorContext& context, int vocabulary, std::int64_t tokens);
/// From the softmax to the gradients of hidden states and head.
GradientList loss_gradients(const OperatorContext& context, const KernelList& forward, DataType sums);
/// Rows of the embedding's gradient, to which those of its tokens are added.
GradientList embedding_gradients(const OperatorContext& context, std::int64_t tokens, DataType sums);

}  // namespace moesim
