#pragma once

#include <cstddef>
#include <filesystem>
#include <optional>
#include <span>
#include <vector>

#include "sim/core/id.hpp"
#include "sim/core/quantity.hpp"

namespace moesim {

/// What one rank sends another.
struct PairBytes {
  RankId from;
  RankId to;
  double bytes = 0.0;
};

/// Pairs that a file names more than once: how many, and the one that comes first in the order of ranks.
struct RepeatedPairs {
  RankId from;
  RankId to;
  std::size_t pairs = 0;
};

/// Bytes from every rank to every other, all of them known at the start: [from, to].
class TrafficMatrix {
 public:
  /// Each of `ranks` ranks holds `per_rank` and sends an equal share of it to each rank; its own share stays where it
  /// is (the convention of nccl-tests' alltoall). At least one rank.
  static TrafficMatrix uniform(std::size_t ranks, Bytes per_rank);

  /// A square .npy of numbers, or CSV with the header src,dst,bytes; a pair may come in several lines, which add up
  /// (repeated()). `ranks`, where given, must hold every rank named; else CSV has as many as the highest rank named
  /// says, .npy as many as it has rows. Throws ConfigError: not readable, not square, negative, not finite, no such
  /// rank.
  static TrafficMatrix read(const std::filesystem::path& path, std::optional<std::size_t> ranks);

  /// From pairs that differ from each other.
  TrafficMatrix(std::size_t ranks, std::vector<PairBytes> pairs);

  [[nodiscard]] std::size_t ranks() const { return ranks_; }
  /// What each pair of different ranks gets where all get the same.
  [[nodiscard]] std::optional<double> uniform_bytes() const { return uniform_; }
  /// The pairs of different ranks that send something, by source, then destination. For a uniform matrix they are
  /// listed anew at each call.
  [[nodiscard]] std::vector<PairBytes> pairs() const;
  /// What ranks keep to themselves.
  [[nodiscard]] double local_bytes() const { return local_; }
  /// Absent where the matrix comes from no CSV file, or from one that names each pair once.
  [[nodiscard]] const std::optional<RepeatedPairs>& repeated() const { return repeated_; }

 private:
  TrafficMatrix() = default;
  static TrafficMatrix read_csv(const std::filesystem::path& path, std::optional<std::size_t> ranks);

  std::size_t ranks_ = 0;
  std::optional<double> uniform_;
  std::vector<PairBytes> pairs_;
  double local_ = 0.0;
  std::optional<RepeatedPairs> repeated_;
};

}  // namespace moesim
