#include <cmath>
#include <map>
#include <numeric>

#include "validate/kernels/blas.hpp"
#include "validate/kernels/tensors.hpp"

namespace moesim::bench {
namespace {

enum : std::uint64_t { kIn = 1, kUp = 2, kDown = 3, kInScale = 4, kUpScale = 5, kDownScale = 6 };

/// A matrix in the type of the case.
class Matrix {
 public:
  Matrix() = default;
  Matrix(NumberType type, std::size_t sets, std::size_t count) : type_(type) {
    if (type == NumberType::kBf16) {
      wide_ = Tensor<std::uint16_t>(sets, count);
    } else {
      narrow_ = Tensor<std::uint8_t>(sets, count);
    }
  }
  void fill_random(std::size_t sets, std::uint64_t seed, std::uint64_t id, cudaStream_t stream) const {
    type_ == NumberType::kBf16 ? fill(wide_, sets, seed, id, stream) : fill(narrow_, sets, seed, id, stream);
  }
  void poison(cudaStream_t stream) const { type_ == NumberType::kBf16 ? wide_.poison(stream) : narrow_.poison(stream); }
  [[nodiscard]] unsigned char* at(std::size_t set, std::int64_t element = 0) const {
    return type_ == NumberType::kBf16 ? reinterpret_cast<unsigned char*>(wide_.at(set) + element)
                                      : narrow_.at(set) + element;
  }
  /// From the device.
  [[nodiscard]] std::vector<double> row(std::size_t set, std::int64_t row, std::int64_t width) const {
    std::vector<double> out;
    if (type_ == NumberType::kBf16) {
      for (const std::uint16_t bits : row_from(wide_.at(set), row, width)) {
        out.push_back(static_cast<double>(bf16_to_float(bits)));
      }
    } else {
      for (const std::uint8_t bits : row_from(narrow_.at(set), row, width)) {
        out.push_back(static_cast<double>(e4m3_to_float(bits)));
      }
    }
    return out;
  }

 private:
  NumberType type_ = NumberType::kBf16;
  Tensor<std::uint16_t> wide_;
  Tensor<std::uint8_t> narrow_;
};

/// up[rows, 2i] = alpha·in·W_upᵀ, act = swiglu(up), out = alpha'·act·W_downᵀ: expert by expert, rows in their order.
class Experts : public Prepared {
 public:
  Experts(const ExpertsCase& c, Bench& bench);
  [[nodiscard]] std::size_t sets() const override { return sets_; }
  void poison(cudaStream_t stream) override {
    up_.poison(stream);
    act_.poison(stream);
    out_.poison(stream);
  }
  void launch(std::size_t set, cudaStream_t stream) override {
    product(set, Stage::kUp, stream);
    launch_swiglu({.in = up_.at(set),
                   .out = narrow() ? nullptr : reinterpret_cast<std::uint16_t*>(act_.at(set)),
                   .quantised = narrow() ? act_.at(set) : nullptr,
                   .scales = block() ? act_scale_.at(set) : nullptr,
                   .fixed_scale = kFixedScale,
                   .rows = static_cast<int>(total_),
                   .width = width_},
                  stream);
    product(set, Stage::kDown, stream);
  }
  Verdict verdict(std::size_t set) override;

 private:
  enum class Stage { kUp, kDown };
  /// Keeps what a per-tensor scale quantises within e4m3: activations stray a few units.
  static constexpr float kFixedScale = 1.0F / 32.0F;

  [[nodiscard]] bool narrow() const { return c_.type != NumberType::kBf16; }
  [[nodiscard]] bool block() const { return c_.type == NumberType::kFp8Block; }
  [[nodiscard]] int hidden() const { return c_.layer.hidden; }
  /// Of the products, so that activations are of order one whatever the sizes.
  [[nodiscard]] float alpha(Stage stage) const {
    const auto depth = static_cast<float>(stage == Stage::kUp ? hidden() : width_);
    const float tensor = stage == Stage::kDown && c_.type == NumberType::kFp8 ? kFixedScale : 1.0F;
    return 3.0F / std::sqrt(depth) * tensor;
  }
  void product(std::size_t set, Stage stage, cudaStream_t stream);
  void set_up_groups(Stage stage);
  [[nodiscard]] double weight(std::size_t set, Stage stage, std::size_t expert, std::int64_t column,
                              std::int64_t depth) const;
  [[nodiscard]] double weight_scale(std::size_t set, Stage stage, std::size_t expert, std::int64_t column,
                                    std::int64_t depth) const;
  void add_product(Verdict& verdict, std::size_t set, Stage stage, std::int64_t row, std::size_t expert) const;

  ExpertsCase c_;
  Bench& bench_;
  int width_;  ///< intermediate, of this GPU
  std::vector<std::int64_t> rows_;
  std::vector<int> offsets_;
  std::int64_t total_ = 0;
  std::int64_t activated_ = 0;
  std::size_t sets_ = 1;
  Matrix in_;
  Matrix up_weight_;
  Matrix down_weight_;
  Tensor<std::uint16_t> up_;
  Matrix act_;
  Tensor<std::uint16_t> out_;
  Tensor<float> in_scale_;
  Tensor<float> act_scale_;
  Tensor<float> up_scale_;
  Tensor<float> down_scale_;
  DeviceBuffer offsets_device_;
  std::map<std::pair<Stage, std::int64_t>, LtProduct> products_;  // by rows
  struct Groups {
    Blas::Groups call;
    DeviceBuffer pointers;  // a, b, c of each group
  };
  std::map<std::pair<Stage, std::size_t>, Groups> groups_;  // by set
};

Experts::Experts(const ExpertsCase& c, Bench& bench)
    : c_(c), bench_(bench), width_(c.layer.intermediate / c.tensor_parallel), rows_(rows_of(c)) {
  if (narrow()) {
    bench.need_fp8();
  }
  offsets_.push_back(0);
  for (const std::int64_t count : rows_) {
    total_ += count;
    activated_ += count > 0 ? 1 : 0;
    offsets_.push_back(static_cast<int>(total_));
  }
  if (total_ == 0) {
    throw Unsupported("no token arrived at this rank");
  }
  const Needs needs = needs_of(c);
  sets_ = bench.sets_for(needs.bytes, needs.resident);
  const auto experts = rows_.size();
  const auto size = [](std::int64_t a, std::int64_t b) { return static_cast<std::size_t>(a * b); };
  in_ = Matrix(c.type, sets_, size(total_, hidden()));
  up_weight_ = Matrix(c.type, sets_, experts * size(2 * width_, hidden()));
  down_weight_ = Matrix(c.type, sets_, experts * size(hidden(), width_));
  up_ = Tensor<std::uint16_t>(sets_, size(total_, 2 * width_));
  act_ = Matrix(c.type, sets_, size(total_, width_));
  out_ = Tensor<std::uint16_t>(sets_, size(total_, hidden()));
  cudaStream_t stream = bench.stream.get();
  in_.fill_random(sets_, bench.seed, kIn, stream);
  up_weight_.fill_random(sets_, bench.seed, kUp, stream);
  down_weight_.fill_random(sets_, bench.seed, kDown, stream);
  if (block()) {
    const auto blocks = [](std::int64_t n) { return (n + 127) / 128; };
    in_scale_ = Tensor<float>(sets_, size(total_, blocks(hidden())));
    act_scale_ = Tensor<float>(sets_, size(total_, blocks(width_)));
    up_scale_ = Tensor<float>(sets_, experts * size(blocks(2 * width_), blocks(hidden())));
    down_scale_ = Tensor<float>(sets_, experts * size(blocks(hidden()), blocks(width_)));
    fill(in_scale_, sets_, bench.seed, kInScale, stream);
    fill(up_scale_, sets_, bench.seed, kUpScale, stream);
    fill(down_scale_, sets_, bench.seed, kDownScale, stream);
  }
  offsets_device_ = uploaded(offsets_);
  if (c.kernel == ExpertKernel::kCublasGrouped) {
    set_up_groups(Stage::kUp);
    set_up_groups(Stage::kDown);
  } else if (c.kernel == ExpertKernel::kCublasLt) {
    for (const std::int64_t count : rows_) {
      for (const Stage stage : {Stage::kUp, Stage::kDown}) {
        const bool up = stage == Stage::kUp;
        if (count > 0 && !products_.contains({stage, count})) {
          products_.try_emplace({stage, count}, bench.blas, c.type, Output::kBf16, count, up ? 2 * width_ : hidden(),
                                up ? hidden() : width_, bench.multiprocessors);
        }
      }
    }
  }
}

void Experts::set_up_groups(Stage stage) {
  const bool up = stage == Stage::kUp;
  const int n = up ? 2 * width_ : hidden();
  const int k = up ? hidden() : width_;
  for (std::size_t set = 0; set < sets_; ++set) {
    Groups groups;
    std::vector<const void*> a;
    std::vector<const void*> b;
    std::vector<const void*> out;
    for (std::size_t e = 0; e < rows_.size(); ++e) {
      if (rows_[e] > 0) {
        const std::int64_t first = offsets_[e];
        groups.call.rows.push_back(static_cast<int>(rows_[e]));
        a.push_back((up ? in_ : act_).at(set, first * k));
        b.push_back((up ? up_weight_ : down_weight_).at(set, static_cast<std::int64_t>(e) * n * k));
        out.push_back((up ? up_ : out_).at(set) + first * n);
      }
    }
    const std::size_t count = a.size();
    a.insert(a.end(), b.begin(), b.end());
    a.insert(a.end(), out.begin(), out.end());
    groups.pointers = uploaded(a);
    groups.call.n = n;
    groups.call.k = k;
    groups.call.alpha = alpha(stage);
    groups.call.a = groups.pointers.as<const void*>();
    groups.call.b = groups.call.a + count;
    groups.call.c = groups.pointers.as<void*>() + 2 * count;
    groups_.try_emplace({stage, set}, std::move(groups));
  }
}

void Experts::product(std::size_t set, Stage stage, cudaStream_t stream) {
  const bool up = stage == Stage::kUp;
  const int n = up ? 2 * width_ : hidden();
  const int k = up ? hidden() : width_;
  const Matrix& in = up ? in_ : act_;
  const Matrix& weight = up ? up_weight_ : down_weight_;
  const Tensor<std::uint16_t>& out = up ? up_ : out_;
  if (c_.kernel == ExpertKernel::kOwn || c_.kernel == ExpertKernel::kHopper) {
    const GroupedGemmArguments args{.a = in.at(set),
                                    .b = weight.at(set),
                                    .c = out.at(set),
                                    .offsets = offsets_device_.as<int>(),
                                    .a_scale = block() ? (up ? in_scale_ : act_scale_).at(set) : nullptr,
                                    .b_scale = block() ? (up ? up_scale_ : down_scale_).at(set) : nullptr,
                                    .alpha = alpha(stage),
                                    .multiprocessors = bench_.multiprocessors,
                                    .experts = static_cast<int>(rows_.size()),
                                    .n = n,
                                    .k = k};
    const Element element = narrow() ? Element::kE4m3 : Element::kBf16;
    const Scaling scaling = block() ? Scaling::kBlock : Scaling::kNone;
    if (c_.kernel == ExpertKernel::kHopper) {
      launch_grouped_gemm_hopper(args, element, scaling, stream);
    } else {
      launch_grouped_gemm(args, element, scaling, tile_rows_for(total_, activated_), stream);
    }
  } else if (c_.kernel == ExpertKernel::kCublasGrouped) {
    bench_.blas.run(groups_.at({stage, set}).call, stream);
  } else {
    for (std::size_t e = 0; e < rows_.size(); ++e) {
      if (rows_[e] > 0) {
        products_.at({stage, rows_[e]})
            .run({.a = in.at(set, static_cast<std::int64_t>(offsets_[e]) * k),
                  .b = weight.at(set, static_cast<std::int64_t>(e) * n * k),
                  .c = out.at(set) + static_cast<std::int64_t>(offsets_[e]) * n,
                  .alpha = alpha(stage)},
                 stream);
      }
    }
  }
}

double Experts::weight(std::size_t set, Stage stage, std::size_t expert, std::int64_t column,
                       std::int64_t depth) const {
  const bool up = stage == Stage::kUp;
  const std::int64_t n = up ? 2 * width_ : hidden();
  const std::int64_t k = up ? hidden() : width_;
  const auto index = static_cast<std::uint64_t>((static_cast<std::int64_t>(expert) * n + column) * k + depth);
  const std::uint64_t seed = tensor_seed(bench_.seed, up ? kUp : kDown, set);
  return static_cast<double>(narrow() ? e4m3_to_float(random_e4m3(seed, index))
                                      : bf16_to_float(random_bf16(seed, index)));
}

double Experts::weight_scale(std::size_t set, Stage stage, std::size_t expert, std::int64_t column,
                             std::int64_t depth) const {
  if (!block()) {
    return 1.0;
  }
  const bool up = stage == Stage::kUp;
  const std::int64_t across = ((up ? 2 * width_ : hidden()) + 127) / 128;
  const std::int64_t deep = ((up ? hidden() : width_) + 127) / 128;
  const std::int64_t index = (static_cast<std::int64_t>(expert) * across + column / 128) * deep + depth / 128;
  return static_cast<double>(
      random_scale(tensor_seed(bench_.seed, up ? kUpScale : kDownScale, set), static_cast<std::uint64_t>(index)));
}

/// One row of a product at sixteen columns, from the inputs that the device has in its memory.
void Experts::add_product(Verdict& verdict, std::size_t set, Stage stage, std::int64_t row, std::size_t expert) const {
  const bool up = stage == Stage::kUp;
  const std::int64_t n = up ? 2 * width_ : hidden();
  const std::int64_t k = up ? hidden() : width_;
  std::vector<double> in = (up ? in_ : act_).row(set, row, k);
  if (block()) {
    const std::int64_t blocks = (k + 127) / 128;
    const std::vector<float> scales = row_from((up ? in_scale_ : act_scale_).at(set), row, blocks);
    for (std::int64_t depth = 0; depth < k; ++depth) {
      in[static_cast<std::size_t>(depth)] *= static_cast<double>(scales[static_cast<std::size_t>(depth / 128)]);
    }
  }
  const std::vector<std::uint16_t> found = row_from((up ? up_ : out_).at(set), row, n);
  std::vector<double> values;
  std::vector<double> expected;
  constexpr std::int64_t kColumns = 16;
  for (const std::int64_t column : sampled(n, kColumns, bench_.seed + static_cast<std::uint64_t>(row))) {
    values.push_back(static_cast<double>(bf16_to_float(found[static_cast<std::size_t>(column)])));
    expected.push_back(static_cast<double>(alpha(stage)) *
                       dot(
                           k, [&](std::int64_t d) { return in[static_cast<std::size_t>(d)]; },
                           [&](std::int64_t d) {
                             return weight(set, stage, expert, column, d) * weight_scale(set, stage, expert, column, d);
                           }));
  }
  verdict.add(relative_error(values, expected), narrow() ? kFp8Tolerance : kBf16Tolerance, up ? "up and gate" : "down");
}

/// Each stage at up to twelve rows against what its inputs on the device demand.
Verdict Experts::verdict(std::size_t set) {
  bench_.stream.wait();
  Verdict out;
  if (nan_count(up_.at(set), up_.count(), bench_.stream.get()) > 0 ||
      nan_count(out_.at(set), out_.count(), bench_.stream.get()) > 0) {
    out.add(HUGE_VAL, kBf16Tolerance, "elements not written");
    return out;
  }
  constexpr std::int64_t kSampledRows = 12;
  for (const std::int64_t row : sampled(total_, kSampledRows, bench_.seed)) {
    const auto after = std::upper_bound(offsets_.begin(), offsets_.end(), static_cast<int>(row));
    const auto expert = static_cast<std::size_t>(after - offsets_.begin() - 1);
    add_product(out, set, Stage::kUp, row, expert);
    const std::vector<std::uint16_t> up = row_from(up_.at(set), row, 2 * std::int64_t{width_});
    std::vector<double> act = act_.row(set, row, width_);
    std::vector<double> expected;
    std::vector<float> scales;
    if (block()) {
      scales = row_from(act_scale_.at(set), row, (width_ + 127) / 128);
    }
    for (std::size_t i = 0; i < act.size(); ++i) {
      act[i] *= block() ? static_cast<double>(scales[i / 128]) : narrow() ? static_cast<double>(kFixedScale) : 1.0;
      expected.push_back(swiglu(static_cast<double>(bf16_to_float(up[i])),
                                static_cast<double>(bf16_to_float(up[i + static_cast<std::size_t>(width_)]))));
    }
    out.add(relative_error(act, expected), narrow() ? kQuantisedTolerance : kBf16Tolerance, "SwiGLU");
    add_product(out, set, Stage::kDown, row, expert);
  }
  return out;
}

}  // namespace

std::unique_ptr<Prepared> prepare(const ExpertsCase& c, Bench& bench) { return std::make_unique<Experts>(c, bench); }

}  // namespace moesim::bench
