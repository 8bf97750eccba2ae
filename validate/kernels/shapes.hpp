#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "validate/kernels/arguments.hpp"

/// What can be measured. Each struct is one case with its shape; sizes are those of one GPU unless they say otherwise.
namespace moesim::bench {

enum class NumberType { kBf16, kFp8, kFp8Block };
std::string_view name_of(NumberType type);

/// A MoE layer as its model defines it.
struct LayerShape {
  std::string_view name;
  int hidden;
  int intermediate;
  int experts;
  int k;
  RouterScore score;
  int groups;
  int groups_kept;
};
const std::vector<LayerShape>& layer_shapes();
/// Throws ConfigError with the known names.
const LayerShape& find_layer(std::string_view name);

struct HbmCase {
  enum class Access { kRead, kWrite, kCopy };
  Access access = Access::kRead;
  std::int64_t bytes = 0;  ///< of each buffer
};

struct LaunchCase {
  enum class Way { kStream, kGraph };
  Way way = Way::kStream;
};

struct GemmCase {
  NumberType type = NumberType::kBf16;
  std::int64_t m = 0;
  std::int64_t n = 0;
  std::int64_t k = 0;
};

enum class ExpertKernel {
  kOwn,            ///< one grouped GEMM kernel of ours, through mma.sync
  kHopper,         ///< the same through wgmma
  kCublasGrouped,  ///< cublasGemmGroupedBatchedEx
  kCublasLt        ///< one cublasLt call per expert that has rows
};
std::string_view name_of(ExpertKernel kernel);

/// The routed experts of the busiest rank: up and gate, SwiGLU, down.
struct ExpertsCase {
  LayerShape layer;
  ExpertKernel kernel = ExpertKernel::kOwn;
  NumberType type = NumberType::kBf16;
  std::int64_t tokens = 0;  ///< of all ranks
  int expert_parallel = 1;
  int tensor_parallel = 1;
  double exponent = 0.0;  ///< of the power law; 0: balanced
  /// Of a replay: the rows themselves, per local expert, and where they come from.
  std::vector<std::int64_t> rows = {};
  std::int64_t replayed_layer = 0;
  std::int64_t replayed_rank = 0;
  std::int64_t replayed_batch = 0;  ///< which of the recording's runs of `tokens` tokens
};

struct LayerCase {
  enum class Part { kRouter, kTopK, kSort, kPermute, kUnpermute, kSwiGlu, kSwiGluFp8, kRmsNorm };
  Part part = Part::kRouter;
  LayerShape layer;
  std::int64_t tokens = 0;
};
std::string_view name_of(LayerCase::Part part);

struct DecodeCase {
  int sequences = 0;
  int keys = 0;
  int heads = 0;
  int kv_heads = 0;
  int head_dim = 128;
};

struct LatentDecodeCase {
  int sequences = 0;
  int keys = 0;
  int heads = 0;
};

struct PrefillCase {
  int sequences = 0;
  int length = 0;
  int heads = 0;
  int kv_heads = 0;
  int key_width = 128;  ///< 192: latent attention's
};

/// Work beside a second kernel that holds SMs, or holds them and streams through the HBM.
struct ContentionCase {
  enum class Work { kGemm, kDecodeExperts, kPrefillExperts, kDecodeAttention };
  enum class Rival { kSpin, kStream };
  Work work = Work::kGemm;
  Rival rival = Rival::kSpin;
  int multiprocessors = 0;
};
std::string_view name_of(ContentionCase::Work work);

struct CollectiveCase {
  enum class Op { kAllReduce, kAllGather, kReduceScatter, kAllToAll, kSendReceive };
  Op op = Op::kAllReduce;
  int gpus = 2;
  std::int64_t bytes = 0;  ///< of the whole: what nccl-tests calls size
};
std::string_view name_of(CollectiveCase::Op op);

using Shape = std::variant<HbmCase, LaunchCase, GemmCase, ExpertsCase, LayerCase, DecodeCase, LatentDecodeCase,
                           PrefillCase, ContentionCase, CollectiveCase>;

/// The least that a case's kernels must compute and move, and what its buffers occupy.
struct Needs {
  double flops = 0.0;
  double bytes = 0.0;
  double resident = 0.0;
};
Needs needs_of(const Shape& shape);
/// Of experts whose rows are known already.
Needs needs_of(const ExpertsCase& experts, const std::vector<std::int64_t>& rows);

/// Rows per local expert that a case runs: a replay's own, else what ExpertRows draws for its load.
std::vector<std::int64_t> rows_of(const ExpertsCase& experts);

}  // namespace moesim::bench
