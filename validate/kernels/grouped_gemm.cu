#include "validate/kernels/warpgroup.cuh"
// The primitives come first.
#include "validate/kernels/grouped_gemm.cuh"
#include "validate/kernels/launch.hpp"
#include "validate/kernels/launch_check.cuh"

namespace moesim::bench {
namespace {

template <int kTileRows, int kElement, Scaling kScaling>
void launch(const GroupedGemmArguments& args, cudaStream_t stream) {
  using Shape = GroupedGemmShape<kTileRows, kElement>;
  const auto kernel = grouped_gemm_kernel<kTileRows, kElement, kScaling, MatrixUnit::kWarp>;
  allow_shared(kernel, Shape::kSharedBytes, "grouped GEMM");
  int per_unit = 0;
  check(cudaOccupancyMaxActiveBlocksPerMultiprocessor(&per_unit, kernel, Shape::kThreads, Shape::kSharedBytes),
        "occupancy of the grouped GEMM");
  const int units = args.multiprocessors > 0 ? args.multiprocessors : multiprocessor_count();
  const int blocks = units * (per_unit > 0 ? per_unit : 1);
  kernel<<<blocks, Shape::kThreads, Shape::kSharedBytes, stream>>>(args);
  check_launch("grouped GEMM");
}

template <int kTileRows>
void launch(const GroupedGemmArguments& args, Element element, Scaling scaling, cudaStream_t stream) {
  if (element == Element::kBf16) {
    launch<kTileRows, 2, Scaling::kNone>(args, stream);
  } else if (scaling == Scaling::kBlock) {
    launch<kTileRows, 1, Scaling::kBlock>(args, stream);
  } else {
    launch<kTileRows, 1, Scaling::kNone>(args, stream);
  }
}

}  // namespace

int tile_rows_for(std::int64_t rows, std::int64_t activated) {
  const std::int64_t average = activated > 0 ? (rows + activated - 1) / activated : 0;
  return average <= 16 ? 16 : average <= 64 ? 64 : 128;
}

void launch_grouped_gemm(const GroupedGemmArguments& args, Element element, Scaling scaling, int tile_rows,
                         cudaStream_t stream) {
  const int width = element == Element::kBf16 ? 2 : 1;
  if (args.experts < 1 || args.experts > 512 || args.n % 8 != 0 || args.k * width % 16 != 0) {
    throw Unsupported("grouped GEMM: expected at most 512 experts, n in whole eights and rows in whole 16 bytes");
  }
  if (tile_rows == 16) {
    launch<16>(args, element, scaling, stream);
  } else if (tile_rows == 64) {
    launch<64>(args, element, scaling, stream);
  } else {
    launch<128>(args, element, scaling, stream);
  }
}

}  // namespace moesim::bench
