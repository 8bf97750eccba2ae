#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "sim/program/operator_parts.hpp"
#include "sim/program/program_writer.hpp"
#include "sim/program/step.hpp"

namespace moesim {

/// Appends instructions to the ranks' streams while walking through the layers, for the whole batch or for one
/// micro-batch after the other.
class StepBuilder : private ProgramWriter {
 public:
  StepBuilder(const StepPlan& plan, const TaskPool& pool);

  StepProgram build();

 private:
  /// A part of the batch, or all of it.
  struct Share {
    MicroBatch part;
    std::vector<std::size_t> first_token;  ///< [ranks + 1]: where each rank's tokens begin among the share's
    std::vector<LayerTraffic> traffic;     ///< of the MoE layers that run; of the whole only where it is not split
    std::size_t next_moe = 0;
    std::vector<Turn> turns;
    std::uint8_t micro_batch = 0;  ///< as RunKernel and Exchange number it; 0 also of what drafts tokens
  };

  [[nodiscard]] bool in_place() const { return stays_in_place(plan_.dispatch); }
  [[nodiscard]] bool splits() const { return plan_.micro_batches > 1; }
  /// Groups of ranks with experts of their own: as many as ranks, unless experts are split too.
  [[nodiscard]] std::size_t expert_groups() const {
    return plan_.ranks / static_cast<std::size_t>(plan_.expert_tensor_parallel);
  }
  [[nodiscard]] bool runs(const Layer& layer) const { return layer_runs(*plan_.model, layer, plan_.batch.phase); }
  [[nodiscard]] const BatchShape& batch() const { return share_->part.batch; }
  [[nodiscard]] bool takes_turns() const { return share_->micro_batch > 0; }
  [[nodiscard]] Share share_of(const MicroBatch& part) const;

  // step.cpp
  void add_layers(std::size_t first, std::size_t last);
  void add_in_micro_batches(std::size_t first, std::size_t last);
  void add_head(std::int64_t tokens);

  // draft_passes.cpp
  void add_drafts();
  void add_draft(const Layer& layer, std::int64_t pass);
  [[nodiscard]] std::vector<ExpertIndex> choices_of_draft(std::size_t layer, std::int64_t pass) const;

  // step_layers.cpp
  void add_layer(const Layer& layer);
  void add_mixer(const Layer& layer);
  void add_experts_in_place(const Layer& layer);
  void add_experts(const Layer& layer);
  void run_experts(const MixtureOfExperts& moe, const LayerTraffic& traffic);
  [[nodiscard]] std::int64_t summed_tokens(std::int64_t arrived) const;
  KernelList permuted_experts(const MixtureOfExperts& moe, const std::vector<std::int64_t>& rows,
                              const ExpertArrival& arrival, DataType arrived, DataType sent);
  const LayerTraffic& next_traffic();

  // step_builder.cpp
  void count_all_traffic();
  void count_traffic_of(Share& share, std::size_t index);
  [[nodiscard]] RowPadding padding() const;
  [[nodiscard]] LayerTraffic traffic_of(const Share& share, std::size_t layer, std::span<const ExpertIndex> choices,
                                        std::size_t index) const;
  [[nodiscard]] std::vector<ExpertIndex> choices_of(const Share& share, std::size_t layer) const;
  void work_on(Share& share);
  [[nodiscard]] double group_bytes() const;
  void reduce_scatter();
  void all_gather();
  void sum_over_group();
  void sum_squares(const Mixer& mixer);

  const StepPlan& plan_;
  const TaskPool& pool_;
  OperatorContext context_;
  OperatorContext mixer_context_;  ///< attention and recurrences may have weights of another type
  Share whole_;
  std::vector<Share> parts_;  ///< the micro-batches; none where the batch is not split
  Share* share_ = &whole_;    ///< whose instructions are added
  std::vector<std::size_t> moe_layers_;
};

}  // namespace moesim
