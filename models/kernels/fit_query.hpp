#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <variant>

#include "models/hardware/hardware.hpp"
#include "models/kernels/kernel.hpp"
#include "sim/core/quantity.hpp"

/// A kernel as a fit sees it: which family it belongs to, its time at the speed of light, and the numbers that its
/// utilisation depends on. Calibration and prediction share this, so that both mean the same.
namespace moesim {

/// Families of kernels that are measured and fitted as one.
enum class FitFamily {
  kGemm,
  kBatchedGemm,
  kExperts,
  kContiguousExperts,
  kMaskedExperts,
  kContextAttention,
  kGenerationAttention,
  kLatentContextAttention,
  kAbsorbedContextAttention,
  kLatentGenerationAttention,
  kLatentContextModule,
  kLatentGenerationModule,
  kStreaming
};
template <>
struct EnumNames<FitFamily> {
  static constexpr auto names = std::to_array<std::pair<FitFamily, std::string_view>>(
      {{FitFamily::kGemm, "gemm"},
       {FitFamily::kBatchedGemm, "batched_gemm"},
       {FitFamily::kExperts, "moe"},
       {FitFamily::kContiguousExperts, "moe_contiguous"},
       {FitFamily::kMaskedExperts, "moe_masked"},
       {FitFamily::kContextAttention, "context_attention"},
       {FitFamily::kGenerationAttention, "generation_attention"},
       {FitFamily::kLatentContextAttention, "mla_context"},
       {FitFamily::kAbsorbedContextAttention, "mla_context_absorbed"},
       {FitFamily::kLatentGenerationAttention, "mla_generation"},
       {FitFamily::kLatentContextModule, "mla_context_module"},
       {FitFamily::kLatentGenerationModule, "mla_generation_module"},
       {FitFamily::kStreaming, "streaming"}});
};

/// DeepSeek's latent attention with all its projections, from hidden states to hidden states, on one rank: what
/// serving systems measure as one module. DeepSeek-V2, arXiv 2405.04434, section 2.1.
struct LatentModule {
  enum class Phase { kContext, kGeneration };
  Phase phase = Phase::kContext;
  std::int64_t sequences = 0;
  std::int64_t query = 0;  ///< new tokens of each sequence
  std::int64_t keys = 0;   ///< seen by the last of them
  std::int64_t heads = 0;
  DataType weight = DataType::kBf16;
  DataType kv = DataType::kBf16;
};
using FittableKernel = std::variant<Gemm, Experts, ContextAttention, GenerationAttention, LatentGenerationAttention,
                                    LatentModule, Streaming>;

/// The kernel's features, in the order of feature_names().
class FeatureVector {
 public:
  static constexpr std::size_t kMost = 26;
  void add(double value);
  [[nodiscard]] std::span<const double> values() const { return {values_.data(), size_}; }

 private:
  std::array<double, kMost> values_{};
  std::size_t size_ = 0;
};

struct FitQuery {
  FitFamily family = FitFamily::kGemm;
  DataType type = DataType::kBf16;  ///< of the weights, or of the cache
  Duration compute;                 ///< work at the accelerator's peak rate
  Duration memory;                  ///< traffic at its HBM bandwidth
  Duration expected;                ///< what work and traffic are likely to take beyond the floor; at least light()
  FeatureVector features;           ///< of the shape alone, and of the number of compute units

  bool shape_known = true;  ///< false for experts whose rows come from no stated distribution

  [[nodiscard]] Duration light() const { return compute > memory ? compute : memory; }
};

/// Throws ModelError where the accelerator has no rate for the type, nor for bf16 or fp16 in its place.
FitQuery fit_query(const FittableKernel& kernel, const Accelerator& accelerator);

/// The family and type alone.
std::pair<FitFamily, DataType> family_of(const FittableKernel& kernel);

/// What stands at each place of FitQuery::features. The first `shape_features` are the shape itself; the rest follows
/// from them.
std::span<const std::string_view> feature_names(FitFamily family);
std::size_t shape_features(FitFamily family);
/// Which features say that two kernels are sizes of one shape, and which one says what size: a logarithm.
std::span<const std::size_t> shape_key_features(FitFamily family);
std::size_t size_feature(FitFamily family);

/// Which law FitQuery::expected follows: a fit made with another one predicts something else by the same trees.
std::int64_t expected_law(FitFamily family);

/// An axis of a family's surface: the feature, how far its knots lie apart, and how much a bend there weighs in the
/// fit, in rows, and how many knots beyond the measured range it goes straight on.
struct SurfaceAxis {
  std::size_t feature = 0;
  double step = 1.0;
  double stiffness = 0.0;
  std::int64_t beyond = 0;
};
/// Empty for families that have none (Surface).
std::span<const SurfaceAxis> surface_axes(FitFamily family);

/// The same rows as they would come to an operator that sorts tokens itself: what stands for experts behind a dispatch
/// where none of those were measured.
Experts sorted(const Experts& experts);

/// std::nullopt where no family is measured for it (a GroupedGemm alone).
std::optional<FittableKernel> fittable(const Kernel& kernel);
/// Type of a product's weights; std::nullopt for kernels that have none, and for whole modules.
std::optional<DataType> weight_of(const FittableKernel& kernel);
/// The same kernel with weights of another type.
FittableKernel with_weight(FittableKernel kernel, DataType weight);

}  // namespace moesim
