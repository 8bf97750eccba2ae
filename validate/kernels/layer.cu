#include "validate/kernels/primitives.cuh"
// The primitives come first.
#include "validate/kernels/launch.hpp"
#include "validate/kernels/launch_check.cuh"
#include "validate/kernels/layer_kernels.cuh"

namespace moesim::bench {
namespace {

constexpr int kBlocksEach = 8;  // for an SM, of kernels that walk over their rows

template <int kEach>
void top_k(const TopKArguments& args, RouterScore score, cudaStream_t stream) {
  const int blocks = (args.tokens + 3) / 4;
  if (score == RouterScore::kSoftmax) {
    top_k_kernel<kEach, RouterScore::kSoftmax><<<blocks, 128, 0, stream>>>(args);
  } else {
    top_k_kernel<kEach, RouterScore::kSigmoid><<<blocks, 128, 0, stream>>>(args);
  }
}

}  // namespace

void launch_top_k(const TopKArguments& args, RouterScore score, cudaStream_t stream) {
  const int each = (args.experts + 31) / 32;
  const bool groups_fit = args.groups == 1 || (args.groups <= 32 && 32 % args.groups == 0 && args.experts % 32 == 0 &&
                                               (each == 1 || each == 2 || each == 4 || each == 8 || each == 16));
  if (args.k < 1 || args.k > 32 || args.k > args.experts || each > 16 || !groups_fit) {
    throw Unsupported("top-k: expected at most 512 experts, 32 choices, and groups of whole lanes");
  }
  if (each == 1) {
    top_k<1>(args, score, stream);
  } else if (each == 2) {
    top_k<2>(args, score, stream);
  } else if (each <= 4) {
    top_k<4>(args, score, stream);
  } else if (each <= 8) {
    top_k<8>(args, score, stream);
  } else {
    top_k<16>(args, score, stream);
  }
  check_launch("top-k");
}

void launch_permute(const PermuteArguments& args, cudaStream_t stream) {
  const int wanted = (args.rows + 7) / 8;
  const int most = multiprocessor_count() * kBlocksEach;
  const int blocks = wanted < most ? wanted : most;
  permute_kernel<<<blocks, 256, 0, stream>>>(args);
  check_launch("permutation");
}

void launch_unpermute(const UnpermuteArguments& args, cudaStream_t stream) {
  unpermute_kernel<<<args.tokens, 256, 0, stream>>>(args);
  check_launch("un-permutation");
}

void launch_swiglu(const SwiGluArguments& args, cudaStream_t stream) {
  const std::int64_t items = static_cast<std::int64_t>(args.rows) * ((args.width + 127) / 128);
  const std::int64_t wanted = (items + 7) / 8;
  const std::int64_t most = static_cast<std::int64_t>(multiprocessor_count()) * kBlocksEach;
  const auto blocks = static_cast<unsigned>(wanted < most ? wanted : most);
  swiglu_kernel<<<blocks, 256, 0, stream>>>(args);
  check_launch("SwiGLU");
}

void launch_rms_norm(const RmsNormArguments& args, cudaStream_t stream) {
  rms_norm_kernel<<<args.rows, 256, 8 * sizeof(float), stream>>>(args);
  check_launch("RMSNorm");
}

}  // namespace moesim::bench
