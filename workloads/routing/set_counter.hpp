#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "workloads/routing/id_scan.hpp"

namespace moesim {

/// Bit e/32 of byte e%32 stands for id e: the order in which bits become counts with the fewest operations.
using IdSet [[gnu::vector_size(32)]] = std::uint64_t;

/// How often each of 256 ids is in the sets so far, modulo 256: bit i of all counts in one vector.
struct alignas(32) SetSums {
  IdSet bit[8];
};

/// Eight tokens whose rows of these layers are added.
struct SetRows {
  const std::byte* first;  ///< slot 0 of layer 0 of the first token
  std::size_t layers;      ///< of the array
  std::size_t k;
  std::span<const std::size_t> chosen;
};

/// Adds to sums [chosen layers] and returns the bits of all ids together, of signed types as unsigned ones: where that
/// is not below 256, sums are of no use. The same operations, and so the same sums, on every machine.
using SetKernel = std::uint64_t (*)(const SetRows& rows, SetSums* sums);

/// With vectors of 32 bytes; none where the machine has no such. Without them, a counter an id is as fast.
SetKernel wide_set_kernel(NpyType type, std::size_t k);
/// Without any vector instructions but those that every machine has.
SetKernel portable_set_kernel(NpyType type, std::size_t k);

/// Counts ids below 256 with few stores. One counter an id needs one store an id, and a core does one a cycle. Here the
/// k ids of a row become a set of 256 bits, the OR of one entry of a table each, and sets are added bit by bit with
/// carry-save adders, eight rows at a time (Warren, Hacker's Delight, 2nd edition, section 5-1): a load an id, and
/// eight stores for eight rows. An id that stands twice in a row is counted once: sums then are short of k a row.
class SetCounter {
 public:
  static constexpr std::size_t kIds = 256;
  static constexpr std::size_t kTokens = 8;        ///< at a time
  static constexpr std::size_t kMostTokens = 248;  ///< that sums of eight bits hold

  SetCounter(const IdArray& ids, std::span<const std::size_t> layers, SetKernel kernel);

  /// Adds kTokens tokens and returns the bits of their ids together: not below kIds, what was added is of no use.
  std::uint64_t add(std::size_t token);
  /// Counts [layers, kIds] of what was added since the last time.
  std::span<const std::uint8_t> take();

 private:
  SetRows rows_;
  const std::byte* data_;
  std::size_t token_bytes_;
  SetKernel kernel_;
  std::vector<SetSums> sums_;         ///< [layers]
  std::vector<std::uint8_t> counts_;  ///< [layers, kIds]
};

}  // namespace moesim
