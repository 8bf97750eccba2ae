#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "sim/core/random.hpp"

namespace moesim {

/// One layer's slots while a search moves experts about, with every rank's load kept up to date. Copies share an
/// expert's tokens evenly: a copy on rank r brings w_e / c_e to it.
class LocalSearch {
 public:
  /// `slots`: the expert in each slot, rank by rank.
  LocalSearch(std::span<const double> loads, std::size_t ranks, std::vector<std::uint16_t> slots);

  /// Moves that lighten the busiest rank, until there is none: swaps of two slots, and giving a slot that holds one of
  /// several copies to an expert of the busiest rank. Ends early at a greatest load of at most `goal`.
  void descend(double goal = 0.0);

  /// Rounds of a few random swaps with a descent behind them, undone where they made it worse. Ends early at a greatest
  /// load of at most `goal`.
  void improve(std::size_t rounds, double goal, RandomStream& random);

  [[nodiscard]] double busiest_load() const;
  [[nodiscard]] const std::vector<std::uint16_t>& slots() const { return slots_; }

 private:
  [[nodiscard]] double share(std::uint16_t expert) const { return loads_[expert] / copies_[expert]; }
  [[nodiscard]] std::size_t busiest() const;
  [[nodiscard]] std::size_t rank_of(std::size_t slot) const { return slot / per_rank_; }
  void swap_slots(std::size_t a, std::size_t b);
  bool try_swap(std::size_t busy);
  bool try_copy(std::size_t busy);
  /// Greatest load if `slot` held `expert` instead.
  [[nodiscard]] double load_after(std::size_t slot, std::uint16_t expert);
  void give(std::size_t slot, std::uint16_t expert);

  std::span<const double> loads_;
  std::size_t per_rank_;
  std::vector<std::uint16_t> slots_;
  std::vector<std::uint32_t> copies_;  // [experts]
  std::vector<double> rank_load_;      // [ranks]
  std::vector<double> trial_;          // [ranks]
};

}  // namespace moesim
