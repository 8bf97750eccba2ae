#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "sim/program/kernel_index.hpp"
#include "sim/program/micro_batch.hpp"
#include "sim/program/step.hpp"

namespace moesim {

/// Appends instructions to the ranks' streams while walking through the layers, for the whole batch or for one
/// micro-batch after the other.
class StepBuilder {
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
  [[nodiscard]] std::int64_t tokens_of(std::size_t rank) const {
    return static_cast<std::int64_t>(share_->first_token[rank + 1] - share_->first_token[rank]);
  }
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
  /// The other micro-batch has its turn now; nothing where the batch is not split.
  void yield();
  std::vector<Instruction>& stream(std::size_t rank);
  /// Adds a list of kernels that all ranks run with the same shapes, or one rank with its own.
  std::vector<RunKernel> store(KernelList kernels);
  std::uint32_t store(Exchange exchange);
  void run(std::size_t rank, const std::vector<RunKernel>& kernels);
  void all_run(KernelList kernels);
  /// Kernels over each rank's own tokens; ranks with as many tokens share them.
  template <class MakeKernels>
  void all_run_own_tokens(MakeKernels make) {
    std::vector<std::pair<std::int64_t, std::vector<RunKernel>>> known;
    for (std::size_t rank = 0; rank < plan_.ranks; ++rank) {
      const std::int64_t tokens = tokens_of(rank);
      auto found = std::find_if(known.begin(), known.end(), [&](const auto& entry) { return entry.first == tokens; });
      if (found == known.end()) {
        known.emplace_back(tokens, tokens > 0 ? store(make(tokens)) : std::vector<RunKernel>{});
        found = known.end() - 1;
      }
      run(rank, found->second);
    }
  }
  template <class I>
  void all_do(I instruction) {
    for (std::size_t rank = 0; rank < plan_.ranks; ++rank) {
      stream(rank).emplace_back(instruction);
    }
  }
  /// Phases that have begun: the first one's Send is out, its Receive is not.
  struct Begun {
    CollectivePhases phases;
    std::optional<std::uint32_t> exchange = std::nullopt;  ///< absent where the first phase is none
  };
  Begun begin(CollectivePhases phases);
  void finish(Begun begun);
  void all_phases(CollectivePhases phases) { finish(begin(std::move(phases))); }

  [[nodiscard]] CollectiveGroups groups() const {
    return {plan_.cluster, plan_.ranks, static_cast<std::size_t>(plan_.tensor_parallel)};
  }
  [[nodiscard]] double group_bytes() const;
  [[nodiscard]] CollectivePhases in_groups(Collective collective, double size) const {
    return usual_algorithm(collective, groups()).build(groups(), size);
  }
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
  Program program_;
  KernelIndex kernels_{program_.kernels};
  std::uint32_t stage_ = 0;
};

/// Of so many elements of a type.
double bytes_of(std::int64_t elements, DataType type);

}  // namespace moesim
