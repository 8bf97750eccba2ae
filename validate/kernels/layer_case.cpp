#include <cmath>
#include <limits>

#include "validate/kernels/blas.hpp"
#include "validate/kernels/tensors.hpp"

namespace moesim::bench {
namespace {

enum : std::uint64_t { kRows = 1, kWeight = 2, kLogits = 3, kBias = 4, kShares = 5, kChoices = 6 };
using Part = LayerCase::Part;

constexpr double kInfinite = std::numeric_limits<double>::infinity();

std::vector<double> as_doubles(const std::vector<std::uint16_t>& bits) {
  std::vector<double> out;
  out.reserve(bits.size());
  for (const std::uint16_t value : bits) {
    out.push_back(static_cast<double>(bf16_to_float(value)));
  }
  return out;
}

/// Random experts of each copy. Not distinct for a token: no kernel here minds.
std::vector<int> random_choices(std::int64_t copies, int experts, std::uint64_t seed) {
  std::vector<int> out;
  for (std::int64_t i = 0; i < copies; ++i) {
    out.push_back(static_cast<int>(hash(seed, static_cast<std::uint64_t>(i)) % static_cast<unsigned>(experts)));
  }
  return out;
}

/// The router: its GEMM (or given logits), then the choice.
class Router : public Prepared {
 public:
  Router(const LayerCase& c, Bench& bench)
      : c_(c),
        bench_(bench),
        sets_(bench.sets_for(needs_of(c).bytes, needs_of(c).resident)),
        logits_(sets_, size(c.tokens * c.layer.experts)),
        bias_(sets_, size(c.layer.experts)),
        chosen_(sets_, size(c.tokens * c.layer.k)),
        weights_(sets_, size(c.tokens * c.layer.k)) {
    cudaStream_t stream = bench.stream.get();
    fill(bias_, sets_, bench.seed, kBias, stream);
    if (c.part == Part::kRouter) {
      in_ = Tensor<std::uint16_t>(sets_, size(c.tokens * c.layer.hidden));
      weight_ = Tensor<std::uint16_t>(sets_, size(std::int64_t{c.layer.experts} * c.layer.hidden));
      fill(in_, sets_, bench.seed, kRows, stream);
      fill(weight_, sets_, bench.seed, kWeight, stream);
      product_ = std::make_unique<LtProduct>(bench.blas, NumberType::kBf16, Output::kFloat, c.tokens, c.layer.experts,
                                             c.layer.hidden);
    } else {
      fill(logits_, sets_, bench.seed, kLogits, stream);
    }
  }
  [[nodiscard]] std::size_t sets() const override { return sets_; }
  void poison(cudaStream_t stream) override {
    if (product_) {
      logits_.poison(stream);
    }
    chosen_.poison(stream);
    weights_.poison(stream);
  }
  void launch(std::size_t set, cudaStream_t stream) override {
    if (product_) {
      product_->run({.a = in_.at(set), .b = weight_.at(set), .c = logits_.at(set), .alpha = alpha()}, stream);
    }
    launch_top_k({.logits = logits_.at(set),
                  .bias = bias_.at(set),
                  .chosen = chosen_.at(set),
                  .weights = weights_.at(set),
                  .tokens = static_cast<int>(c_.tokens),
                  .experts = c_.layer.experts,
                  .k = c_.layer.k,
                  .groups = c_.layer.groups,
                  .groups_kept = c_.layer.groups_kept,
                  .weight_scale = kWeightScale},
                 c_.layer.score, stream);
  }
  Verdict verdict(std::size_t set) override;

 private:
  static constexpr float kWeightScale = 2.5F;  // DeepSeek-V3's
  static std::size_t size(std::int64_t count) { return static_cast<std::size_t>(count); }
  [[nodiscard]] float alpha() const { return 3.0F / std::sqrt(static_cast<float>(c_.layer.hidden)); }
  void check_logits(Verdict& out, std::size_t set, std::int64_t token, const std::vector<float>& logits) const;

  LayerCase c_;
  Bench& bench_;
  std::size_t sets_;
  Tensor<float> logits_;
  Tensor<float> bias_;
  Tensor<int> chosen_;
  Tensor<float> weights_;
  Tensor<std::uint16_t> in_;
  Tensor<std::uint16_t> weight_;
  std::unique_ptr<LtProduct> product_;
};

void Router::check_logits(Verdict& out, std::size_t set, std::int64_t token, const std::vector<float>& logits) const {
  std::vector<double> found;
  std::vector<double> expected;
  const std::int64_t hidden = c_.layer.hidden;
  const auto value = [&](std::uint64_t tensor, std::int64_t at) {
    return bf16_to_float(random_bf16(tensor_seed(bench_.seed, tensor, set), static_cast<std::uint64_t>(at)));
  };
  for (const std::int64_t expert : sampled(c_.layer.experts, 8, bench_.seed)) {
    found.push_back(static_cast<double>(logits[static_cast<std::size_t>(expert)]));
    expected.push_back(static_cast<double>(alpha()) *
                       dot(
                           hidden, [&](std::int64_t d) { return value(kRows, token * hidden + d); },
                           [&](std::int64_t d) { return value(kWeight, expert * hidden + d); }));
  }
  out.add(relative_error(found, expected), kFloatTolerance, "router's product");
}

/// The choice is held against the logits that the device itself has; where two experts are closer than floats can
/// tell, either may stand.
Verdict Router::verdict(std::size_t set) {
  bench_.stream.wait();
  Verdict out;
  constexpr double kTooClose = 1e-5;
  const std::vector<float> bias = downloaded(bias_.at(set), bias_.count());
  for (const std::int64_t token : sampled(c_.tokens, 32, bench_.seed)) {
    const std::vector<float> logits = row_from(logits_.at(set), token, c_.layer.experts);
    if (product_) {
      check_logits(out, set, token, logits);
    }
    const Choice right = choose(logits, bias, c_.layer.score, c_.layer.k, c_.layer.groups, c_.layer.groups_kept,
                                static_cast<double>(kWeightScale));
    if (!(right.margin > kTooClose)) {
      continue;
    }
    const std::vector<int> chosen = row_from(chosen_.at(set), token, c_.layer.k);
    const std::vector<float> weights = row_from(weights_.at(set), token, c_.layer.k);
    out.add(chosen == right.experts ? 0.0 : kInfinite, kFloatTolerance, "chosen experts");
    out.add(relative_error(std::vector<double>(weights.begin(), weights.end()), right.weights), kFloatTolerance,
            "weights of the chosen");
  }
  return out;
}

/// Sorting copies by expert, bringing rows into that order, and back.
class Order : public Prepared {
 public:
  Order(const LayerCase& c, Bench& bench)
      : c_(c),
        bench_(bench),
        copies_(c.tokens * c.layer.k),
        sets_(bench.sets_for(needs_of(c).bytes, needs_of(c).resident)) {
    const auto copies = static_cast<std::size_t>(copies_);
    const auto hidden = static_cast<std::size_t>(c.layer.hidden);
    chosen_host_ = random_choices(copies_, c.layer.experts, tensor_seed(bench.seed, kChoices, 0));
    order_host_ = stable_order(chosen_host_);
    cudaStream_t stream = bench.stream.get();
    order_ = Tensor<int>(sets_, copies);
    inverse_ = Tensor<int>(sets_, copies);
    if (c.part == Part::kSort) {
      chosen_ = uploaded(chosen_host_);
      offsets_ = Tensor<int>(sets_, static_cast<std::size_t>(c.layer.experts) + 1);
      scratch_bytes_ = sort_scratch_bytes(static_cast<int>(copies_), c.layer.experts);
      scratch_ = DeviceBuffer(scratch_bytes_);
      return;
    }
    const bool back = c.part == Part::kUnpermute;
    in_ = Tensor<std::uint16_t>(sets_, (back ? copies : static_cast<std::size_t>(c.tokens)) * hidden);
    out_ = Tensor<std::uint16_t>(sets_, (back ? static_cast<std::size_t>(c.tokens) : copies) * hidden);
    fill(in_, sets_, bench.seed, kRows, stream);
    std::vector<int> inverse(copies);
    for (std::size_t row = 0; row < copies; ++row) {
      inverse[static_cast<std::size_t>(order_host_[row])] = static_cast<int>(row);
    }
    inverse_host_ = inverse;
    shares_ = Tensor<float>(sets_, copies);
    fill(shares_, sets_, bench.seed, kShares, stream);
    const auto bytes = copies * sizeof(int);
    for (std::size_t set = 0; set < sets_; ++set) {
      copy_to_device(order_.at(set), order_host_.data(), bytes);
      copy_to_device(inverse_.at(set), inverse.data(), bytes);
    }
  }
  [[nodiscard]] std::size_t sets() const override { return sets_; }
  void poison(cudaStream_t stream) override {
    if (c_.part == Part::kSort) {
      order_.poison(stream);
      offsets_.poison(stream);
      return;
    }
    out_.poison(stream);
    if (c_.part == Part::kPermute) {
      inverse_.poison(stream);
    }
  }
  void launch(std::size_t set, cudaStream_t stream) override {
    if (c_.part == Part::kSort) {
      launch_sort(chosen_.as<int>(), static_cast<int>(copies_), c_.layer.experts, order_.at(set), offsets_.at(set),
                  scratch_.as(), scratch_bytes_, stream);
    } else if (c_.part == Part::kPermute) {
      launch_permute({.in = in_.at(set),
                      .order = order_.at(set),
                      .out = out_.at(set),
                      .row_of_copy = inverse_.at(set),
                      .rows = static_cast<int>(copies_),
                      .hidden = c_.layer.hidden,
                      .k = c_.layer.k},
                     stream);
    } else {
      launch_unpermute({.in = in_.at(set),
                        .row_of_copy = inverse_.at(set),
                        .weights = shares_.at(set),
                        .out = out_.at(set),
                        .tokens = static_cast<int>(c_.tokens),
                        .hidden = c_.layer.hidden,
                        .k = c_.layer.k},
                       stream);
    }
  }
  Verdict verdict(std::size_t set) override;

 private:
  [[nodiscard]] std::vector<std::uint16_t> input_row(std::size_t set, std::int64_t row) const {
    std::vector<std::uint16_t> out;
    for (std::int64_t i = 0; i < c_.layer.hidden; ++i) {
      out.push_back(
          random_bf16(tensor_seed(bench_.seed, kRows, set), static_cast<std::uint64_t>(row * c_.layer.hidden + i)));
    }
    return out;
  }

  LayerCase c_;
  Bench& bench_;
  std::int64_t copies_;
  std::size_t sets_;
  std::vector<int> chosen_host_;
  std::vector<int> order_host_;
  std::vector<int> inverse_host_;
  DeviceBuffer chosen_;
  std::size_t scratch_bytes_ = 0;
  DeviceBuffer scratch_;
  Tensor<int> order_;
  Tensor<int> offsets_;
  Tensor<int> inverse_;
  Tensor<float> shares_;
  Tensor<std::uint16_t> in_;
  Tensor<std::uint16_t> out_;
};

Verdict Order::verdict(std::size_t set) {
  bench_.stream.wait();
  Verdict out;
  if (c_.part == Part::kSort) {
    const std::vector<int> order = downloaded(order_.at(set), order_.count());
    const std::vector<int> offsets = downloaded(offsets_.at(set), offsets_.count());
    std::vector<int> expected(offsets.size());
    for (const int expert : chosen_host_) {
      ++expected[static_cast<std::size_t>(expert) + 1];
    }
    for (std::size_t e = 1; e < expected.size(); ++e) {
      expected[e] += expected[e - 1];
    }
    out.add(order == order_host_ ? 0.0 : kInfinite, kFloatTolerance, "order of the copies");
    out.add(offsets == expected ? 0.0 : kInfinite, kFloatTolerance, "offsets of the experts");
    return out;
  }
  if (nan_count(out_.at(set), out_.count(), bench_.stream.get()) > 0) {
    out.add(kInfinite, kBf16Tolerance, "elements not written");
    return out;
  }
  const std::int64_t hidden = c_.layer.hidden;
  if (c_.part == Part::kPermute) {
    for (const std::int64_t row : sampled(copies_, 64, bench_.seed)) {
      const std::int64_t copy = order_host_[static_cast<std::size_t>(row)];
      const bool equal = row_from(out_.at(set), row, hidden) == input_row(set, copy / c_.layer.k);
      out.add(equal ? 0.0 : kInfinite, kBf16Tolerance, "rows in the experts' order");
    }
    const bool inverse = downloaded(inverse_.at(set), inverse_.count()) == inverse_host_;
    out.add(inverse ? 0.0 : kInfinite, kBf16Tolerance, "rows of copies");
    return out;
  }
  for (const std::int64_t token : sampled(c_.tokens, 32, bench_.seed)) {
    std::vector<double> expected(static_cast<std::size_t>(hidden));
    for (std::int64_t j = 0; j < c_.layer.k; ++j) {
      const std::int64_t copy = token * c_.layer.k + j;
      const auto share =
          static_cast<double>(random_scale(tensor_seed(bench_.seed, kShares, set), static_cast<std::uint64_t>(copy)));
      const std::vector<double> row = as_doubles(input_row(set, inverse_host_[static_cast<std::size_t>(copy)]));
      for (std::size_t i = 0; i < row.size(); ++i) {
        expected[i] += share * row[i];
      }
    }
    out.add(relative_error(as_doubles(row_from(out_.at(set), token, hidden)), expected), kBf16Tolerance,
            "weighted sums");
  }
  return out;
}

/// SwiGLU and RMSNorm.
class RowWise : public Prepared {
 public:
  RowWise(const LayerCase& c, Bench& bench)
      : c_(c),
        bench_(bench),
        rows_(c.part == Part::kRmsNorm ? c.tokens : c.tokens * c.layer.k),
        width_(c.part == Part::kRmsNorm ? c.layer.hidden : c.layer.intermediate),
        sets_(bench.sets_for(needs_of(c).bytes, needs_of(c).resident)) {
    const auto cells = static_cast<std::size_t>(rows_ * width_);
    cudaStream_t stream = bench.stream.get();
    in_ = Tensor<std::uint16_t>(sets_, c.part == Part::kRmsNorm ? cells : 2 * cells);
    fill(in_, sets_, bench.seed, kRows, stream);
    if (c.part == Part::kSwiGluFp8) {
      quantised_ = Tensor<std::uint8_t>(sets_, cells);
      scales_ = Tensor<float>(sets_, static_cast<std::size_t>(rows_ * blocks()));
    } else {
      out_ = Tensor<std::uint16_t>(sets_, cells);
    }
    if (c.part == Part::kRmsNorm) {
      weight_ = Tensor<std::uint16_t>(sets_, static_cast<std::size_t>(width_));
      fill(weight_, sets_, bench.seed, kWeight, stream);
    }
  }
  [[nodiscard]] std::size_t sets() const override { return sets_; }
  void poison(cudaStream_t stream) override {
    if (c_.part == Part::kSwiGluFp8) {
      quantised_.poison(stream);
      scales_.poison(stream);
    } else {
      out_.poison(stream);
    }
  }
  void launch(std::size_t set, cudaStream_t stream) override {
    if (c_.part == Part::kRmsNorm) {
      launch_rms_norm({.in = in_.at(set),
                       .weight = weight_.at(set),
                       .out = out_.at(set),
                       .rows = static_cast<int>(rows_),
                       .width = static_cast<int>(width_)},
                      stream);
      return;
    }
    const bool narrow = c_.part == Part::kSwiGluFp8;
    launch_swiglu({.in = in_.at(set),
                   .out = narrow ? nullptr : out_.at(set),
                   .quantised = narrow ? quantised_.at(set) : nullptr,
                   .scales = narrow ? scales_.at(set) : nullptr,
                   .rows = static_cast<int>(rows_),
                   .width = static_cast<int>(width_)},
                  stream);
  }
  Verdict verdict(std::size_t set) override;

 private:
  [[nodiscard]] std::int64_t blocks() const { return (width_ + 127) / 128; }

  LayerCase c_;
  Bench& bench_;
  std::int64_t rows_;
  std::int64_t width_;
  std::size_t sets_;
  Tensor<std::uint16_t> in_;
  Tensor<std::uint16_t> weight_;
  Tensor<std::uint16_t> out_;
  Tensor<std::uint8_t> quantised_;
  Tensor<float> scales_;
};

Verdict RowWise::verdict(std::size_t set) {
  bench_.stream.wait();
  Verdict out;
  const bool norm = c_.part == Part::kRmsNorm;
  const bool narrow = c_.part == Part::kSwiGluFp8;
  if (narrow ? nan_count(scales_.at(set), scales_.count(), bench_.stream.get()) > 0
             : nan_count(out_.at(set), out_.count(), bench_.stream.get()) > 0) {
    out.add(kInfinite, kBf16Tolerance, "elements not written");
    return out;
  }
  const std::uint64_t seed = tensor_seed(bench_.seed, kRows, set);
  const auto input = [&](std::int64_t at) {
    return static_cast<double>(bf16_to_float(random_bf16(seed, static_cast<std::uint64_t>(at))));
  };
  for (const std::int64_t row : sampled(rows_, 32, bench_.seed)) {
    std::vector<double> expected;
    if (norm) {
      std::vector<double> x;
      for (std::int64_t i = 0; i < width_; ++i) {
        x.push_back(input(row * width_ + i));
      }
      expected = rms_norm(x, as_doubles(row_from(weight_.at(set), 0, width_)), 1e-6);
    } else {
      for (std::int64_t i = 0; i < width_; ++i) {
        expected.push_back(swiglu(input(row * 2 * width_ + i), input((row * 2 + 1) * width_ + i)));
      }
    }
    if (!narrow) {
      out.add(relative_error(as_doubles(row_from(out_.at(set), row, width_)), expected), kBf16Tolerance, "rows");
      continue;
    }
    std::vector<double> found;
    const std::vector<float> scales = row_from(scales_.at(set), row, blocks());
    for (const std::uint8_t bits : row_from(quantised_.at(set), row, width_)) {
      found.push_back(static_cast<double>(e4m3_to_float(bits)) * static_cast<double>(scales[found.size() / 128]));
    }
    out.add(relative_error(found, expected), kQuantisedTolerance, "rows");
  }
  return out;
}

}  // namespace

std::unique_ptr<Prepared> prepare(const LayerCase& c, Bench& bench) {
  switch (c.part) {
    case Part::kRouter:
    case Part::kTopK:
      return std::make_unique<Router>(c, bench);
    case Part::kSort:
    case Part::kPermute:
    case Part::kUnpermute:
      return std::make_unique<Order>(c, bench);
    default:
      if (c.part == Part::kSwiGluFp8) {
        bench.need_fp8();
      }
      return std::make_unique<RowWise>(c, bench);
  }
}

}  // namespace moesim::bench
