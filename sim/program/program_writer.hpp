#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

#include "sim/program/collective.hpp"
#include "sim/program/kernel_index.hpp"
#include "sim/program/micro_batch.hpp"
#include "sim/program/operators.hpp"

namespace moesim {

/// Appends instructions to the streams of a program's ranks, or to the turns of a micro-batch.
class ProgramWriter {
 public:
  /// Ranks 0 … R−1 of a cluster, in groups of `group_size` neighbours that share tensors.
  ProgramWriter(const Cluster& cluster, std::size_t ranks, int group_size);
  /// Kernels are kept by their place in `program_`.
  ProgramWriter(const ProgramWriter&) = delete;
  ProgramWriter& operator=(const ProgramWriter&) = delete;

  /// Whose instructions are added from now on, and where.
  struct Target {
    const std::vector<std::size_t>* first_token = nullptr;  ///< [ranks + 1]: where each rank's own tokens begin
    std::vector<Turn>* turns = nullptr;                     ///< nullptr: straight to the ranks' streams
    std::uint8_t micro_batch = 0;                           ///< as RunKernel and Exchange number it
  };
  void aim(const Target& target) { target_ = target; }
  void set_stage(std::uint32_t stage) { stage_ = stage; }
  [[nodiscard]] std::uint32_t stage() const { return stage_; }
  [[nodiscard]] std::size_t ranks() const { return program_.ranks.size(); }

  /// The other micro-batch has its turn now; nothing where instructions go straight to the streams.
  void yield();
  /// Adds a list of kernels that all ranks run with the same shapes, or one rank with its own.
  std::vector<RunKernel> store(KernelList kernels);
  std::uint32_t store(Exchange exchange);
  void run(std::size_t rank, const std::vector<RunKernel>& kernels);
  void all_run(KernelList kernels);
  /// Kernels over each rank's own tokens; ranks with as many tokens share them.
  template <class MakeKernels>
  void all_run_own_tokens(MakeKernels make) {
    std::vector<std::pair<std::int64_t, std::vector<RunKernel>>> known;
    for (std::size_t rank = 0; rank < ranks(); ++rank) {
      const std::int64_t tokens = tokens_of(rank);
      auto found = std::find_if(known.begin(), known.end(), [&](const auto& entry) { return entry.first == tokens; });
      if (found == known.end()) {
        known.emplace_back(tokens, tokens > 0 ? store(make(tokens)) : std::vector<RunKernel>{});
        found = known.end() - 1;
      }
      run(rank, found->second);
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

  [[nodiscard]] CollectiveGroups groups() const { return {&cluster_, ranks(), group_size_}; }
  [[nodiscard]] CollectivePhases in_groups(Collective collective, double size) const {
    return usual_algorithm(collective, groups()).build(groups(), size);
  }

  /// What has been written straight to the streams; the writer is done with.
  Program take(std::uint32_t stages);
  std::vector<std::vector<Instruction>>& streams() { return program_.ranks; }

 private:
  std::vector<Instruction>& stream(std::size_t rank);
  [[nodiscard]] std::int64_t tokens_of(std::size_t rank) const {
    return static_cast<std::int64_t>((*target_.first_token)[rank + 1] - (*target_.first_token)[rank]);
  }
  template <class I>
  void all_do(I instruction) {
    for (std::size_t rank = 0; rank < ranks(); ++rank) {
      stream(rank).emplace_back(instruction);
    }
  }

  const Cluster& cluster_;
  std::size_t group_size_;
  Program program_;
  KernelIndex kernels_{program_.kernels};
  Target target_;
  std::uint32_t stage_ = 0;
};

}  // namespace moesim
