#include <cmath>
#include <limits>

#include "validate/kernels/tensors.hpp"

namespace moesim::bench {
namespace {

enum : std::uint64_t { kQuery = 1, kKey = 2, kValue = 3 };

constexpr double kLog2E = 1.4426950408889634;

/// Scores are spread by three times the usual scale, so that the softmax of random data is not flat.
double score_scale(int key_width) { return 3.0 / std::sqrt(static_cast<double>(key_width)); }

double element(std::uint64_t seed, std::int64_t at) {
  return static_cast<double>(bf16_to_float(random_bf16(seed, static_cast<std::uint64_t>(at))));
}

void compare(Verdict& out, const std::uint16_t* row, const std::vector<double>& expected) {
  std::vector<double> found;
  for (const std::uint16_t bits : downloaded(row, expected.size())) {
    found.push_back(static_cast<double>(bf16_to_float(bits)));
  }
  out.add(relative_error(found, expected), kBf16Tolerance, "attention");
}

/// Decode, with heads of their own values, or latent (one key head of 576 whose first 512 are the values).
class Decode : public Prepared {
 public:
  Decode(int sequences, int keys, int kv_heads, int group, int key_width, int value_width, const Needs& needs,
         Bench& bench)
      : bench_(bench),
        key_width_(key_width),
        value_width_(value_width),
        sets_(bench.sets_for(needs.bytes, needs.resident)) {
    const int units = bench.multiprocessors > 0 ? bench.multiprocessors : bench.facts.multiprocessors;
    args_.sequences = sequences;
    args_.keys = keys;
    args_.kv_heads = kv_heads;
    args_.group = group;
    args_.splits = decode_splits(sequences, kv_heads, group, keys, units);
    args_.scale = static_cast<float>(score_scale(key_width) * kLog2E);
    const auto rows = static_cast<std::size_t>(sequences) * static_cast<std::size_t>(kv_heads * group);
    const auto cached =
        static_cast<std::size_t>(sequences) * static_cast<std::size_t>(keys) * static_cast<std::size_t>(kv_heads);
    const auto splits = static_cast<std::size_t>(args_.splits);
    q_ = Tensor<std::uint16_t>(sets_, rows * static_cast<std::size_t>(key_width));
    k_ = Tensor<std::uint16_t>(sets_, cached * static_cast<std::size_t>(key_width));
    out_ = Tensor<std::uint16_t>(sets_, rows * static_cast<std::size_t>(value_width));
    partial_ = Tensor<float>(1, splits * rows * static_cast<std::size_t>(value_width));
    stats_ = Tensor<float>(1, splits * rows * 2);
    cudaStream_t stream = bench.stream.get();
    fill(q_, sets_, bench.seed, kQuery, stream);
    fill(k_, sets_, bench.seed, kKey, stream);
    if (!latent()) {
      v_ = Tensor<std::uint16_t>(sets_, cached * static_cast<std::size_t>(value_width));
      fill(v_, sets_, bench.seed, kValue, stream);
    }
  }
  [[nodiscard]] std::size_t sets() const override { return sets_; }
  void poison(cudaStream_t stream) override {
    out_.poison(stream);
    partial_.poison(stream);
    stats_.poison(stream);
  }
  void launch(std::size_t set, cudaStream_t stream) override {
    DecodeArguments args = args_;
    args.q = q_.at(set);
    args.k = k_.at(set);
    args.v = latent() ? nullptr : v_.at(set);
    args.out = out_.at(set);
    args.partial = partial_.at(0);
    args.partial_stats = stats_.at(0);
    launch_decode_attention(args, key_width_, stream);
  }
  Verdict verdict(std::size_t set) override;

 private:
  [[nodiscard]] bool latent() const { return key_width_ != value_width_; }

  Bench& bench_;
  int key_width_;
  int value_width_;
  std::size_t sets_;
  DecodeArguments args_;
  Tensor<std::uint16_t> q_;
  Tensor<std::uint16_t> k_;
  Tensor<std::uint16_t> v_;
  Tensor<std::uint16_t> out_;
  Tensor<float> partial_;
  Tensor<float> stats_;
};

Verdict Decode::verdict(std::size_t set) {
  bench_.stream.wait();
  Verdict out;
  if (nan_count(out_.at(set), out_.count(), bench_.stream.get()) > 0) {
    out.add(std::numeric_limits<double>::infinity(), kBf16Tolerance, "elements not written");
    return out;
  }
  const std::int64_t rows = std::int64_t{args_.sequences} * args_.kv_heads * args_.group;
  const auto seed = [&](std::uint64_t tensor) { return tensor_seed(bench_.seed, tensor, set); };
  // As many rows as keep the host busy for a moment only.
  const std::int64_t samples = std::max<std::int64_t>(2, (std::int64_t{1} << 22) / (std::int64_t{args_.keys} * 1024));
  for (const std::int64_t row : sampled(rows, std::min<std::int64_t>(samples, 24), bench_.seed)) {
    const std::int64_t sequence = row / (args_.kv_heads * args_.group);
    const std::int64_t kv_head = row / args_.group % args_.kv_heads;
    const auto cached = [&](std::int64_t key) { return (sequence * args_.keys + key) * args_.kv_heads + kv_head; };
    compare(out, out_.at(set) + row * value_width_,
            attention(
                args_.keys, key_width_, value_width_, score_scale(key_width_),
                [&](std::int64_t d) { return element(seed(kQuery), row * key_width_ + d); },
                [&](std::int64_t j, std::int64_t d) { return element(seed(kKey), cached(j) * key_width_ + d); },
                [&](std::int64_t j, std::int64_t c) {
                  return element(seed(latent() ? kKey : kValue),
                                 cached(j) * (latent() ? key_width_ : value_width_) + c);
                }));
  }
  return out;
}

class Prefill : public Prepared {
 public:
  Prefill(const PrefillCase& c, Bench& bench)
      : c_(c), bench_(bench), sets_(bench.sets_for(needs_of(c).bytes, needs_of(c).resident)) {
    const auto tokens = static_cast<std::size_t>(c.sequences) * static_cast<std::size_t>(c.length);
    const auto size = [&](int heads, int width) { return tokens * static_cast<std::size_t>(heads * width); };
    q_ = Tensor<std::uint16_t>(sets_, size(c.heads, c.key_width));
    k_ = Tensor<std::uint16_t>(sets_, size(c.kv_heads, c.key_width));
    v_ = Tensor<std::uint16_t>(sets_, size(c.kv_heads, kValueWidth));
    out_ = Tensor<std::uint16_t>(sets_, size(c.heads, kValueWidth));
    cudaStream_t stream = bench.stream.get();
    fill(q_, sets_, bench.seed, kQuery, stream);
    fill(k_, sets_, bench.seed, kKey, stream);
    fill(v_, sets_, bench.seed, kValue, stream);
  }
  [[nodiscard]] std::size_t sets() const override { return sets_; }
  void poison(cudaStream_t stream) override { out_.poison(stream); }
  void launch(std::size_t set, cudaStream_t stream) override {
    launch_prefill_attention({.q = q_.at(set),
                              .k = k_.at(set),
                              .v = v_.at(set),
                              .out = out_.at(set),
                              .sequences = c_.sequences,
                              .length = c_.length,
                              .heads = c_.heads,
                              .kv_heads = c_.kv_heads,
                              .scale = static_cast<float>(score_scale(c_.key_width) * kLog2E)},
                             c_.key_width, stream);
  }
  Verdict verdict(std::size_t set) override;

 private:
  static constexpr int kValueWidth = 128;
  PrefillCase c_;
  Bench& bench_;
  std::size_t sets_;
  Tensor<std::uint16_t> q_;
  Tensor<std::uint16_t> k_;
  Tensor<std::uint16_t> v_;
  Tensor<std::uint16_t> out_;
};

Verdict Prefill::verdict(std::size_t set) {
  bench_.stream.wait();
  Verdict out;
  if (nan_count(out_.at(set), out_.count(), bench_.stream.get()) > 0) {
    out.add(std::numeric_limits<double>::infinity(), kBf16Tolerance, "elements not written");
    return out;
  }
  const auto seed = [&](std::uint64_t tensor) { return tensor_seed(bench_.seed, tensor, set); };
  const std::int64_t rows = std::int64_t{c_.sequences} * c_.length * c_.heads;
  const std::int64_t samples = std::max<std::int64_t>(4, (std::int64_t{1} << 22) / (std::int64_t{c_.length} * 512));
  for (const std::int64_t row : sampled(rows, std::min<std::int64_t>(samples, 48), bench_.seed)) {
    const std::int64_t token = row / c_.heads;
    const std::int64_t query = token % c_.length;
    const std::int64_t first = token - query;
    const std::int64_t kv_head = row % c_.heads / (c_.heads / c_.kv_heads);
    const auto cached = [&](std::int64_t key) { return (first + key) * c_.kv_heads + kv_head; };
    compare(out, out_.at(set) + row * kValueWidth,
            attention(
                query + 1, c_.key_width, kValueWidth, score_scale(c_.key_width),
                [&](std::int64_t d) { return element(seed(kQuery), row * c_.key_width + d); },
                [&](std::int64_t j, std::int64_t d) { return element(seed(kKey), cached(j) * c_.key_width + d); },
                [&](std::int64_t j, std::int64_t d) { return element(seed(kValue), cached(j) * kValueWidth + d); }));
  }
  return out;
}

}  // namespace

std::unique_ptr<Prepared> prepare(const DecodeCase& c, Bench& bench) {
  if (c.heads % c.kv_heads != 0) {
    throw Unsupported("decode attention: expected key heads that query heads share evenly");
  }
  return std::make_unique<Decode>(c.sequences, c.keys, c.kv_heads, c.heads / c.kv_heads, c.head_dim, c.head_dim,
                                  needs_of(c), bench);
}
std::unique_ptr<Prepared> prepare(const LatentDecodeCase& c, Bench& bench) {
  return std::make_unique<Decode>(c.sequences, c.keys, 1, c.heads, 576, 512, needs_of(c), bench);
}
std::unique_ptr<Prepared> prepare(const PrefillCase& c, Bench& bench) { return std::make_unique<Prefill>(c, bench); }

}  // namespace moesim::bench
