#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace moesim {

/// What deepseek-ai/EPLB's rebalance_experts returns for one layer.
struct EplbLayer {
  std::vector<std::uint16_t> phy2log;  ///< [replicas]: the expert in each slot, GPU by GPU
  std::vector<std::uint32_t> rank;     ///< [replicas]: which copy of its expert that is
  std::vector<std::uint32_t> logcnt;   ///< [experts]: copies

  /// [experts][max copies over the whole model], −1 where an expert has fewer copies.
  [[nodiscard]] std::vector<std::vector<int>> log2phy(std::size_t most_copies) const;
};

struct EplbShape {
  std::size_t replicas = 0;
  std::size_t groups = 1;
  std::size_t nodes = 1;
  std::size_t gpus = 1;
};

/// EPLB (deepseek-ai/EPLB, eplb.py) of one layer, to the bit: fp32 sums in its order, ties to the lowest index. Where
/// the nodes divide the groups: groups to nodes, then copies and packing within each node; else as if there were one
/// group and one node.
///   copies:  for each redundant slot, one more of argmax_e load_e / copies_e
///   packing: in descending load, to the lightest pack that has room; one item a pack: pack i gets item i
EplbLayer eplb(std::span<const double> loads, EplbShape shape);

/// The steps by themselves. pack and rank_in_pack, [items].
struct Packing {
  std::vector<std::uint32_t> pack;
  std::vector<std::uint32_t> rank_in_pack;
};
Packing balanced_packing(std::span<const float> weights, std::size_t packs);

/// How many copies each expert gets, [experts], summing to `slots`: one more of argmax load / copies, time and again.
/// No other way has a smaller greatest load per copy.
std::vector<std::uint32_t> copies_by_load(std::span<const double> loads, std::size_t slots);

}  // namespace moesim
