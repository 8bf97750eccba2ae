// The CUDA kernels, run on the CPU (emulation.hpp), against the float64 references: small shapes that leave no tile
// whole. Tolerances are those of the GPU's checks: bf16 rounds to 2^-9, e4m3 to 2^-4 of a value.
#include "emulation.hpp"

#pragma GCC diagnostic ignored "-Wunknown-pragmas"
#pragma GCC diagnostic ignored "-Wconversion"
#pragma GCC diagnostic ignored "-Wshadow"
#include <catch2/catch.hpp>
#include <numeric>

#include "validate/kernels/decode_attention.cuh"
#include "validate/kernels/grouped_gemm.cuh"
#include "validate/kernels/layer_kernels.cuh"
#include "validate/kernels/prefill_attention.cuh"
#include "validate/kernels/reference.hpp"

namespace moesim::bench {
namespace {

constexpr std::uint64_t kSeed = 20261122;
constexpr double kLog2E = 1.4426950408889634;

std::vector<std::uint16_t> random_bf16s(std::size_t count, std::uint64_t seed) {
  std::vector<std::uint16_t> out(count);
  for (std::size_t i = 0; i < count; ++i) {
    out[i] = random_bf16(seed, i);
  }
  return out;
}
std::vector<float> random_scales(std::size_t count, std::uint64_t seed) {
  std::vector<float> out(count);
  for (std::size_t i = 0; i < count; ++i) {
    out[i] = random_scale(seed, i);
  }
  return out;
}
std::vector<std::uint16_t> poisoned(std::size_t count) { return std::vector<std::uint16_t>(count, 0xffff); }
std::vector<double> doubles(const std::vector<std::uint16_t>& bits) {
  std::vector<double> out;
  for (const std::uint16_t value : bits) {
    out.push_back(static_cast<double>(bf16_to_float(value)));
  }
  return out;
}

/// Error of the whole output of a grouped GEMM; NaN in it, which an element that was not written is, makes it infinite.
template <int kTileRows, int kElement, Scaling kScaling, MatrixUnit kUnit = MatrixUnit::kWarp>
double grouped_gemm_error(const std::vector<int>& rows, int n, int k, unsigned blocks) {
  std::vector<int> offsets(1);
  for (const int count : rows) {
    offsets.push_back(offsets.back() + count);
  }
  const auto total = static_cast<std::size_t>(offsets.back());
  const auto width = static_cast<std::size_t>(n);
  const auto depth = static_cast<std::size_t>(k);
  const std::size_t blocks_deep = (depth + 127) / 128;
  const std::size_t blocks_across = (width + 127) / 128;
  std::vector<unsigned char> a(total * depth * kElement);
  std::vector<unsigned char> b(rows.size() * width * depth * kElement);
  const auto fill = [](std::vector<unsigned char>& matrix, std::uint64_t seed) {
    for (std::size_t i = 0; i < matrix.size() / kElement; ++i) {
      if constexpr (kElement == 2) {
        const std::uint16_t value = random_bf16(seed, i);
        std::memcpy(matrix.data() + 2 * i, &value, 2);
      } else {
        matrix[i] = random_e4m3(seed, i);
      }
    }
  };
  fill(a, kSeed);
  fill(b, kSeed + 1);
  const auto value = [](const std::vector<unsigned char>& matrix, std::size_t i) {
    if constexpr (kElement == 2) {
      std::uint16_t bits = 0;
      std::memcpy(&bits, matrix.data() + 2 * i, 2);
      return static_cast<double>(bf16_to_float(bits));
    } else {
      return static_cast<double>(e4m3_to_float(matrix[i]));
    }
  };
  const std::vector<float> a_scale = random_scales(total * blocks_deep, kSeed + 2);
  const std::vector<float> b_scale = random_scales(rows.size() * blocks_across * blocks_deep, kSeed + 3);
  std::vector<std::uint16_t> c = poisoned(total * width);
  const GroupedGemmArguments args{.a = a.data(),
                                  .b = b.data(),
                                  .c = c.data(),
                                  .offsets = offsets.data(),
                                  .a_scale = a_scale.data(),
                                  .b_scale = b_scale.data(),
                                  .alpha = 0.25F,
                                  .experts = static_cast<int>(rows.size()),
                                  .n = n,
                                  .k = k};
  emulate({blocks, 1, 1}, 256, GroupedGemmShape<kTileRows, kElement>::kSharedBytes, kSeed,
          [&] { grouped_gemm_kernel<kTileRows, kElement, kScaling, kUnit>(args); });
  std::vector<double> expected;
  for (std::size_t e = 0; e < rows.size(); ++e) {
    for (auto row = static_cast<std::size_t>(offsets[e]); row < static_cast<std::size_t>(offsets[e + 1]); ++row) {
      for (std::size_t column = 0; column < width; ++column) {
        double sum = 0.0;
        for (std::size_t d = 0; d < depth; ++d) {
          const double scale =
              kScaling == Scaling::kBlock
                  ? static_cast<double>(a_scale[row * blocks_deep + d / 128]) *
                        static_cast<double>(b_scale[(e * blocks_across + column / 128) * blocks_deep + d / 128])
                  : 1.0;
          sum += scale * value(a, row * depth + d) * value(b, (e * width + column) * depth + d);
        }
        expected.push_back(0.25 * sum);
      }
    }
  }
  return relative_error(doubles(c), expected);
}

// Outputs are rounded to bf16: relative errors are uniform within 2^-9, 0.6·2^-9 = 1.1e-3 in root mean square, at most
// 2e-3 with the sums' own rounding. That something is wrong but in few elements would still show: one element of 10^4
// that is off by its own size is an error of 10^-2.
constexpr double kRounded = 2.5e-3;

TEST_CASE("grouped GEMM: experts without rows, tiles cut off at every edge", "[kernels]") {
  const auto tall = grouped_gemm_error<128, 2, Scaling::kNone>({0, 130, 0, 1}, 152, 200, 2);
  CHECK(tall < kRounded);
  CHECK(tall > 1e-4);  // the reference is not what was rounded
  CHECK(grouped_gemm_error<64, 2, Scaling::kNone>({65, 3, 0}, 136, 136, 3) < kRounded);
  CHECK(grouped_gemm_error<16, 2, Scaling::kNone>({5, 0, 17, 0, 16}, 136, 520, 2) < kRounded);
}

TEST_CASE("grouped GEMM in fp8, scaled once and by blocks", "[kernels]") {
  CHECK(grouped_gemm_error<128, 1, Scaling::kNone>({3, 0, 129}, 136, 272, 2) < kRounded);
  CHECK(grouped_gemm_error<128, 1, Scaling::kBlock>({131, 2}, 136, 272, 2) < kRounded);
  CHECK(grouped_gemm_error<64, 1, Scaling::kBlock>({0, 66}, 264, 256, 1) < kRounded);
  CHECK(grouped_gemm_error<16, 1, Scaling::kBlock>({7, 0, 18}, 136, 1040, 2) < kRounded);
}

TEST_CASE("grouped GEMM of warpgroups", "[kernels]") {
  constexpr MatrixUnit kUnit = MatrixUnit::kWarpgroup;
  CHECK(grouped_gemm_error<128, 2, Scaling::kNone, kUnit>({0, 130, 0, 1}, 152, 200, 2) < kRounded);
  CHECK(grouped_gemm_error<128, 1, Scaling::kNone, kUnit>({3, 0, 129}, 136, 272, 2) < kRounded);
  CHECK(grouped_gemm_error<128, 1, Scaling::kBlock, kUnit>({131, 2}, 136, 272, 2) < kRounded);
}

TEST_CASE("grouped GEMM: as many experts as its list holds", "[kernels]") {
  std::vector<int> rows(512);
  rows[0] = 2;
  rows[255] = 1;
  rows[511] = 3;
  CHECK(grouped_gemm_error<16, 2, Scaling::kNone>(rows, 8, 64, 2) < kRounded);
}

template <int kDown, int kAcross, int kTileKeys, int kKeyWidth, int kValueWidth>
double decode_error(int sequences, int keys, int kv_heads, int group, int splits) {
  const bool latent = kKeyWidth != kValueWidth;
  const auto rows = static_cast<std::size_t>(sequences * kv_heads * group);
  const auto cached = static_cast<std::size_t>(sequences * keys * kv_heads);
  const std::vector<std::uint16_t> q = random_bf16s(rows * kKeyWidth, kSeed);
  const std::vector<std::uint16_t> k = random_bf16s(cached * kKeyWidth, kSeed + 1);
  const std::vector<std::uint16_t> v = random_bf16s(latent ? 0 : cached * kValueWidth, kSeed + 2);
  std::vector<std::uint16_t> out = poisoned(rows * kValueWidth);
  std::vector<float> partial(static_cast<std::size_t>(splits) * rows * kValueWidth, std::nanf(""));
  std::vector<float> stats(static_cast<std::size_t>(splits) * rows * 2, std::nanf(""));
  const double scale = 3.0 / std::sqrt(static_cast<double>(kKeyWidth));
  const DecodeArguments args{.q = q.data(),
                             .k = k.data(),
                             .v = v.data(),
                             .partial = partial.data(),
                             .partial_stats = stats.data(),
                             .out = out.data(),
                             .sequences = sequences,
                             .keys = keys,
                             .kv_heads = kv_heads,
                             .group = group,
                             .splits = splits,
                             .scale = static_cast<float>(scale * kLog2E)};
  using Shape = DecodeShape<kDown, kAcross, kTileKeys, kKeyWidth, kValueWidth>;
  const int head_tiles = (group + Shape::kRows - 1) / Shape::kRows;
  emulate(
      {static_cast<unsigned>(splits), static_cast<unsigned>(kv_heads * head_tiles), static_cast<unsigned>(sequences)},
      Shape::kThreads, Shape::kSharedBytes, kSeed,
      [&] { decode_attention_kernel<kDown, kAcross, kTileKeys, kKeyWidth, kValueWidth>(args); });
  if (splits > 1) {
    emulate({static_cast<unsigned>(rows), 1, 1}, 64, 0, kSeed, [&] { combine_splits_kernel(args, kValueWidth); });
  }
  std::vector<double> expected;
  for (std::size_t row = 0; row < rows; ++row) {
    const std::int64_t sequence = static_cast<std::int64_t>(row) / (kv_heads * group);
    const std::int64_t kv_head = static_cast<std::int64_t>(row) / group % kv_heads;
    const auto at = [&](std::int64_t key) { return (sequence * keys + key) * kv_heads + kv_head; };
    const auto element = [](const std::vector<std::uint16_t>& of, std::int64_t i) {
      return bf16_to_float(of[static_cast<std::size_t>(i)]);
    };
    const std::vector<double> one = attention(
        keys, kKeyWidth, kValueWidth, scale,
        [&](std::int64_t d) { return element(q, static_cast<std::int64_t>(row) * kKeyWidth + d); },
        [&](std::int64_t j, std::int64_t d) { return element(k, at(j) * kKeyWidth + d); },
        [&](std::int64_t j, std::int64_t d) {
          return latent ? element(k, at(j) * kKeyWidth + d) : element(v, at(j) * kValueWidth + d);
        });
    expected.insert(expected.end(), one.begin(), one.end());
  }
  return relative_error(doubles(out), expected);
}

// Shares are rounded to bf16 before they weigh the values, outputs after: twice the error of one rounding at most.
constexpr double kAttentionRounded = 4e-3;

TEST_CASE("decode attention: fewer keys than a tile, splits that end within one, splits without keys", "[kernels]") {
  CHECK(decode_error<1, 4, 64, 128, 128>(2, 1, 2, 4, 1) < kAttentionRounded);
  CHECK(decode_error<1, 4, 64, 128, 128>(1, 150, 2, 8, 1) < kAttentionRounded);
  CHECK(decode_error<1, 4, 64, 128, 128>(2, 200, 1, 16, 3) < kAttentionRounded);
  CHECK(decode_error<1, 4, 64, 128, 128>(1, 70, 1, 5, 4) < kAttentionRounded);  // two of the splits are empty
  CHECK(decode_error<1, 4, 64, 64, 64>(1, 131, 1, 24, 2) < kAttentionRounded);  // more heads than a tile has rows
}

TEST_CASE("latent decode attention reads keys and values from one latent", "[kernels]") {
  CHECK(decode_error<4, 2, 32, 576, 512>(1, 70, 1, 70, 2) < kAttentionRounded);
  CHECK(decode_error<1, 2, 32, 576, 512>(2, 45, 1, 16, 1) < kAttentionRounded);
}

template <int kKeyWidth, int kValueWidth>
double prefill_error(int sequences, int length, int heads, int kv_heads) {
  const auto tokens = static_cast<std::size_t>(sequences * length);
  const auto query_heads = static_cast<std::size_t>(heads);
  const auto key_heads = static_cast<std::size_t>(kv_heads);
  const std::vector<std::uint16_t> q = random_bf16s(tokens * query_heads * kKeyWidth, kSeed);
  const std::vector<std::uint16_t> k = random_bf16s(tokens * key_heads * kKeyWidth, kSeed + 1);
  const std::vector<std::uint16_t> v = random_bf16s(tokens * key_heads * kValueWidth, kSeed + 2);
  std::vector<std::uint16_t> out = poisoned(tokens * query_heads * kValueWidth);
  const double scale = 3.0 / std::sqrt(static_cast<double>(kKeyWidth));
  const PrefillArguments args{.q = q.data(),
                              .k = k.data(),
                              .v = v.data(),
                              .out = out.data(),
                              .sequences = sequences,
                              .length = length,
                              .heads = heads,
                              .kv_heads = kv_heads,
                              .scale = static_cast<float>(scale * kLog2E)};
  using Shape = PrefillShape<kKeyWidth, kValueWidth>;
  emulate({static_cast<unsigned>((length + 127) / 128), static_cast<unsigned>(heads), static_cast<unsigned>(sequences)},
          Shape::kThreads, Shape::kSharedBytes, kSeed, [&] { prefill_attention_kernel<kKeyWidth, kValueWidth>(args); });
  std::vector<double> expected;
  for (std::int64_t row = 0; row < sequences * length * heads; ++row) {
    const std::int64_t token = row / heads;
    const std::int64_t kv_head = row % heads / (heads / kv_heads);
    const auto at = [&](std::int64_t key) { return (token - token % length + key) * kv_heads + kv_head; };
    const auto element = [](const std::vector<std::uint16_t>& of, std::int64_t i) {
      return bf16_to_float(of[static_cast<std::size_t>(i)]);
    };
    const std::vector<double> one = attention(
        token % length + 1, kKeyWidth, kValueWidth, scale,
        [&](std::int64_t d) { return element(q, row * kKeyWidth + d); },
        [&](std::int64_t j, std::int64_t d) { return element(k, at(j) * kKeyWidth + d); },
        [&](std::int64_t j, std::int64_t d) { return element(v, at(j) * kValueWidth + d); });
    expected.insert(expected.end(), one.begin(), one.end());
  }
  return relative_error(doubles(out), expected);
}

TEST_CASE("prefill attention: each query sees itself and what is before it, of its own sequence", "[kernels]") {
  CHECK(prefill_error<128, 128>(1, 130, 2, 1) < kAttentionRounded);
  CHECK(prefill_error<128, 128>(2, 7, 1, 1) < kAttentionRounded);
  CHECK(prefill_error<192, 128>(1, 65, 1, 1) < kAttentionRounded);
}

template <int kEach, RouterScore kScore>
void check_choices(int tokens, int experts, int k, int groups, int groups_kept) {
  const auto count = static_cast<std::size_t>(tokens);
  const auto choices = static_cast<std::size_t>(k);
  std::vector<float> logits(count * static_cast<std::size_t>(experts));
  std::vector<float> bias(static_cast<std::size_t>(experts));
  for (std::size_t i = 0; i < logits.size(); ++i) {
    logits[i] = 2.0F * random_value(kSeed, i);
  }
  for (std::size_t i = 0; i < bias.size(); ++i) {
    bias[i] = 0.2F * random_value(kSeed + 1, i);
  }
  std::vector<int> chosen(count * choices, -1);
  std::vector<float> weights(count * choices, std::nanf(""));
  const TopKArguments args{.logits = logits.data(),
                           .bias = bias.data(),
                           .chosen = chosen.data(),
                           .weights = weights.data(),
                           .tokens = tokens,
                           .experts = experts,
                           .k = k,
                           .groups = groups,
                           .groups_kept = groups_kept,
                           .weight_scale = 2.5F};
  emulate({static_cast<unsigned>((tokens + 3) / 4), 1, 1}, 128, 0, kSeed, [&] { top_k_kernel<kEach, kScore>(args); });
  for (std::size_t token = 0; token < count; ++token) {
    const std::span<const float> own(logits.data() + token * static_cast<std::size_t>(experts),
                                     static_cast<std::size_t>(experts));
    const Choice right = choose(own, bias, kScore, k, groups, groups_kept, 2.5);
    INFO("token " << token << ", margin " << right.margin);
    REQUIRE(right.margin > 1e-7);
    CHECK(std::vector<int>(chosen.begin() + static_cast<std::ptrdiff_t>(token * choices),
                           chosen.begin() + static_cast<std::ptrdiff_t>((token + 1) * choices)) == right.experts);
    for (std::size_t j = 0; j < choices; ++j) {
      CHECK(weights[token * choices + j] == Approx(right.weights[j]).epsilon(1e-5));
    }
  }
}

TEST_CASE("top-k chooses what the reference chooses", "[kernels]") {
  check_choices<8, RouterScore::kSigmoid>(9, 256, 8, 8, 4);   // DeepSeek-V3
  check_choices<16, RouterScore::kSigmoid>(3, 384, 8, 1, 1);  // Kimi-K2: lanes without experts
  check_choices<4, RouterScore::kSoftmax>(5, 128, 8, 1, 1);
  check_choices<1, RouterScore::kSoftmax>(6, 8, 2, 1, 1);  // Mixtral
  check_choices<2, RouterScore::kSoftmax>(4, 64, 6, 4, 2);
}

TEST_CASE("copies go into the experts' order and come back as weighted sums", "[kernels]") {
  const int tokens = 21;
  const int hidden = 72;
  const int k = 3;
  const int copies = tokens * k;
  std::vector<int> chosen;
  for (int i = 0; i < copies; ++i) {
    chosen.push_back(static_cast<int>(hash(kSeed, static_cast<std::uint64_t>(i)) % 5));
  }
  const std::vector<int> order = stable_order(chosen);
  const std::vector<std::uint16_t> in = random_bf16s(static_cast<std::size_t>(tokens * hidden), kSeed);
  std::vector<std::uint16_t> rows = poisoned(static_cast<std::size_t>(copies * hidden));
  std::vector<int> row_of_copy(static_cast<std::size_t>(copies), -1);
  alignas(16) std::vector<std::uint16_t> out = poisoned(static_cast<std::size_t>(tokens * hidden));
  const std::vector<float> weights = random_scales(static_cast<std::size_t>(copies), kSeed + 1);
  emulate({2, 1, 1}, 256, 0, kSeed,
          [&] { permute_kernel({in.data(), order.data(), rows.data(), row_of_copy.data(), copies, hidden, k}); });
  for (int row = 0; row < copies; ++row) {
    const int copy = order[static_cast<std::size_t>(row)];
    CHECK(row_of_copy[static_cast<std::size_t>(copy)] == row);
    CHECK(std::equal(rows.begin() + row * hidden, rows.begin() + (row + 1) * hidden, in.begin() + copy / k * hidden));
  }
  emulate({static_cast<unsigned>(tokens), 1, 1}, 256, 0, kSeed,
          [&] { unpermute_kernel({rows.data(), row_of_copy.data(), weights.data(), out.data(), tokens, hidden, k}); });
  std::vector<double> expected;
  for (int token = 0; token < tokens; ++token) {
    double sum = 0.0;
    for (int j = 0; j < k; ++j) {
      sum += static_cast<double>(weights[static_cast<std::size_t>(token * k + j)]);
    }
    for (int i = 0; i < hidden; ++i) {  // all copies are the token itself
      expected.push_back(sum * static_cast<double>(bf16_to_float(in[static_cast<std::size_t>(token * hidden + i)])));
    }
  }
  CHECK(relative_error(doubles(out), expected) < kRounded);
}

TEST_CASE("SwiGLU, as bf16, quantised by blocks and by one scale", "[kernels]") {
  const int rows = 5;
  const int width = 200;  // the second block of scales is cut off
  const auto cells = static_cast<std::size_t>(rows * width);
  const std::vector<std::uint16_t> in = random_bf16s(2 * cells, kSeed);
  std::vector<double> expected;
  for (int row = 0; row < rows; ++row) {
    for (int i = 0; i < width; ++i) {
      const auto gate = static_cast<std::size_t>(2 * row * width + i);
      expected.push_back(swiglu(static_cast<double>(bf16_to_float(in[gate])),
                                static_cast<double>(bf16_to_float(in[gate + static_cast<std::size_t>(width)]))));
    }
  }
  std::vector<std::uint16_t> out = poisoned(cells);
  emulate({2, 1, 1}, 256, 0, kSeed,
          [&] { swiglu_kernel({.in = in.data(), .out = out.data(), .rows = rows, .width = width}); });
  CHECK(relative_error(doubles(out), expected) < kRounded);

  std::vector<std::uint8_t> quantised(cells, 0x7f);
  std::vector<float> scales(static_cast<std::size_t>(2 * rows), std::nanf(""));
  for (const bool fixed : {false, true}) {
    emulate({2, 1, 1}, 256, 0, kSeed, [&] {
      swiglu_kernel({.in = in.data(),
                     .quantised = quantised.data(),
                     .scales = fixed ? nullptr : scales.data(),
                     .fixed_scale = 1.0F / 256.0F,
                     .rows = rows,
                     .width = width});
    });
    std::vector<double> values;
    for (std::size_t i = 0; i < cells; ++i) {
      const std::size_t row = i / static_cast<std::size_t>(width);
      const std::size_t block = i % static_cast<std::size_t>(width) / 128;
      const float scale = fixed ? 1.0F / 256.0F : scales[2 * row + block];
      values.push_back(static_cast<double>(e4m3_to_float(quantised[i])) * static_cast<double>(scale));
    }
    const double error = relative_error(values, expected);
    CHECK(error < 0.04);
    CHECK(error > 0.01);  // 2^-4 at most, a third of that in the mean: less would mean that nothing was quantised
  }
}

TEST_CASE("RMSNorm", "[kernels]") {
  const int rows = 3;
  const int width = 2056;  // some threads have two vectors, most one
  const std::vector<std::uint16_t> in = random_bf16s(static_cast<std::size_t>(rows * width), kSeed);
  const std::vector<std::uint16_t> weight = random_bf16s(static_cast<std::size_t>(width), kSeed + 1);
  std::vector<std::uint16_t> out = poisoned(in.size());
  emulate({static_cast<unsigned>(rows), 1, 1}, 256, 32, kSeed, [&] {
    rms_norm_kernel({.in = in.data(), .weight = weight.data(), .out = out.data(), .rows = rows, .width = width});
  });
  std::vector<double> expected;
  const std::vector<double> x = doubles(in);
  const std::vector<double> w = doubles(weight);
  for (int row = 0; row < rows; ++row) {
    const std::vector<double> one =
        rms_norm(std::span(x).subspan(static_cast<std::size_t>(row * width), static_cast<std::size_t>(width)), w, 1e-6);
    expected.insert(expected.end(), one.begin(), one.end());
  }
  CHECK(relative_error(doubles(out), expected) < kRounded);
}

TEST_CASE("the emulation finds threads that wait at different places", "[kernels]") {
  CHECK_THROWS_WITH(emulate({1, 1, 1}, 64, 0, kSeed,
                            [] {
                              if (threadIdx.x < 32) {
                                __syncthreads();
                              } else {
                                static_cast<void>(shuffle_xor(1, threadIdx.x < 40 ? 1 : 2));
                                if (threadIdx.x < 40) {
                                  __syncthreads();
                                }
                              }
                            }),
                    "threads of a block wait for each other at different places");
}

TEST_CASE("the emulation finds a copy that nobody waited for", "[kernels]") {
  // Of 64 copies that run at a random time about half must still be missing; and none once they are waited for.
  const std::vector<std::uint64_t> from(128, 7);
  int missing = 0;
  int missing_after = 0;
  emulate({1, 1, 1}, 64, 1024, kSeed, [&] {
    unsigned char* const own = dynamic_shared() + 16 * threadIdx.x;
    copy_async(own, from.data() + 2 * threadIdx.x, 16);
    copy_async_commit();
    missing += *own == 7 ? 0 : 1;
    copy_async_wait<0>();
    missing_after += *own == 7 ? 0 : 1;
  });
  CHECK(missing > 10);
  CHECK(missing < 54);
  CHECK(missing_after == 0);
}

}  // namespace
}  // namespace moesim::bench
