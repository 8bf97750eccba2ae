#include "models/kernels/trees.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>

#include "sim/core/error.hpp"

namespace moesim {
namespace {

constexpr std::string_view kDigits = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz-_";

char digit(std::size_t value) { return kDigits.at(value); }
int digit_value(char c) {
  const std::size_t found = kDigits.find(c);
  return found == std::string_view::npos ? -1 : static_cast<int>(found);
}

/// Reads trees in preorder; a stack holds the splits whose right child is still to come.
class Reader {
 public:
  Reader(std::string_view text, const std::vector<std::vector<double>>& edges) : text_(text), edges_(edges) {}

  bool read(std::vector<TreeSum::Node>& nodes, std::string& fault) {
    std::vector<std::size_t> open;
    std::size_t missing = 0;  // subtrees of the present tree still to come
    while (at_ < text_.size()) {
      TreeSum::Node node;
      if (!(text_[at_] == '.' ? leaf(node) : split(node))) {
        fault = fmt::format("expected a tree, found something else at character {}", at_);
        return false;
      }
      nodes.push_back(node);
      missing = missing == 0 ? 1 : missing;  // a tree begins
      missing = node.feature >= 0 ? missing + 1 : missing - 1;
      if (node.feature >= 0) {
        open.push_back(nodes.size() - 1);
      } else if (!open.empty()) {
        nodes[open.back()].right = static_cast<std::uint32_t>(nodes.size());
        open.pop_back();
      }
    }
    if (missing > 0) {
      fault = "expected whole trees, found one that ends early";
      return false;
    }
    return true;
  }

 private:
  bool leaf(TreeSum::Node& node) {
    int value = 0;
    if (!number(3, value)) {
      return false;
    }
    node.value = (value - TreeSum::kLeafLimit - 1) * TreeSum::kLeafStep;
    return true;
  }

  bool split(TreeSum::Node& node) {
    node.feature = text_[at_] - 'A';
    int threshold = 0;
    if (node.feature < 0 || static_cast<std::size_t>(node.feature) >= edges_.size() || !number(2, threshold) ||
        static_cast<std::size_t>(threshold) >= edges_[static_cast<std::size_t>(node.feature)].size()) {
      return false;
    }
    node.threshold = threshold;
    return true;
  }

  /// The `digits` after the marker; moves past them.
  bool number(std::size_t digits, int& value) {
    if (at_ + digits >= text_.size()) {
      return false;
    }
    value = 0;
    for (std::size_t i = 1; i <= digits; ++i) {
      const int one = digit_value(text_[at_ + i]);
      if (one < 0) {
        return false;
      }
      value = value * 64 + one;
    }
    at_ += digits + 1;
    return true;
  }

  std::string_view text_;
  const std::vector<std::vector<double>>& edges_;
  std::size_t at_ = 0;
};

}  // namespace

TreeSum::TreeSum(std::vector<std::vector<double>> edges, std::vector<Node> nodes)
    : edges_(std::move(edges)), nodes_(std::move(nodes)) {
  ensure(edges_.size() <= kMaxFeatures, "more features than a tree can name");
  std::vector<std::size_t> open;  // depths of the current tree's subtrees that are still to come
  for (std::size_t i = 0; i < nodes_.size(); ++i) {
    const Node& node = nodes_[i];
    if (open.empty()) {
      roots_.push_back(static_cast<std::uint32_t>(i));
      open.push_back(0);
    }
    const std::size_t depth = open.back();
    open.pop_back();
    if (node.feature < 0) {
      depth_ = std::max(depth_, depth);
      steps_.push_back({static_cast<std::uint32_t>(i), -1, 0});
    } else {
      open.insert(open.end(), 2, depth + 1);
      ensure(static_cast<std::size_t>(node.threshold) < edges_.at(static_cast<std::size_t>(node.feature)).size(),
             "a tree splits at an edge that its feature has");
      steps_.push_back(
          {node.right, static_cast<std::int16_t>(node.threshold), static_cast<std::uint16_t>(node.feature)});
    }
    values_.push_back(node.value);
  }
  ensure(open.empty(), "a tree ends early");
}

double TreeSum::at(std::span<const double> features) const {
  ensure(features.size() == edges_.size(), "a tree was asked about other features than its own");
  std::array<std::int16_t, kMaxFeatures> below{};  // edges at or below each feature
  for (std::size_t i = 0; i < features.size(); ++i) {
    const std::vector<double>& edges = edges_[i];
    below[i] = static_cast<std::int16_t>(std::upper_bound(edges.begin(), edges.end(), features[i]) - edges.begin());
  }
  // Several trees side by side, all to the greatest depth: no branch has to be guessed.
  constexpr std::size_t kTogether = 8;
  const Step* const steps = steps_.data();
  double sum = 0.0;
  for (std::size_t first = 0; first < roots_.size(); first += kTogether) {
    std::array<std::uint32_t, kTogether> at{};
    const std::size_t count = std::min(kTogether, roots_.size() - first);
    std::copy_n(roots_.begin() + static_cast<std::ptrdiff_t>(first), count, at.begin());
    for (std::size_t level = 0; level < depth_; ++level) {
#pragma GCC unroll 8
      for (std::uint32_t& node : at) {
        const Step& step = steps[node];
        node = below[step.feature] <= step.threshold ? node + 1 : step.right;
      }
    }
    for (std::size_t tree = 0; tree < count; ++tree) {
      sum += values_[at[tree]];
    }
  }
  return sum;
}

std::string TreeSum::text() const {
  std::string out;
  for (const Node& node : nodes_) {
    if (node.feature >= 0) {
      const auto threshold = static_cast<std::size_t>(node.threshold);
      out += static_cast<char>('A' + node.feature);
      out += digit(threshold / 64);
      out += digit(threshold % 64);
    } else {
      const auto value = static_cast<std::size_t>(std::lround(node.value / kLeafStep) + kLeafLimit + 1);
      out += '.';
      out += digit(value / (64 * 64));
      out += digit(value / 64 % 64);
      out += digit(value % 64);
    }
  }
  return out;
}

bool TreeSum::parse(std::string_view text, std::vector<std::vector<double>> edges, TreeSum& out, std::string& fault) {
  if (edges.size() > kMaxFeatures) {
    fault = fmt::format("expected at most {} features, found {}", kMaxFeatures, edges.size());
    return false;
  }
  for (const std::vector<double>& list : edges) {
    if (list.size() > kMaxThresholds || !std::is_sorted(list.begin(), list.end(), std::less_equal<>())) {
      fault = fmt::format("expected at most {} edges that rise", kMaxThresholds);
      return false;
    }
  }
  std::vector<Node> nodes;
  if (!Reader(text, edges).read(nodes, fault)) {
    return false;
  }
  out = TreeSum(std::move(edges), std::move(nodes));
  return true;
}

std::uint64_t TreeSum::leaf_number(double value) {
  return static_cast<std::uint64_t>(std::lround(value / kLeafStep) + kLeafLimit + 1);
}

double TreeSum::leaf_value(std::uint64_t number) { return (static_cast<double>(number) - kLeafLimit - 1) * kLeafStep; }

std::string TreeSum::digits(std::uint64_t number, std::size_t count) {
  std::string out(count, '0');
  for (std::size_t i = count; i-- > 0; number /= 64) {
    out[i] = digit(number % 64);
  }
  return out;
}

std::optional<std::uint64_t> TreeSum::number(std::string_view digits) {
  std::uint64_t value = 0;
  for (const char c : digits) {
    const int one = digit_value(c);
    if (one < 0) {
      return std::nullopt;
    }
    value = value * 64 + static_cast<std::uint64_t>(one);
  }
  return value;
}

double TreeSum::rounded_leaf(double value) {
  const double steps = std::clamp(std::round(value / kLeafStep), -double{kLeafLimit}, double{kLeafLimit});
  return steps * kLeafStep;
}

}  // namespace moesim
