#include "validate/fit/boosting.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <optional>

#include "sim/core/error.hpp"
#include "sim/core/random.hpp"

namespace moesim {
namespace {

/// Edges between bins of about equal numbers of rows, rounded so that a profile can state them briefly.
std::vector<double> quantile_edges(std::vector<double> values, std::size_t bins) {
  std::sort(values.begin(), values.end());
  std::vector<double> distinct = values;
  distinct.erase(std::unique(distinct.begin(), distinct.end()), distinct.end());
  std::vector<double> edges;
  const auto add = [&](double below, double above) {
    // The shortest decimal between two neighbours: the middle, with as few digits as still part them.
    double edge = 0.5 * (below + above);
    for (double scale = 10.0; scale < 1e7; scale *= 10.0) {
      const double brief = std::round(edge * scale) / scale;
      if (brief > below && brief <= above) {
        edge = brief;
        break;
      }
    }
    if (edges.empty() || edge > edges.back()) {
      edges.push_back(edge);
    }
  };
  if (distinct.size() <= bins) {
    for (std::size_t i = 1; i < distinct.size(); ++i) {
      add(distinct[i - 1], distinct[i]);
    }
    return edges;
  }
  for (std::size_t bin = 1; bin < bins; ++bin) {
    const double at = values[bin * values.size() / bins];
    const auto found = std::lower_bound(distinct.begin(), distinct.end(), at);
    if (found != distinct.begin()) {
      add(*std::prev(found), *found);
    }
  }
  return edges;
}

struct Cell {
  double sum = 0.0;
  double rows = 0.0;
};

struct Split {
  std::size_t feature = 0;
  std::size_t threshold = 0;  ///< bins up to and with this one go left
  double gain = 0.0;
};

struct Leaf {
  std::size_t begin = 0;  ///< rows of the leaf in the order of rows
  std::size_t end = 0;
  Cell total = {};
  std::vector<Cell> histogram = {};
  Split best = {};
  // Where it was split, later:
  int left = -1;
  int right = -1;
};

class Booster {
 public:
  Booster(const Samples& samples, std::span<const std::uint32_t> rows, const BoostingOptions& options)
      : options_(options), random_(1, "boosting") {
    count_ = rows.size();
    for (const std::vector<double>& column : samples.columns) {
      std::vector<double> values;
      values.reserve(count_);
      for (const std::uint32_t row : rows) {
        values.push_back(column[row]);
      }
      edges_.push_back(quantile_edges(values, options.bins));
      std::vector<std::uint8_t> bins;
      bins.reserve(count_);
      for (const double value : values) {
        bins.push_back(static_cast<std::uint8_t>(std::upper_bound(edges_.back().begin(), edges_.back().end(), value) -
                                                 edges_.back().begin()));
      }
      bins_.push_back(std::move(bins));
    }
    for (const std::uint32_t row : rows) {
      residual_.push_back(samples.target[row]);
    }
  }

  TreeSum run() {
    grow_first();
    for (std::size_t tree = 1; tree < options_.trees; ++tree) {
      grow(options_.leaves, options_.rate);
    }
    drop_unused_edges();
    return TreeSum(edges_, std::move(nodes_));
  }

 private:
  /// Profiles state edges: only those that trees split at.
  void drop_unused_edges() {
    std::vector<std::vector<std::int32_t>> number(edges_.size());
    for (std::size_t feature = 0; feature < edges_.size(); ++feature) {
      number[feature].assign(edges_[feature].size(), -1);
    }
    const auto split = [](const TreeSum::Node& node) { return node.feature >= 0; };
    for (const TreeSum::Node& node : nodes_) {
      if (split(node)) {
        number[static_cast<std::size_t>(node.feature)][static_cast<std::size_t>(node.threshold)] = 0;
      }
    }
    for (std::size_t feature = 0; feature < edges_.size(); ++feature) {
      std::vector<double> kept;
      for (std::size_t i = 0; i < edges_[feature].size(); ++i) {
        if (number[feature][i] == 0) {
          number[feature][i] = static_cast<std::int32_t>(kept.size());
          kept.push_back(edges_[feature][i]);
        }
      }
      edges_[feature] = std::move(kept);
    }
    for (TreeSum::Node& node : nodes_) {
      if (split(node)) {
        node.threshold = number[static_cast<std::size_t>(node.feature)][static_cast<std::size_t>(node.threshold)];
      }
    }
  }

  /// The first tree is a single leaf, the median, as Huber's loss begins; those after it correct what is left.
  void grow_first() {
    std::vector<double> sorted = residual_;
    const auto middle = sorted.begin() + static_cast<std::ptrdiff_t>(sorted.size() / 2);
    std::nth_element(sorted.begin(), middle, sorted.end());
    nodes_.emplace_back();
    nodes_.back().value = TreeSum::rounded_leaf(*middle);
    update(0);
  }

  void grow(std::size_t most_leaves, double rate) {
    draw();
    tree_.clear();
    Leaf root{.begin = 0, .end = order_.size()};
    measure(root);
    tree_.push_back(std::move(root));
    for (std::size_t leaves = 1; leaves < most_leaves; ++leaves) {
      const int chosen = best_leaf();
      if (chosen < 0) {
        break;
      }
      split(static_cast<std::size_t>(chosen));
    }
    const std::size_t first = nodes_.size();
    write(0, rate);
    update(first);
  }

  void draw() {
    pull_.resize(count_);
    for (std::size_t row = 0; row < count_; ++row) {
      pull_[row] = std::clamp(residual_[row], -options_.clip, options_.clip);
    }
    order_.clear();
    for (std::uint32_t row = 0; row < count_; ++row) {
      if (random_.uniform() < options_.row_share || count_ < 50) {
        order_.push_back(row);
      }
    }
    used_.clear();
    offset_.assign(edges_.size(), 0);
    width_ = 0;
    for (std::size_t feature = 0; feature < edges_.size(); ++feature) {
      if (!edges_[feature].empty() && random_.uniform() < options_.feature_share) {
        offset_[feature] = width_;
        used_.push_back(feature);
        width_ += edges_[feature].size() + 1;
      }
    }
    scratch_.resize(order_.size());
  }

  void measure(Leaf& leaf) {
    leaf.histogram.assign(width_, {});
    for (std::size_t i = leaf.begin; i < leaf.end; ++i) {
      leaf.total.sum += pull_[order_[i]];
    }
    leaf.total.rows = static_cast<double>(leaf.end - leaf.begin);
    for (const std::size_t feature : used_) {
      Cell* const cells = leaf.histogram.data() + offset_[feature];
      const std::vector<std::uint8_t>& bins = bins_[feature];
      for (std::size_t i = leaf.begin; i < leaf.end; ++i) {
        const std::uint32_t row = order_[i];
        Cell& cell = cells[bins[row]];
        cell.sum += pull_[row];
        cell.rows += 1.0;
      }
    }
    find_best(leaf);
  }

  void find_best(Leaf& leaf) const {
    const auto worth = [&](const Cell& cell) { return cell.sum * cell.sum / (cell.rows + options_.penalty); };
    const double whole = worth(leaf.total);
    const auto smallest = static_cast<double>(options_.smallest_leaf);
    leaf.best = {};
    for (const std::size_t feature : used_) {
      Cell left;
      for (std::size_t bin = 0; bin < edges_[feature].size(); ++bin) {
        const Cell& cell = leaf.histogram[offset_[feature] + bin];
        left.sum += cell.sum;
        left.rows += cell.rows;
        const Cell right{leaf.total.sum - left.sum, leaf.total.rows - left.rows};
        if (right.rows < smallest) {
          break;
        }
        const double gain = worth(left) + worth(right) - whole;
        if (left.rows >= smallest && gain > leaf.best.gain) {
          leaf.best = {feature, bin, gain};
        }
      }
    }
  }

  [[nodiscard]] int best_leaf() const {
    int chosen = -1;
    double gain = 1e-9;
    for (std::size_t i = 0; i < tree_.size(); ++i) {
      if (tree_[i].left < 0 && tree_[i].best.gain > gain) {
        gain = tree_[i].best.gain;
        chosen = static_cast<int>(i);
      }
    }
    return chosen;
  }

  void split(std::size_t index) {
    Leaf& leaf = tree_[index];
    const std::vector<std::uint8_t>& bins = bins_[leaf.best.feature];
    std::size_t left_end = leaf.begin;
    std::size_t kept = 0;
    for (std::size_t i = leaf.begin; i < leaf.end; ++i) {
      const std::uint32_t row = order_[i];
      if (bins[row] <= leaf.best.threshold) {
        order_[left_end++] = row;
      } else {
        scratch_[kept++] = row;
      }
    }
    std::copy(scratch_.begin(), scratch_.begin() + static_cast<std::ptrdiff_t>(kept),
              order_.begin() + static_cast<std::ptrdiff_t>(left_end));
    Leaf left{.begin = leaf.begin, .end = left_end};
    Leaf right{.begin = left_end, .end = leaf.end};
    // Only the smaller half is counted; the other is what is left of the parent's histogram.
    Leaf& small = left.end - left.begin <= right.end - right.begin ? left : right;
    Leaf& large = &small == &left ? right : left;
    measure(small);
    large.histogram = std::move(leaf.histogram);
    for (std::size_t i = 0; i < width_; ++i) {
      large.histogram[i].sum -= small.histogram[i].sum;
      large.histogram[i].rows -= small.histogram[i].rows;
    }
    large.total = {leaf.total.sum - small.total.sum, leaf.total.rows - small.total.rows};
    find_best(large);
    leaf.left = static_cast<int>(tree_.size());
    leaf.right = leaf.left + 1;
    tree_.push_back(std::move(left));
    tree_.push_back(std::move(right));
  }

  void write(int index, double rate) {
    const Leaf& leaf = tree_[static_cast<std::size_t>(index)];
    const std::size_t at = nodes_.size();
    nodes_.emplace_back();
    if (leaf.left < 0) {
      nodes_[at].value = TreeSum::rounded_leaf(rate * leaf.total.sum / (leaf.total.rows + options_.penalty));
      return;
    }
    nodes_[at].feature = static_cast<std::int32_t>(leaf.best.feature);
    nodes_[at].threshold = static_cast<std::int32_t>(leaf.best.threshold);
    write(leaf.left, rate);
    nodes_[at].right = static_cast<std::uint32_t>(nodes_.size());
    write(leaf.right, rate);
  }

  /// Takes the newest tree's value off every row's residual.
  void update(std::size_t first) {
    for (std::uint32_t row = 0; row < count_; ++row) {
      std::size_t at = first;
      while (nodes_[at].feature >= 0) {
        const TreeSum::Node& node = nodes_[at];
        at = bins_[static_cast<std::size_t>(node.feature)][row] <= node.threshold ? at + 1 : node.right;
      }
      residual_[row] -= nodes_[at].value;
    }
  }

  const BoostingOptions& options_;
  RandomStream random_;
  std::size_t count_ = 0;
  std::vector<std::vector<double>> edges_;       // [features]
  std::vector<std::vector<std::uint8_t>> bins_;  // [features][rows]
  std::vector<double> residual_;                 // [rows]
  std::vector<double> pull_;                     // [rows]: residual, clipped
  std::vector<TreeSum::Node> nodes_;
  // Of the tree that grows:
  std::vector<std::uint32_t> order_;  // rows drawn, leaf by leaf
  std::vector<std::uint32_t> scratch_;
  std::vector<std::size_t> used_;    // features drawn
  std::vector<std::size_t> offset_;  // [features]: where its cells begin
  std::size_t width_ = 0;
  std::vector<Leaf> tree_;
};

}  // namespace

TreeSum boost(const Samples& samples, std::span<const std::uint32_t> rows, const BoostingOptions& options) {
  ensure(!rows.empty() && options.trees > 0, "nothing to fit");
  ensure(options.bins <= 250, "a bin's number does not fit a byte");
  return Booster(samples, rows, options).run();
}

}  // namespace moesim
