#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "models/hardware/data_type.hpp"
#include "models/hardware/hardware.hpp"
#include "sim/core/quantity.hpp"

/// What a GPU is asked to do, kernel by kernel, and what that costs. Shapes are those of one rank; equal kernels cost
/// the same.
namespace moesim {

/// What becomes of a product: it is written, or added to what is there.
enum class Product { kStored, kAdded };

/// C[m, n] = A[m, k]·B[k, n], `batch` times with different B (heads of an absorbed MLA projection).
struct Gemm {
  std::int64_t m = 0;
  std::int64_t n = 0;
  std::int64_t k = 0;
  std::int64_t batch = 1;
  DataType weight = DataType::kBf16;      ///< type of B, and of the tensor cores' inputs
  DataType activation = DataType::kBf16;  ///< type of C; A has the type of the tensor cores' inputs
  Product product = Product::kStored;

  bool operator==(const Gemm&) const = default;
};

/// Which dimension of a grouped GEMM differs from expert to expert: that of C's rows, or the one that is summed over.
enum class GroupedOver { kRows, kDepth };

/// One GEMM per expert over the rows that arrived for it: C_e[rows_e, n] = A_e[rows_e, k]·B_e[k, n]. Experts without
/// rows cost nothing: their weights are not read. Over the depth, gradients of weights: C_e[k, n] += A_e[rows_e, k]ᵀ·
/// B_e[rows_e, n].
struct GroupedGemm {
  std::vector<std::int64_t> rows = {};  ///< per local expert
  std::int64_t n = 0;
  std::int64_t k = 0;
  DataType weight = DataType::kBf16;      ///< that the tensor cores multiply
  DataType activation = DataType::kBf16;  ///< type of C
  GroupedOver over = GroupedOver::kRows;

  bool operator==(const GroupedGemm&) const = default;
};

/// How an expert block's rows come to it, and so which implementation works on them.
enum class ExpertLayout {
  kSorted,      ///< hidden states of tokens: one operator brings them into their experts' order, and back
  kContiguous,  ///< tokens that DeepEP's normal kernels received: each expert's rows fill whole blocks of 128
  kMasked       ///< DeepEP's low-latency kernels laid rows down in a buffer for each expert
};

/// The whole of the routed experts' work on one rank, as serving systems measure and often fuse it: per expert
/// up = A[rows_e, hidden]·W[hidden, up_matrices·intermediate], the activation, and down[rows_e, hidden].
struct Experts {
  std::vector<std::int64_t> rows = {};  ///< per local expert
  std::int64_t tokens = 0;              ///< that entered the operator: received by this rank, or of all ranks
  std::int64_t experts = 0;             ///< of the layer, on all ranks
  std::int64_t experts_per_token = 0;
  std::int64_t hidden = 0;
  std::int64_t intermediate = 0;  ///< of this rank, where experts are split too
  std::int64_t up_matrices = 2;   ///< 2: gated
  /// Exponent of the power law that the rows were drawn from, 0 if they are balanced; absent: judged by the rows.
  std::optional<double> exponent = std::nullopt;
  DataType weight = DataType::kBf16;
  DataType activation = DataType::kBf16;
  ExpertLayout layout = ExpertLayout::kSorted;

  bool operator==(const Experts&) const = default;
};

/// The type whose rate products with weights of a type run at: blocks of fp8 that the accelerator has no rate of their
/// own for are fp8; mxfp4 is multiplied with 8-bit activations where the tensor cores know it (W4A8, the mxfp4 kernels
/// of TensorRT-LLM and FlashInfer for Blackwell), at the rate of the wider operand. Where they do not, 4-bit weights
/// are expanded: `fallbacks` of the profile say to what.
DataType multiplied_as(DataType weight, const Accelerator& accelerator);

/// Tokens of all ranks, as far as a rank's share of the copies tells: its rows · E / (its experts · k), at least one.
std::int64_t tokens_of_all_ranks(const Experts& experts);

/// Which keys a query sees: those up to its own position, or (encoders) all.
enum class Mask { kCausal, kFull };

/// Attention of `sequences` prompts whose last `query` tokens are computed over `keys` tokens each (keys ≥ query; the
/// difference is a cached prefix), at most `window` keys per query if that is not 0 and the mask is causal.
struct ContextAttention {
  std::int64_t sequences = 0;
  std::int64_t query = 0;
  std::int64_t keys = 0;
  std::int64_t heads = 0;
  std::int64_t kv_heads = 0;
  std::int64_t qk_head_dim = 0;
  std::int64_t v_head_dim = 0;
  std::int64_t window = 0;
  DataType kv = DataType::kBf16;
  Mask mask = Mask::kCausal;
  bool scattered = false;  ///< the window's keys are anywhere before the query, not the last ones

  bool operator==(const ContextAttention&) const = default;
};

/// The gradients of queries, keys and values from that of the output, scores computed again (FlashAttention-2, arXiv
/// 2307.08691, section 3.1.2).
struct ContextAttentionBackward {
  ContextAttention forward;

  bool operator==(const ContextAttentionBackward&) const = default;
};

/// The last `query` tokens of each of `sequences`, over `keys` cached tokens each, themselves included: one new token,
/// or one and drafts after it that are verified. A causal mask, at most `window` keys per query if that is not 0.
struct GenerationAttention {
  std::int64_t sequences = 0;
  std::int64_t query = 1;
  std::int64_t keys = 0;
  std::int64_t heads = 0;
  std::int64_t kv_heads = 0;
  std::int64_t head_dim = 0;
  std::int64_t window = 0;
  DataType kv = DataType::kBf16;

  bool operator==(const GenerationAttention&) const = default;
};

/// Absorbed multi-head latent attention in decode: all heads read one latent of kv_rank and one rotary key of
/// rope_dim per cached token, for all of a sequence's last `query` tokens at once.
struct LatentGenerationAttention {
  std::int64_t sequences = 0;
  std::int64_t query = 1;
  std::int64_t keys = 0;
  std::int64_t heads = 0;
  std::int64_t kv_rank = 0;
  std::int64_t rope_dim = 0;
  DataType kv = DataType::kBf16;

  bool operator==(const LatentGenerationAttention&) const = default;
};

/// Scores of a sparse attention's indexer: of each of `sequences`' last `query` tokens, `heads` heads score all `keys`
/// before them; a key is `width` elements that all heads share, in fp8 (DeepGEMM, fp8_mqa_logits and
/// fp8_paged_mqa_logits).
struct IndexScores {
  std::int64_t sequences = 0;
  std::int64_t query = 0;
  std::int64_t keys = 0;
  std::int64_t heads = 0;
  std::int64_t width = 0;

  bool operator==(const IndexScores&) const = default;
};

/// A kernel that streams through memory: norms, activations, top-k, permutation, sampling, recurrent state.
struct Streaming {
  Bytes read = {};
  Bytes written = {};
  Flops work = {};  ///< on the ordinary cores; seldom what takes the time

  bool operator==(const Streaming&) const = default;
};

using Kernel = std::variant<Gemm, GroupedGemm, ContextAttention, GenerationAttention, LatentGenerationAttention,
                            Streaming, Experts, IndexScores, ContextAttentionBackward>;

/// The kernels that do an expert block's work when nothing is fused: two grouped GEMMs around a streaming activation,
/// which also quantises its output for the second.
struct ExpertParts {
  GroupedGemm up;
  Streaming activation;
  GroupedGemm down;
};
ExpertParts parts_of(const Experts& experts);

/// What holds a kernel back.
enum class Bound { kCompute, kMemory, kOverhead };
template <>
struct EnumNames<Bound> {
  static constexpr auto names = std::to_array<std::pair<Bound, std::string_view>>(
      {{Bound::kCompute, "compute"}, {Bound::kMemory, "memory"}, {Bound::kOverhead, "overhead"}});
};

/// Whether a time rests on measurements of this kind of kernel, size and accelerator, or reaches beyond them.
enum class Confidence { kMeasured, kExtrapolated };
template <>
struct EnumNames<Confidence> {
  static constexpr auto names = std::to_array<std::pair<Confidence, std::string_view>>(
      {{Confidence::kMeasured, "measured"}, {Confidence::kExtrapolated, "extrapolated"}});
};

/// A kernel's needs, whatever the GPU.
struct KernelDemand {
  Flops work = {};
  Bytes traffic = {};                  ///< HBM, read and written
  DataType compute = DataType::kBf16;  ///< which peak rate applies
};
/// The formulas stand in demand.cpp. A kernel with an empty shape (no rows, no sequences) needs nothing.
KernelDemand demand_of(const Kernel& kernel);

/// Pairs of query and key that a causal mask lets through: the last `query` positions of `keys`, each of which sees
/// itself and what is before it, at most `window` positions if that is not 0.
double attended_pairs(std::int64_t query, std::int64_t keys, std::int64_t window);
/// The same where a query at position p sees the p mod chunk before it and itself.
double chunked_pairs(std::int64_t query, std::int64_t keys, std::int64_t chunk);

struct KernelCost {
  Duration time = {};
  Duration busy = {};       ///< of that, what work or traffic take; the rest is launch and floor
  Duration peak_time = {};  ///< work at the full rate of the type computed in; zero for kernels that only stream
  KernelDemand demand = {};
  Bound bound = Bound::kOverhead;                 ///< of the busy part; kOverhead where there is none
  Confidence confidence = Confidence::kMeasured;  ///< CostModel::warnings says why
};

/// Attention's backward kernel, of which tables of serving systems have none, from what its forward kernel costs:
///   busy = forward's busy · (5 products / 2 products) / rate,  fixed times as the forward kernel's
/// with `rate` the share of the forward kernel's FLOP/s that the backward one reaches.
KernelCost backward_cost(const KernelCost& forward, const ContextAttentionBackward& kernel, double rate,
                         Bandwidth bandwidth);

/// Time of one kernel that runs alone on one GPU.
class CostModel {
 public:
  virtual ~CostModel() = default;
  /// Throws ModelError for a type that the GPU has no rate for. A kernel without work costs nothing.
  [[nodiscard]] virtual KernelCost cost(const Kernel& kernel) const = 0;
  /// Why the cost of this kernel is an extrapolation, one sentence each; empty where it is not.
  [[nodiscard]] virtual std::vector<std::string> warnings(const Kernel&) const { return {}; }
};

}  // namespace moesim
