#include "sim/program/training_operators.hpp"

#include <algorithm>
#include <iterator>
#include <numeric>
#include <optional>
#include <variant>

#include "sim/core/error.hpp"
#include "sim/core/quantity.hpp"
#include "sim/program/operator_parts.hpp"

namespace moesim {

namespace {

/// Adds the gradients of one forward kernel to a list.
class Reversal {
 public:
  Reversal(const OperatorContext& context, DataType sums, GradientList& out)
      : context_(context), sums_(sums), out_(out) {}

  /// `next` is what ran behind it, nullptr where nothing did.
  void reverse(const OperatorKernel& forward, const OperatorKernel* next) {
    op_ = forward.op;
    repeat_ = forward.repeat;
    next_ = next;
    std::visit([this](const auto& kernel) { add(kernel); }, forward.kernel);
  }

 private:
  void add(const Gemm& forward) {
    Gemm input = forward;
    input.n = forward.k;
    input.k = forward.n;
    input.activation = context_.precision.activations;
    push(input, GradientOf::kInput);
    turn_operands(forward.weight, forward.batch * forward.m * forward.k, forward.batch * forward.m * forward.n);
    Gemm weight = forward;
    weight.m = forward.k;
    weight.k = forward.m * repeat_;  // of all repetitions at once: nothing waits for it
    weight.activation = sums_;
    weight.product = Product::kAdded;
    out_.push_back({{op_, weight}, GradientOf::kWeight});
  }

  void add(const GroupedGemm& forward) {
    const std::int64_t rows = std::accumulate(forward.rows.begin(), forward.rows.end(), std::int64_t{0});
    const DataType activations = context_.precision.activations;
    const DataType wanted = input_type(context_, forward.weight);
    if (next_ != nullptr && wanted != activations) {
      push(Streaming{elements(rows * forward.n, activations), elements(rows * forward.n, wanted), flops(0.0)},
           GradientOf::kInput);
    }
    GroupedGemm input = forward;
    input.n = forward.k;
    input.k = forward.n;
    input.activation = activations;
    push(std::move(input), GradientOf::kInput);
    turn_operands(forward.weight, rows * forward.k, rows * forward.n);
    GroupedGemm weight = forward;
    weight.activation = sums_;
    weight.over = GroupedOver::kDepth;
    push(std::move(weight), GradientOf::kWeight);
  }

  void add(const ContextAttention& forward) { push(ContextAttentionBackward{forward}, GradientOf::kInput); }

  void add(const Streaming& forward) {
    push(Streaming{forward.read + std::max(forward.written, read_by_next()), forward.read, 2.0 * forward.work},
         GradientOf::kInput);
  }

  template <class Other>
  void add(const Other& /*forward*/) {
    ensure(false, "a kernel that only serving runs has no backward pass");
  }

  /// Input and output gradient of a product in 8 bits, quantised along the rows.
  void turn_operands(DataType weight, std::int64_t inputs, std::int64_t outputs) {
    const DataType wanted = input_type(context_, weight);
    if (wanted == context_.precision.activations) {
      return;
    }
    push(Streaming{elements(inputs, wanted) + elements(outputs, context_.precision.activations),
                   elements(inputs + outputs, wanted), flops(2.0 * static_cast<double>(inputs + outputs))},
         GradientOf::kWeight);
  }

  /// What the product behind reads, as its input's gradient comes.
  [[nodiscard]] Bytes read_by_next() const {
    const auto* gemm = next_ == nullptr ? nullptr : std::get_if<Gemm>(&next_->kernel);
    const auto* grouped = next_ == nullptr ? nullptr : std::get_if<GroupedGemm>(&next_->kernel);
    const std::int64_t rows = gemm != nullptr ? gemm->m
                              : grouped != nullptr
                                  ? std::accumulate(grouped->rows.begin(), grouped->rows.end(), std::int64_t{0})
                                  : 0;
    const std::int64_t width = gemm != nullptr ? gemm->k * gemm->batch : grouped != nullptr ? grouped->k : 0;
    return elements(rows * width, context_.precision.activations);
  }

  void push(Kernel kernel, GradientOf of) { out_.push_back({{op_, std::move(kernel), repeat_}, of}); }

  const OperatorContext& context_;
  DataType sums_;
  GradientList& out_;
  StepOperator op_ = StepOperator::kNorm;
  std::uint32_t repeat_ = 1;
  const OperatorKernel* next_ = nullptr;
};

Bytes rows_of(const OperatorContext& context, std::int64_t tokens) {
  return elements(tokens * context.hidden, context.precision.activations);
}

}  // namespace

GradientList gradients_of(const OperatorContext& context, const KernelList& forward, DataType sums) {
  GradientList out;
  Reversal reversal(context, sums, out);
  for (std::size_t i = forward.size(); i-- > 0;) {
    reversal.reverse(forward[i], i + 1 < forward.size() ? &forward[i + 1] : nullptr);
  }
  return out;
}

KernelList expert_products(const OperatorContext& context, const MixtureOfExperts& moe,
                           const std::vector<std::int64_t>& rows) {
  if (std::all_of(rows.begin(), rows.end(), [](std::int64_t count) { return count == 0; })) {
    return {};
  }
  ExpertParts parts = parts_of({.rows = rows,
                                .hidden = context.hidden,
                                .intermediate = moe.intermediate,
                                .up_matrices = moe.gated ? 2 : 1,
                                .weight = context.expert_weights,
                                .activation = context.precision.activations});
  return {{StepOperator::kExperts, std::move(parts.up)},
          {StepOperator::kExperts, parts.activation},
          {StepOperator::kExperts, std::move(parts.down)}};
}

OperatorKernel norm_gradient_kernel(const OperatorContext& context, std::int64_t tokens) {
  const Bytes rows = rows_of(context, tokens);
  return {StepOperator::kNorm, Streaming{3.0 * rows, rows, flops(12.0 * static_cast<double>(tokens * context.hidden))}};
}

OperatorKernel norm_again_kernel(const OperatorContext& context, std::int64_t tokens) {
  const Bytes rows = rows_of(context, tokens);
  return {StepOperator::kNorm, Streaming{rows, rows, flops(5.0 * static_cast<double>(tokens * context.hidden))}};
}

KernelList recomputed_of_mixer(const Mixer& mixer, const KernelList& forward) {
  KernelList again;
  const auto* latent = std::get_if<LatentAttention>(&mixer);
  if (latent == nullptr) {
    return again;
  }
  std::copy_if(forward.begin(), forward.end(), std::back_inserter(again), [&](const OperatorKernel& kernel) {
    const auto* product = std::get_if<Gemm>(&kernel.kernel);
    const bool from_latent =
        product == nullptr || product->k == latent->q_lora_rank || product->k == latent->kv_lora_rank;
    return kernel.op == StepOperator::kAttentionProjection && from_latent;
  });
  return again;
}

KernelList recomputed_of_feed_forward(const KernelList& forward) {
  constexpr std::size_t kActivation = 1;
  return forward.size() > kActivation ? KernelList{forward[kActivation]} : KernelList{};
}

KernelList loss_kernels(const OperatorContext& context, int vocabulary, std::int64_t tokens) {
  const std::int64_t columns = split(vocabulary, context.tensor_parallel);
  const Bytes logits = elements(tokens * columns, context.precision.activations);
  return {{StepOperator::kLmHead, plain_gemm(context, tokens, columns, context.hidden)},
          {StepOperator::kLmHead, Streaming{logits, logits, flops(5.0 * static_cast<double>(tokens * columns))}}};
}

GradientList loss_gradients(const OperatorContext& context, const KernelList& forward, DataType sums) {
  GradientList out{{forward.back(), GradientOf::kInput}};  // the softmax less the target, in its place
  GradientList product = gradients_of(context, {forward.front()}, sums);
  std::move(product.begin(), product.end(), std::back_inserter(out));
  return out;
}

GradientList embedding_gradients(const OperatorContext& context, std::int64_t tokens, DataType sums) {
  const Bytes added = elements(tokens * context.hidden, sums);
  return {{{StepOperator::kEmbedding,
            Streaming{rows_of(context, tokens) + added, added, flops(static_cast<double>(tokens * context.hidden))}},
           GradientOf::kWeight}};
}

}  // namespace moesim
