#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "sim/config/describe.hpp"

/// A sum of regression trees over a vector of features: the form in which a fitted profile holds what measurements say
/// beyond the speed of light. How trees are grown is the subject of validate/fit.
namespace moesim {

/// f(x) = Σ_trees leaf(x). At a split a row goes left where x[feature] < edges[feature][threshold].
///
/// As text, each tree stands in preorder. A split is three characters: its feature ('A' + feature), then its threshold
/// in two digits of base 64. A leaf is '.' and three digits of base 64: its value in steps of 2⁻¹⁶ around zero, so
/// that leaves lie within ±2. Digits are 0-9, A-Z, a-z, '-' and '_', in this order.
class TreeSum {
 public:
  struct Node {
    std::int32_t feature = -1;  ///< −1: a leaf
    std::int32_t threshold = 0;
    std::uint32_t right = 0;  ///< index of the right child; the left one follows its parent
    double value = 0.0;       ///< of a leaf
  };
  static constexpr std::size_t kMaxFeatures = 26;
  static constexpr std::size_t kMaxThresholds = 64 * 64;
  static constexpr double kLeafStep = 1.0 / 65536.0;
  static constexpr int kLeafLimit = 64 * 64 * 64 / 2 - 1;

  TreeSum() = default;
  /// `edges` rise strictly per feature; trees are in preorder, one after another.
  TreeSum(std::vector<std::vector<double>> edges, std::vector<Node> nodes);

  /// `features` has as many entries as there are lists of edges.
  [[nodiscard]] double at(std::span<const double> features) const;

  [[nodiscard]] const std::vector<std::vector<double>>& edges() const { return edges_; }
  [[nodiscard]] std::size_t trees() const { return roots_.size(); }
  [[nodiscard]] std::string text() const;
  /// False with what is wrong in `fault`.
  static bool parse(std::string_view text, std::vector<std::vector<double>> edges, TreeSum& out, std::string& fault);

  /// The nearest value that text() can hold, and its number.
  static double rounded_leaf(double value);
  static std::uint64_t leaf_number(double value);
  static double leaf_value(std::uint64_t number);
  /// A number in so many digits of base 64, and back.
  static std::string digits(std::uint64_t number, std::size_t count);
  static std::optional<std::uint64_t> number(std::string_view digits);

 private:
  /// A node ready to be walked, small so that whole profiles stay in the cache. x < edges[threshold] just where the
  /// number of edges at or below x is no more than `threshold`. From a leaf every step leads to itself.
  struct Step {
    std::uint32_t right;
    std::int16_t threshold;
    std::uint16_t feature;
  };

  std::vector<std::vector<double>> edges_;
  std::vector<Node> nodes_;
  std::vector<Step> steps_;
  std::vector<double> values_;  ///< [nodes], of leaves
  std::vector<std::uint32_t> roots_;
  std::size_t depth_ = 0;  ///< of the deepest leaf
};

}  // namespace moesim
