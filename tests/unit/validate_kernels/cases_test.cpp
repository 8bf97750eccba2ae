// The cases of the measuring program, run on a CPU: their buffers, launches and verdicts as on a GPU, the kernels by
// emulation.hpp, the libraries' products by loops, the CUDA runtime by the host's memory and clock. What is tested is
// that a verdict's reference and the kernel mean the same element, and that a verdict is not blind.
#include <catch2/catch.hpp>
#include <chrono>
#include <cstdlib>
#include <map>

#include "validate/kernels/blas.hpp"
#include "validate/kernels/harness.hpp"
#include "validate/kernels/launch.hpp"
// The toolkit's meaning of these words gives way to the emulation's.
#undef __global__
#undef __device__
#undef __launch_bounds__
#include "emulation.hpp"

#pragma GCC diagnostic ignored "-Wconversion"
#pragma GCC diagnostic ignored "-Wshadow"
#include "validate/kernels/decode_attention.cuh"
#include "validate/kernels/grouped_gemm.cuh"
#include "validate/kernels/layer_kernels.cuh"
#include "validate/kernels/prefill_attention.cuh"
#include "validate/kernels/reference.hpp"

// ---- the runtime ----
namespace {

using FakeClock = std::chrono::steady_clock;
std::map<cudaEvent_t, FakeClock::time_point>& fake_events() {
  static std::map<cudaEvent_t, FakeClock::time_point> events;
  return events;
}
constexpr std::size_t kFakeMemory = std::size_t{1} << 30;
std::size_t& fake_free_memory() {
  static std::size_t free = kFakeMemory;
  return free;
}
std::map<void*, std::size_t>& fake_blocks() {
  static std::map<void*, std::size_t> blocks;
  return blocks;
}

}  // namespace

extern "C" {
cudaError_t cudaMalloc(void** out, std::size_t bytes) {
  if (bytes > fake_free_memory()) {
    return cudaErrorMemoryAllocation;
  }
  *out = std::aligned_alloc(256, (bytes + 255) / 256 * 256);
  std::memset(*out, 0x5a, bytes);  // what a program leaves behind is not zero
  fake_free_memory() -= bytes;
  fake_blocks()[*out] = bytes;
  return cudaSuccess;
}
cudaError_t cudaFree(void* memory) {
  if (memory != nullptr) {
    fake_free_memory() += fake_blocks().at(memory);
    fake_blocks().erase(memory);
    std::free(memory);
  }
  return cudaSuccess;
}
cudaError_t cudaMemGetInfo(std::size_t* free, std::size_t* total) {
  *free = fake_free_memory();
  *total = kFakeMemory;
  return cudaSuccess;
}
cudaError_t cudaMemcpy(void* to, const void* from, std::size_t bytes, cudaMemcpyKind) {
  std::memcpy(to, from, bytes);
  return cudaSuccess;
}
cudaError_t cudaMemset(void* memory, int value, std::size_t bytes) {
  std::memset(memory, value, bytes);
  return cudaSuccess;
}
cudaError_t cudaMemsetAsync(void* memory, int value, std::size_t bytes, cudaStream_t) {
  return cudaMemset(memory, value, bytes);
}
cudaError_t cudaStreamCreateWithPriority(cudaStream_t* stream, unsigned, int) {
  *stream = nullptr;
  return cudaSuccess;
}
cudaError_t cudaDeviceGetStreamPriorityRange(int* least, int* greatest) {
  *least = *greatest = 0;
  return cudaSuccess;
}
cudaError_t cudaStreamDestroy(cudaStream_t) { return cudaSuccess; }
cudaError_t cudaStreamQuery(cudaStream_t) { return cudaSuccess; }
cudaError_t cudaStreamSynchronize(cudaStream_t) { return cudaSuccess; }
cudaError_t cudaDeviceSynchronize() { return cudaSuccess; }
cudaError_t cudaEventCreate(cudaEvent_t* event) {
  static std::uintptr_t next = 0;
  *event = reinterpret_cast<cudaEvent_t>(++next);
  return cudaSuccess;
}
cudaError_t cudaEventDestroy(cudaEvent_t) { return cudaSuccess; }
cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t) {
  fake_events()[event] = FakeClock::now();
  return cudaSuccess;
}
cudaError_t cudaEventQuery(cudaEvent_t) { return cudaSuccess; }
cudaError_t cudaEventElapsedTime(float* milliseconds, cudaEvent_t begin, cudaEvent_t end) {
  *milliseconds = std::chrono::duration<float, std::milli>(fake_events()[end] - fake_events()[begin]).count();
  return cudaSuccess;
}
// Nothing can be recorded here: what is timed is timed without graphs.
cudaError_t cudaStreamBeginCapture(cudaStream_t, cudaStreamCaptureMode) { return cudaErrorNotSupported; }
cudaError_t cudaStreamEndCapture(cudaStream_t, cudaGraph_t*) { return cudaErrorNotSupported; }
cudaError_t cudaGraphInstantiate(cudaGraphExec_t*, cudaGraph_t, unsigned long long) { return cudaErrorNotSupported; }
cudaError_t cudaGraphDestroy(cudaGraph_t) { return cudaSuccess; }
cudaError_t cudaGraphExecDestroy(cudaGraphExec_t) { return cudaSuccess; }
cudaError_t cudaGraphLaunch(cudaGraphExec_t, cudaStream_t) { return cudaErrorNotSupported; }
cudaError_t cudaGetLastError() { return cudaSuccess; }
const char* cudaGetErrorString(cudaError_t) { return "a fault of the emulated device"; }
cudaError_t cudaGetDeviceCount(int* count) {
  *count = 0;
  return cudaErrorInsufficientDriver;
}
cudaError_t cudaSetDevice(int) { return cudaSuccess; }
cudaError_t cudaGetDeviceProperties(cudaDeviceProp*, int) { return cudaErrorNoDevice; }
cudaError_t cudaDriverGetVersion(int*) { return cudaErrorNoDevice; }
cudaError_t cudaRuntimeGetVersion(int*) { return cudaErrorNoDevice; }
}

namespace moesim::bench {

// ---- the libraries ----
namespace {

struct Product {
  NumberType type;
  Output output;
  std::int64_t m;
  std::int64_t n;
  std::int64_t k;
};
std::map<const LtProduct*, Product>& products() {
  static std::map<const LtProduct*, Product> known;
  return known;
}

double value_at(NumberType type, const void* matrix, std::int64_t at) {
  return type == NumberType::kBf16 ? static_cast<double>(bf16_to_float(static_cast<const std::uint16_t*>(matrix)[at]))
                                   : static_cast<double>(e4m3_to_float(static_cast<const std::uint8_t*>(matrix)[at]));
}

}  // namespace

Blas::Blas() = default;
Blas::~Blas() = default;
void Blas::run(const Groups& groups, cudaStream_t) {
  for (std::size_t g = 0; g < groups.rows.size(); ++g) {
    for (int row = 0; row < groups.rows[g]; ++row) {
      for (int column = 0; column < groups.n; ++column) {
        const double sum = dot(
            groups.k, [&](std::int64_t d) { return value_at(NumberType::kBf16, groups.a[g], row * groups.k + d); },
            [&](std::int64_t d) { return value_at(NumberType::kBf16, groups.b[g], column * groups.k + d); });
        static_cast<std::uint16_t*>(groups.c[g])[row * groups.n + column] =
            float_to_bf16(groups.alpha * static_cast<float>(sum));
      }
    }
  }
}

template <>
void LtProduct::Release<cublasLtMatmulDescOpaque_t>::operator()(cublasLtMatmulDescOpaque_t*) const {}
template <>
void LtProduct::Release<cublasLtMatrixLayoutOpaque_t>::operator()(cublasLtMatrixLayoutOpaque_t*) const {}

LtProduct::LtProduct(Blas& blas, NumberType type, Output output, std::int64_t m, std::int64_t n, std::int64_t k, int)
    : blas_(blas), type_(type) {
  products()[this] = {type, output, m, n, k};
}
void LtProduct::run(const Operands& operands, cudaStream_t) {
  const Product p = products().at(this);
  const std::int64_t padded = (p.k + 127) / 128;
  const auto scale = [&](std::int64_t row, std::int64_t column, std::int64_t depth) {
    if (p.type == NumberType::kBf16 || operands.a_scale == nullptr) {
      return 1.0;
    }
    const bool block = p.type == NumberType::kFp8Block;
    return static_cast<double>(operands.a_scale[block ? depth / 128 * p.m + row : 0]) *
           static_cast<double>(operands.b_scale[block ? column / 128 * ((padded + 3) / 4 * 4) + depth / 128 : 0]);
  };
  for (std::int64_t row = 0; row < p.m; ++row) {
    for (std::int64_t column = 0; column < p.n; ++column) {
      double sum = 0.0;
      for (std::int64_t d = 0; d < p.k; ++d) {
        sum += scale(row, column, d) * value_at(p.type, operands.a, row * p.k + d) *
               value_at(p.type, operands.b, column * p.k + d);
      }
      const float result = operands.alpha * static_cast<float>(sum);
      if (p.output == Output::kFloat) {
        static_cast<float*>(operands.c)[row * p.n + column] = result;
      } else {
        static_cast<std::uint16_t*>(operands.c)[row * p.n + column] = float_to_bf16(result);
      }
    }
  }
}

// ---- the launches, each with one small grid ----
int tile_rows_for(std::int64_t rows, std::int64_t activated) {
  const std::int64_t average = (rows + activated - 1) / activated;
  return average <= 16 ? 16 : average <= 64 ? 64 : 128;
}

namespace {

constexpr std::uint64_t kSeed = 7;

template <int kTileRows>
void emulate_gemm(const GroupedGemmArguments& args, Element element, Scaling scaling) {
  const auto run = [&](std::size_t bytes, const std::function<void()>& body) {
    emulate({2, 1, 1}, 256, bytes, kSeed, body);
  };
  if (element == Element::kBf16) {
    run(GroupedGemmShape<kTileRows, 2>::kSharedBytes,
        [&] { grouped_gemm_kernel<kTileRows, 2, Scaling::kNone, MatrixUnit::kWarp>(args); });
  } else if (scaling == Scaling::kBlock) {
    run(GroupedGemmShape<kTileRows, 1>::kSharedBytes,
        [&] { grouped_gemm_kernel<kTileRows, 1, Scaling::kBlock, MatrixUnit::kWarp>(args); });
  } else {
    run(GroupedGemmShape<kTileRows, 1>::kSharedBytes,
        [&] { grouped_gemm_kernel<kTileRows, 1, Scaling::kNone, MatrixUnit::kWarp>(args); });
  }
}

template <int kDown, int kAcross, int kTile, int kKeyWidth, int kValueWidth>
void emulate_decode(const DecodeArguments& args) {
  using Shape = DecodeShape<kDown, kAcross, kTile, kKeyWidth, kValueWidth>;
  const int tiles = (args.group + Shape::kRows - 1) / Shape::kRows;
  emulate({static_cast<unsigned>(args.splits), static_cast<unsigned>(args.kv_heads * tiles),
           static_cast<unsigned>(args.sequences)},
          Shape::kThreads, Shape::kSharedBytes, kSeed,
          [&] { decode_attention_kernel<kDown, kAcross, kTile, kKeyWidth, kValueWidth>(args); });
  if (args.splits > 1) {
    emulate({static_cast<unsigned>(args.sequences * args.kv_heads * args.group), 1, 1}, 128, 0, kSeed,
            [&] { combine_splits_kernel(args, kValueWidth); });
  }
}

template <class T>
unsigned long long count_nan(const T* values, std::size_t count) {
  unsigned long long found = 0;
  for (std::size_t i = 0; i < count; ++i) {
    if constexpr (sizeof(T) == 2) {
      found += (values[i] & 0x7fff) > 0x7f80 ? 1 : 0;
    } else {
      found += values[i] != values[i] ? 1 : 0;
    }
  }
  return found;
}

}  // namespace

void launch_grouped_gemm(const GroupedGemmArguments& args, Element element, Scaling scaling, int tile_rows,
                         cudaStream_t) {
  if (tile_rows == 16) {
    emulate_gemm<16>(args, element, scaling);
  } else if (tile_rows == 64) {
    emulate_gemm<64>(args, element, scaling);
  } else {
    emulate_gemm<128>(args, element, scaling);
  }
}
void launch_grouped_gemm_hopper(const GroupedGemmArguments& args, Element element, Scaling scaling,
                                cudaStream_t stream) {
  launch_grouped_gemm(args, element, scaling, 128, stream);
}
int decode_splits(int, int, int, int keys, int) { return keys > 64 ? 3 : 1; }
void launch_decode_attention(const DecodeArguments& args, int key_width, cudaStream_t) {
  if (key_width == 64) {
    emulate_decode<1, 4, 64, 64, 64>(args);
  } else if (key_width == 128) {
    emulate_decode<1, 4, 64, 128, 128>(args);
  } else {
    emulate_decode<4, 2, 32, 576, 512>(args);
  }
}
void launch_prefill_attention(const PrefillArguments& args, int key_width, cudaStream_t) {
  const EmulatedIndex grid{static_cast<unsigned>((args.length + 127) / 128), static_cast<unsigned>(args.heads),
                           static_cast<unsigned>(args.sequences)};
  if (key_width == 128) {
    emulate(grid, 256, PrefillShape<128, 128>::kSharedBytes, kSeed, [&] { prefill_attention_kernel<128, 128>(args); });
  } else {
    emulate(grid, 256, PrefillShape<192, 128>::kSharedBytes, kSeed, [&] { prefill_attention_kernel<192, 128>(args); });
  }
}
void launch_top_k(const TopKArguments& args, RouterScore score, cudaStream_t) {
  const EmulatedIndex grid{static_cast<unsigned>((args.tokens + 3) / 4), 1, 1};
  emulate(grid, 128, 0, kSeed, [&] {
    score == RouterScore::kSoftmax ? top_k_kernel<16, RouterScore::kSoftmax>(args)
    : args.experts == 256          ? top_k_kernel<8, RouterScore::kSigmoid>(args)
                                   : top_k_kernel<16, RouterScore::kSigmoid>(args);
  });
}
void launch_permute(const PermuteArguments& args, cudaStream_t) {
  emulate({2, 1, 1}, 256, 0, kSeed, [&] { permute_kernel(args); });
}
void launch_unpermute(const UnpermuteArguments& args, cudaStream_t) {
  emulate({static_cast<unsigned>(args.tokens), 1, 1}, 256, 0, kSeed, [&] { unpermute_kernel(args); });
}
void launch_swiglu(const SwiGluArguments& args, cudaStream_t) {
  emulate({2, 1, 1}, 256, 0, kSeed, [&] { swiglu_kernel(args); });
}
void launch_rms_norm(const RmsNormArguments& args, cudaStream_t) {
  emulate({static_cast<unsigned>(args.rows), 1, 1}, 256, 32, kSeed, [&] { rms_norm_kernel(args); });
}
std::size_t sort_scratch_bytes(int, int) { return 1; }
void launch_sort(const int* chosen, int copies, int experts, int* order, int* offsets, void*, std::size_t,
                 cudaStream_t) {
  const std::vector<int> sorted = stable_order(std::span(chosen, static_cast<std::size_t>(copies)));
  std::copy(sorted.begin(), sorted.end(), order);
  for (int e = 0; e <= experts; ++e) {
    offsets[e] = static_cast<int>(std::count_if(chosen, chosen + copies, [&](int of) { return of < e; }));
  }
}
void launch_fill_bf16(std::uint16_t* out, std::size_t count, std::uint64_t seed, cudaStream_t) {
  for (std::size_t i = 0; i < count; ++i) {
    out[i] = random_bf16(seed, i);
  }
}
void launch_fill_e4m3(std::uint8_t* out, std::size_t count, std::uint64_t seed, cudaStream_t) {
  for (std::size_t i = 0; i < count; ++i) {
    out[i] = random_e4m3(seed, i);
  }
}
void launch_fill_scales(float* out, std::size_t count, std::uint64_t seed, cudaStream_t) {
  for (std::size_t i = 0; i < count; ++i) {
    out[i] = random_scale(seed, i);
  }
}
void launch_count_nan_bf16(const std::uint16_t* values, std::size_t count, unsigned long long* found, cudaStream_t) {
  *found += count_nan(values, count);
}
void launch_count_nan_float(const float* values, std::size_t count, unsigned long long* found, cudaStream_t) {
  *found += count_nan(values, count);
}
void launch_read(const void* in, std::size_t bytes, unsigned long long* sum, cudaStream_t) {
  for (std::size_t i = 0; i < bytes / 4; ++i) {
    *sum += static_cast<const std::uint32_t*>(in)[i];
  }
}
void launch_write(void* out, std::size_t bytes, unsigned value, cudaStream_t) {
  std::fill_n(static_cast<std::uint32_t*>(out), bytes / 4, value);
}
void launch_copy(void* out, const void* in, std::size_t bytes, cudaStream_t) { std::memcpy(out, in, bytes); }
void launch_nothing(cudaStream_t) {}

namespace {

struct EmulatedBench {
  Blas blas;
  Stream stream;
  Bench bench{.facts = {}, .blas = blas, .stream = stream, .seed = 20261122};
  EmulatedBench() {
    bench.facts.major = 9;
    bench.facts.multiprocessors = 4;
    bench.facts.l2_bytes = 1 << 12;
  }
};

template <class C>
void check_case(const C& c, const std::string& name) {
  if constexpr (requires(Bench& bench) { prepare(c, bench); }) {
    INFO(name);
    EmulatedBench emulated;
    const std::unique_ptr<Prepared> prepared = prepare(c, emulated.bench);
    const Verdict right = check_once(*prepared, emulated.stream.get());
    INFO(right.what << " " << right.error);
    CHECK(right.right());
    // Outputs that were not written, and those of other inputs, must not pass.
    prepared->poison(emulated.stream.get());
    CHECK_FALSE(prepared->verdict(0).right());
  }
}

void check_shape(const Shape& shape) {
  std::visit([&](const auto& c) { check_case(c, row_of(shape).text()); }, shape);
}

TEST_CASE("the verdict on every kind of case is right, and sees what was not written") {
  const LayerShape layer{"check", 208, 144, 6, 2, RouterScore::kSoftmax, 1, 1};
  for (const NumberType type : {NumberType::kBf16, NumberType::kFp8, NumberType::kFp8Block}) {
    check_shape(GemmCase{type, 30, 160, 272});
    check_shape(ExpertsCase{.layer = layer, .type = type, .tokens = 20, .rows = {0, 1, 17, 0, 5, 16}});
  }
  check_shape(ExpertsCase{.layer = layer, .type = NumberType::kFp8Block, .tokens = 99, .rows = {66, 3, 0, 0, 60, 0}});
  check_shape(ExpertsCase{.layer = layer,
                          .kernel = ExpertKernel::kCublasGrouped,
                          .type = NumberType::kBf16,
                          .tokens = 20,
                          .rows = {0, 1, 17, 0, 5, 16}});
  check_shape(ExpertsCase{.layer = layer,
                          .kernel = ExpertKernel::kCublasLt,
                          .type = NumberType::kFp8,
                          .tokens = 20,
                          .rows = {0, 1, 17, 0, 5, 17}});
  for (const auto access : {HbmCase::Access::kRead, HbmCase::Access::kWrite, HbmCase::Access::kCopy}) {
    check_shape(HbmCase{access, 4112});
  }
  using Part = LayerCase::Part;
  for (const Part part : {Part::kRouter, Part::kTopK, Part::kSort, Part::kPermute, Part::kUnpermute, Part::kSwiGlu,
                          Part::kSwiGluFp8, Part::kRmsNorm}) {
    const bool routes = part == Part::kRouter || part == Part::kTopK;
    check_shape(LayerCase{part, routes ? find_layer("deepseek-v3") : layer, routes ? 3 : 37});
  }
  check_shape(LayerCase{Part::kTopK, find_layer("mixtral-8x7b"), 5});
  check_shape(DecodeCase{3, 70, 8, 2, 128});
  check_shape(LatentDecodeCase{2, 40, 70});
  check_shape(PrefillCase{2, 40, 4, 2, 128});
  check_shape(PrefillCase{1, 30, 2, 1, 192});
}

TEST_CASE("inputs of another seed are another answer") {
  EmulatedBench emulated;
  const GemmCase c{NumberType::kBf16, 30, 160, 272};
  const std::unique_ptr<Prepared> prepared = prepare(c, emulated.bench);
  CHECK(check_once(*prepared, emulated.stream.get()).right());
  emulated.bench.seed += 1;
  CHECK_FALSE(prepared->verdict(0).right());
}

TEST_CASE("a case is timed until it settles or its time is up, over all of its sets") {
  class Counted : public Prepared {
   public:
    std::vector<int> launches = std::vector<int>(3);
    [[nodiscard]] std::size_t sets() const override { return launches.size(); }
    void poison(cudaStream_t) override {}
    void launch(std::size_t set, cudaStream_t) override {
      ++launches[set];
      const auto end = FakeClock::now() + std::chrono::microseconds(50);
      while (FakeClock::now() < end) {
      }
    }
    Verdict verdict(std::size_t) override { return {0.5, 1.0, "half"}; }
  };
  Counted counted;
  const Outcome outcome = check_and_measure(counted, {.seconds = 0.05}, nullptr);
  CHECK(outcome.verdict.right());
  CHECK(outcome.timing.path == Path::kStream);  // no graphs here
  CHECK(outcome.timing.seconds.median > 49e-6);
  CHECK(outcome.timing.launches_each % 3 == 0);  // whole rounds
  CHECK(counted.launches[0] == counted.launches[1]);
  CHECK(counted.launches[1] == counted.launches[2]);
  Verdict verdict{0.5, 1.0, "half"};
  verdict.add(0.1, 0.1, "at its limit");
  CHECK(verdict.what == "at its limit");
  verdict.add(std::nan(""), 1.0, "not a number");
  CHECK(verdict.what == "not a number");
  CHECK_FALSE(verdict.right());
}

TEST_CASE("a shape that does not fit is refused with what is missing") {
  EmulatedBench emulated;
  const HbmCase c{HbmCase::Access::kCopy, std::int64_t{1} << 31};
  CHECK_THROWS_AS(prepare(c, emulated.bench), OutOfMemory);
  CHECK_THROWS_WITH(prepare(c, emulated.bench),
                    Catch::StartsWith("out of device memory: 2048 MiB more are needed, 10"));
  emulated.bench.facts.major = 8;
  const GemmCase fp8{NumberType::kFp8, 16, 16, 16};
  CHECK_THROWS_WITH(prepare(fp8, emulated.bench), "fp8 needs compute capability 8.9 or newer");
}

TEST_CASE("all shapes of the program's own check", "[.slow]") {
  for (const Shape& shape : check_shapes()) {
    check_shape(shape);
  }
}

}  // namespace
}  // namespace moesim::bench
