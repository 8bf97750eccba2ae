#include <cmath>

#include "validate/kernels/blas.hpp"
#include "validate/kernels/tensors.hpp"

namespace moesim::bench {
namespace {

enum : std::uint64_t { kLeft = 1, kRight = 2, kLeftScale = 3, kRightScale = 4 };

/// One tensor for each type; only those of the case are allocated.
class Gemm : public Prepared {
 public:
  Gemm(const GemmCase& c, Bench& bench)
      : c_(c),
        bench_(bench),
        sets_(bench.sets_for(needs_of(c).bytes, needs_of(c).resident)),
        product_(bench.blas, c.type, Output::kBf16, c.m, c.n, c.k, bench.multiprocessors),
        c_out_(sets_, static_cast<std::size_t>(c.m * c.n)) {
    cudaStream_t stream = bench.stream.get();
    const auto left = static_cast<std::size_t>(c.m * c.k);
    const auto right = static_cast<std::size_t>(c.n * c.k);
    if (c.type == NumberType::kBf16) {
      left16_ = Tensor<std::uint16_t>(sets_, left);
      right16_ = Tensor<std::uint16_t>(sets_, right);
      fill(left16_, sets_, bench.seed, kLeft, stream);
      fill(right16_, sets_, bench.seed, kRight, stream);
      return;
    }
    left8_ = Tensor<std::uint8_t>(sets_, left);
    right8_ = Tensor<std::uint8_t>(sets_, right);
    fill(left8_, sets_, bench.seed, kLeft, stream);
    fill(right8_, sets_, bench.seed, kRight, stream);
    const bool block = c.type == NumberType::kFp8Block;
    left_scale_ = Tensor<float>(sets_, static_cast<std::size_t>(block ? depths() * c.m : 1));
    right_scale_ = Tensor<float>(sets_, static_cast<std::size_t>(block ? padded_depths() * ((c.n + 127) / 128) : 1));
    fill(left_scale_, sets_, bench.seed, kLeftScale, stream);
    fill(right_scale_, sets_, bench.seed, kRightScale, stream);
  }

  [[nodiscard]] std::size_t sets() const override { return sets_; }
  void poison(cudaStream_t stream) override { c_out_.poison(stream); }
  void launch(std::size_t set, cudaStream_t stream) override {
    const bool wide = c_.type == NumberType::kBf16;
    product_.run({.a = wide ? static_cast<const void*>(left16_.at(set)) : left8_.at(set),
                  .b = wide ? static_cast<const void*>(right16_.at(set)) : right8_.at(set),
                  .c = c_out_.at(set),
                  .a_scale = wide ? nullptr : left_scale_.at(set),
                  .b_scale = wide ? nullptr : right_scale_.at(set)},
                 stream);
  }
  Verdict verdict(std::size_t set) override;

 private:
  [[nodiscard]] std::int64_t depths() const { return (c_.k + 127) / 128; }
  [[nodiscard]] std::int64_t padded_depths() const { return (depths() + 3) / 4 * 4; }

  GemmCase c_;
  Bench& bench_;
  std::size_t sets_;
  LtProduct product_;
  Tensor<std::uint16_t> c_out_;
  Tensor<std::uint16_t> left16_;
  Tensor<std::uint16_t> right16_;
  Tensor<std::uint8_t> left8_;
  Tensor<std::uint8_t> right8_;
  Tensor<float> left_scale_;
  Tensor<float> right_scale_;
};

/// Elements at 24 rows and columns each, computed again from what the inputs were filled with.
Verdict Gemm::verdict(std::size_t set) {
  bench_.stream.wait();
  Verdict out;
  const double tolerance = c_.type == NumberType::kBf16 ? kBf16Tolerance : kFp8Tolerance;
  if (nan_count(c_out_.at(set), c_out_.count(), bench_.stream.get()) > 0) {
    out.add(HUGE_VAL, tolerance, "elements not written");
    return out;
  }
  constexpr std::int64_t kSamples = 24;
  const auto seed_of = [&](std::uint64_t tensor) { return tensor_seed(bench_.seed, tensor, set); };
  const auto value = [&](std::uint64_t tensor, std::int64_t index) {
    const auto at = static_cast<std::uint64_t>(index);
    return static_cast<double>(c_.type == NumberType::kBf16 ? bf16_to_float(random_bf16(seed_of(tensor), at))
                                                            : e4m3_to_float(random_e4m3(seed_of(tensor), at)));
  };
  const auto scale = [&](std::int64_t row, std::int64_t column, std::int64_t depth) {
    if (c_.type == NumberType::kBf16) {
      return 1.0;
    }
    const bool block = c_.type == NumberType::kFp8Block;
    const std::int64_t left = block ? depth / 128 * c_.m + row : 0;
    const std::int64_t right = block ? column / 128 * padded_depths() + depth / 128 : 0;
    return static_cast<double>(random_scale(seed_of(kLeftScale), static_cast<std::uint64_t>(left))) *
           static_cast<double>(random_scale(seed_of(kRightScale), static_cast<std::uint64_t>(right)));
  };
  std::vector<double> found;
  std::vector<double> expected;
  const std::vector<std::int64_t> columns = sampled(c_.n, kSamples, bench_.seed);
  std::vector<std::vector<double>> weights;
  for (const std::int64_t column : columns) {
    std::vector<double>& weight = weights.emplace_back();
    for (std::int64_t depth = 0; depth < c_.k; ++depth) {
      weight.push_back(value(kRight, column * c_.k + depth));
    }
  }
  for (const std::int64_t row : sampled(c_.m, kSamples, bench_.seed + 1)) {
    const std::vector<std::uint16_t> values = row_from(c_out_.at(set), row, c_.n);
    std::vector<double> left;
    for (std::int64_t depth = 0; depth < c_.k; ++depth) {
      left.push_back(value(kLeft, row * c_.k + depth));
    }
    for (std::size_t j = 0; j < columns.size(); ++j) {
      found.push_back(static_cast<double>(bf16_to_float(values[static_cast<std::size_t>(columns[j])])));
      double sum = 0.0;
      for (std::int64_t begin = 0; begin < c_.k; begin += 128) {
        const std::int64_t length = std::min<std::int64_t>(128, c_.k - begin);
        sum += scale(row, columns[j], begin) *
               dot(
                   length, [&](std::int64_t k) { return left[static_cast<std::size_t>(begin + k)]; },
                   [&](std::int64_t k) { return weights[j][static_cast<std::size_t>(begin + k)]; });
      }
      expected.push_back(sum);
    }
  }
  out.add(relative_error(found, expected), tolerance, "product");
  return out;
}

class Hbm : public Prepared {
 public:
  Hbm(const HbmCase& c, Bench& bench)
      : c_(c),
        bench_(bench),
        sets_(bench.sets_for(needs_of(c).bytes, needs_of(c).resident)),
        in_(c.access == HbmCase::Access::kWrite ? 0 : sets_, static_cast<std::size_t>(c.bytes)),
        out_(c.access == HbmCase::Access::kRead ? 0 : sets_, static_cast<std::size_t>(c.bytes)),
        sums_(sets_, 1) {
    if (c.access != HbmCase::Access::kWrite) {
      fill(in_, sets_, bench.seed, kLeft, bench.stream.get());
    }
  }
  [[nodiscard]] std::size_t sets() const override { return sets_; }
  void poison(cudaStream_t stream) override {
    out_.poison(stream);
    for (std::size_t set = 0; set < sets_; ++set) {
      check(cudaMemsetAsync(sums_.at(set), 0, sizeof(unsigned long long), stream), "sums");
    }
  }
  void launch(std::size_t set, cudaStream_t stream) override {
    const auto bytes = static_cast<std::size_t>(c_.bytes);
    if (c_.access == HbmCase::Access::kRead) {
      launch_read(in_.at(set), bytes, sums_.at(set), stream);
    } else if (c_.access == HbmCase::Access::kWrite) {
      launch_write(out_.at(set), bytes, kWord, stream);
    } else {
      launch_copy(out_.at(set), in_.at(set), bytes, stream);
    }
  }
  /// Copied and written bytes at 4096 places of 16 bytes; of what was read, that the sum is a multiple of one pass's.
  Verdict verdict(std::size_t set) override;

 private:
  static constexpr unsigned kWord = 0x01020304u;
  HbmCase c_;
  Bench& bench_;
  std::size_t sets_;
  Tensor<std::uint8_t> in_;
  Tensor<std::uint8_t> out_;
  Tensor<unsigned long long> sums_;
};

Verdict Hbm::verdict(std::size_t set) {
  bench_.stream.wait();
  Verdict out;
  bool right = true;
  if (c_.access == HbmCase::Access::kRead) {
    const unsigned long long found = downloaded(sums_.at(set), 1)[0];
    constexpr std::int64_t kMostToAdd = std::int64_t{64} << 20;  // on the host; larger sizes run the same code
    if (c_.bytes <= kMostToAdd) {
      const std::vector<std::uint8_t> bytes = downloaded(in_.at(set), in_.count());
      unsigned long long once = 0;
      for (std::size_t i = 0; i < bytes.size(); i += 4) {
        once += bytes[i] | static_cast<unsigned>(bytes[i + 1]) << 8 | static_cast<unsigned>(bytes[i + 2]) << 16 |
                static_cast<unsigned>(bytes[i + 3]) << 24;
      }
      // The sum wraps after about 2⁵⁰ words: never within one run of a case.
      right = found > 0 && found % once == 0;
    } else {
      right = found > 0;
    }
  } else {
    constexpr std::size_t kPiece = 16;
    for (const std::int64_t at : sampled(c_.bytes / 16, 256, bench_.seed)) {
      const auto begin = static_cast<std::size_t>(at) * kPiece;
      const std::vector<std::uint8_t> bytes = downloaded(out_.at(set) + begin, kPiece);
      for (std::size_t i = 0; i < kPiece; ++i) {
        const std::uint8_t expected = c_.access == HbmCase::Access::kWrite
                                          ? static_cast<std::uint8_t>(kWord >> (8 * (i % 4)))
                                          : random_e4m3(tensor_seed(bench_.seed, kLeft, set), begin + i);
        right = right && bytes[i] == expected;
      }
    }
  }
  out.add(right ? 0.0 : HUGE_VAL, kFloatTolerance, "bytes");
  return out;
}

}  // namespace

std::unique_ptr<Prepared> prepare(const GemmCase& c, Bench& bench) {
  if (c.type != NumberType::kBf16) {
    bench.need_fp8();
  }
  return std::make_unique<Gemm>(c, bench);
}
std::unique_ptr<Prepared> prepare(const HbmCase& c, Bench& bench) { return std::make_unique<Hbm>(c, bench); }

}  // namespace moesim::bench
