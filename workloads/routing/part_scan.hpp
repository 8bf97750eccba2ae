#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "workloads/routing/id_scan.hpp"
#include "workloads/routing/set_counter.hpp"

namespace moesim {

inline constexpr std::size_t kMostIds = std::size_t{1} << 16;  // ExpertIndex has 16 bits
/// Layers times experts that are counted: 64 layers of 32768 experts, a thousand of 2048.
inline constexpr std::size_t kMostTallied = std::size_t{1} << 21;

/// −1 of one layer.
struct FillerCount {
  std::size_t count = 0;
  std::size_t token = 0;  ///< of the first
  std::size_t slot = 0;
};

/// One part of the tokens, looked at and counted (scan_ids).
class PartScan {
 public:
  PartScan(const IdArray& ids, std::span<const std::size_t> layers, std::optional<std::size_t> experts,
           std::string_view name);

  /// Throws ConfigError for an id out of range.
  void run(std::size_t first, std::size_t last);

  [[nodiscard]] std::size_t largest() const;
  [[nodiscard]] std::size_t duplicates() const { return duplicates_; }
  [[nodiscard]] bool counts() const { return counting_; }
  [[nodiscard]] std::uint32_t count(std::size_t layer, std::size_t expert) const {
    return expert < width_ ? counts_[layer * width_ + expert] : 0;
  }
  [[nodiscard]] const FillerCount& fillers(std::size_t layer) const { return fillers_[layer]; }

 private:
  template <class T>
  void run(std::size_t first, std::size_t last);
  template <class T>
  std::size_t by_sets(std::size_t first, std::size_t last);
  /// Whether what was added to the sets were ids.
  enum class Sums { kOfIds, kOfOthers };
  bool take_sets(std::size_t tokens, Sums sums);
  template <class T>
  void blocks(std::size_t first, std::size_t last);
  template <class T>
  void block(std::size_t first, std::size_t last);
  template <class T, class Action>
  void each_run(std::size_t first, std::size_t last, const Action& action) const;
  template <class T>
  T all_bits(std::size_t first, std::size_t last) const;
  template <class T, class K>
  void tally(std::size_t first, std::size_t last, K k);
  template <class T>
  void carefully(std::size_t first, std::size_t last);
  void raise_largest(std::size_t id);
  void widen(std::size_t width);

  const IdArray& ids_;
  std::span<const std::size_t> layers_;
  std::string_view name_;
  std::size_t bound_;
  std::size_t width_ = 0;
  bool counting_ = true;
  std::vector<std::uint32_t> counts_;  ///< [layers, width]; one row for all that nobody reads where not counting
  std::vector<std::uint32_t> stamps_;  ///< row of the block that named an expert last
  std::vector<FillerCount> fillers_;   ///< per layer
  std::size_t largest_ = 0;            ///< of the ids that were not counted, or looked at one by one
  std::size_t duplicates_ = 0;
  std::optional<SetCounter> sets_;  ///< where the machine and the recording gain by it
  std::size_t by_sets_ = 0;         ///< stretches of tokens that sets counted
  std::size_t by_blocks_ = 0;       ///< and those that they could not
};

}  // namespace moesim
