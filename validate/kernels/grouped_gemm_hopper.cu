#include "validate/kernels/warpgroup.cuh"
// The primitives come first.
#include "validate/kernels/grouped_gemm.cuh"
#include "validate/kernels/launch.hpp"
#include "validate/kernels/launch_check.cuh"

/// The grouped GEMM on Hopper's own matrix instructions: the only file that is compiled for sm_90a.
namespace moesim::bench {
namespace {

template <int kElement, Scaling kScaling>
void launch(const GroupedGemmArguments& args, cudaStream_t stream) {
  using Shape = GroupedGemmShape<128, kElement, MatrixUnit::kWarpgroup>;
  const auto kernel = grouped_gemm_kernel<128, kElement, kScaling, MatrixUnit::kWarpgroup>;
  allow_shared(kernel, Shape::kSharedBytes, "grouped GEMM of warpgroups");
  const int blocks = args.multiprocessors > 0 ? args.multiprocessors : multiprocessor_count();
  kernel<<<blocks, Shape::kThreads, Shape::kSharedBytes, stream>>>(args);
  check_launch("grouped GEMM of warpgroups");
}

}  // namespace

void launch_grouped_gemm_hopper(const GroupedGemmArguments& args, Element element, Scaling scaling,
                                cudaStream_t stream) {
  int device = 0;
  int major = 0;
  check(cudaGetDevice(&device), "device");
  check(cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device), "compute capability");
  const int width = element == Element::kBf16 ? 2 : 1;
  if (major != 9 || args.experts < 1 || args.experts > 512 || args.n % 8 != 0 || args.k * width % 16 != 0) {
    throw Unsupported(
        "grouped GEMM of warpgroups: needs compute capability 9.0, at most 512 experts, n in whole eights "
        "and rows in whole 16 bytes");
  }
  if (element == Element::kBf16) {
    launch<2, Scaling::kNone>(args, stream);
  } else if (scaling == Scaling::kBlock) {
    launch<1, Scaling::kBlock>(args, stream);
  } else {
    launch<1, Scaling::kNone>(args, stream);
  }
}

}  // namespace moesim::bench
