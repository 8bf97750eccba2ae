#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "sim/program/program_writer.hpp"
#include "sim/program/training_operators.hpp"
#include "sim/program/training_pass.hpp"

namespace moesim {

/// Writes what a chunk of layers does with one micro-batch, in turns at which another micro-batch may go on (yield).
///
/// A MoE layer's turns are, forward and backward (DeepSeek-V3 report, arXiv 2412.19437, figure 4):
///   attention, router, dispatch sent | dispatch received, experts, combine sent | combine received, next layer …
///   … output gradients sent | received, experts' gradients, input gradients sent | received, router's and attention's
class ChunkWriter {
 public:
  /// `kernels`: what carries dispatch and combine. The chunk's stages begin with `first_stage`.
  ChunkWriter(ChunkPlan plan, ProgramWriter& out, const TaskPool& pool, ExchangeKernels kernels,
              std::uint32_t first_stage);

  /// [ranks + 1]: where each rank's own tokens begin.
  [[nodiscard]] const std::vector<std::size_t>& first_token() const { return first_token_; }
  [[nodiscard]] const std::vector<LayerTraffic>& traffic() const { return traffic_; }
  /// Stages that it takes.
  [[nodiscard]] std::uint32_t stages() const {
    return static_cast<std::uint32_t>(plan_.last_layer - plan_.first_layer) + 2;
  }

  void forward();
  void backward(Pass pass);

 private:
  [[nodiscard]] bool embeds() const { return plan_.ends == ChunkEnds::kFirst || plan_.ends == ChunkEnds::kBoth; }
  [[nodiscard]] bool has_head() const { return plan_.ends == ChunkEnds::kLast || plan_.ends == ChunkEnds::kBoth; }
  [[nodiscard]] bool sends() const { return plan_.ranks > 1; }
  [[nodiscard]] bool inputs() const { return pass_ != Pass::kBackwardWeight; }
  [[nodiscard]] bool weights() const { return pass_ != Pass::kBackwardInput; }
  [[nodiscard]] bool selective() const { return plan_.recompute == Recompute::kSelective && inputs(); }
  [[nodiscard]] const Layer& layer(std::size_t index) const { return plan_.model->layers()[plan_.first_layer + index]; }
  [[nodiscard]] std::int64_t tokens_of(std::size_t rank) const {
    return static_cast<std::int64_t>(first_token_[rank + 1] - first_token_[rank]);
  }
  void count_traffic_of_layers();
  void enter(std::size_t stage) { out_.set_stage(first_stage_ + static_cast<std::uint32_t>(stage)); }
  [[nodiscard]] const LayerTraffic& traffic_of(std::size_t index) const;

  // chunk_writer.cpp: what forward and backward have in common
  [[nodiscard]] KernelList mixer_of(const Layer& layer) const;
  /// Hidden states [tokens, hidden] of a group, of which each rank has an equal part of the tokens (gathered), or a
  /// term of the sum (scattered).
  [[nodiscard]] CollectivePhases gathered() const { return over_group(Collective::kAllGather); }
  [[nodiscard]] CollectivePhases scattered() const { return over_group(Collective::kReduceScatter); }
  [[nodiscard]] CollectivePhases over_group(Collective collective) const;
  [[nodiscard]] DispatchPlan dispatch_plan(DataType type) const;
  /// The ranks' own tokens to their experts in type `type`, and the experts' results back.
  ProgramWriter::Begun send_tokens(const MixtureOfExperts& moe, const LayerTraffic& traffic, DataType type);
  ProgramWriter::Begun send_results(const LayerTraffic& traffic, DataType type);
  void receive_results(const MixtureOfExperts& moe, ProgramWriter::Begun results);
  /// Kernels of one rank that bring what came in type `arrived` into its experts' order, and back into that of tokens.
  struct Permuted {
    KernelList to_experts;
    KernelList to_tokens;
  };
  [[nodiscard]] Permuted permuted(const LayerTraffic& traffic, std::size_t rank, DataType arrived, DataType sent) const;

  // chunk_forward.cpp
  void forward_layer(std::size_t index);
  void forward_mixer(const Layer& layer);
  void forward_dense(const DenseFeedForward& dense);
  void forward_experts(const MixtureOfExperts& moe, const LayerTraffic& traffic);
  void forward_head();

  // chunk_backward.cpp
  void backward_layer(std::size_t index);
  void backward_mixer(const Layer& layer);
  void backward_dense(const DenseFeedForward& dense);
  void backward_experts(const MixtureOfExperts& moe, const LayerTraffic& traffic);
  void backward_shared(const MixtureOfExperts& moe);
  void backward_own(const LayerTraffic& traffic, std::size_t rank, const MixtureOfExperts& moe);
  void backward_norm();
  void backward_head();
  void backward_in_group(const KernelList& again, const GradientList& gradients);
  void backward_products(const GradientList& gradients);
  /// When a kernel of the backward pass runs.
  enum class When { kNow, kPutOff, kNever };
  [[nodiscard]] When when(GradientOf of) const;
  void add(const GradientList& gradients);
  void add(std::size_t rank, const GradientList& gradients);
  void add(std::size_t rank, GradientOf of, const std::vector<RunKernel>& kernels);
  void add_inputs(std::size_t rank, KernelList kernels);
  /// Gradients of weights that were put off, while something is on its way.
  void run_put_off();

  ChunkPlan plan_;
  ProgramWriter& out_;
  const TaskPool& pool_;
  ExchangeKernels kernels_;
  std::uint32_t first_stage_;
  Pass pass_ = Pass::kForward;
  OperatorContext context_;
  OperatorContext mixer_context_;  ///< attention and recurrences may multiply in another type
  std::vector<std::size_t> first_token_;
  std::vector<LayerTraffic> traffic_;
  std::vector<std::vector<RunKernel>> put_off_;  ///< [ranks]
};

}  // namespace moesim
