#include "models/kernels/fit_query.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <tuple>

#include "sim/core/error.hpp"
#include "sim/core/quantity.hpp"

namespace moesim {
namespace {

double as_double(std::int64_t value) { return static_cast<double>(value); }
double log2_of(std::int64_t value) { return std::log2(as_double(std::max<std::int64_t>(value, 1))); }

/// Rate that work of this type runs at: of its own type, else of what narrow types are expanded to.
FlopRate peak_rate(const Accelerator& accelerator, DataType type) {
  for (const DataType candidate : {multiplied_as(type, accelerator), DataType::kBf16, DataType::kFp16}) {
    if (const auto found = accelerator.peak.find(candidate); found != accelerator.peak.end()) {
      return found->second;
    }
  }
  throw ModelError(fmt::format("{} has no rate for {}, nor for bf16 or fp16", accelerator.name, name_of(type)));
}

class Builder {
 public:
  Builder(const FittableKernel& kernel, const Accelerator& accelerator) : accelerator_(accelerator) {
    std::tie(query_.family, query_.type) = family_of(kernel);
  }

  void needs(const KernelDemand& demand) {
    const Duration compute = demand.work / peak_rate(accelerator_, demand.compute);
    const Duration memory = demand.traffic / accelerator_.memory_bandwidth;
    query_.compute += compute;
    query_.memory += memory;
    one_by_one_ += std::max(compute, memory);
  }
  /// What needs() was told of, each at its own speed of light, one after the other.
  [[nodiscard]] Duration one_by_one() const { return one_by_one_; }
  void shape_unknown() { query_.shape_known = false; }
  void expect(Duration time) { query_.expected = time; }
  [[nodiscard]] const FitQuery& query() const { return query_; }
  void add(double value) { query_.features.add(value); }
  /// Thread blocks that need so many rounds over the compute units: how many rounds, and what part of them is wasted
  /// in the last one. NeuSight (arXiv 2407.13853) section 4.2.
  void waves(double blocks) {
    const double rounds = std::max(blocks, 1.0) / accelerator_.compute_units;
    add(std::log2(rounds));
    add(std::ceil(rounds) / rounds > 4.0 ? 4.0 : std::ceil(rounds) / rounds);
  }
  /// What the time at the speed of light is made of.
  FitQuery take() {
    add(std::log2(std::max(query_.compute.base(), 1e-12) / std::max(query_.memory.base(), 1e-12)));
    add(std::log2(std::max(query_.light().base(), 1e-12)));
    query_.expected = std::max(query_.expected, query_.light());
    return query_;
  }

 private:
  const Accelerator& accelerator_;
  FitQuery query_;
  Duration one_by_one_;
};

double tiles(std::int64_t length, std::int64_t tile) { return as_double((length + tile - 1) / tile); }

FitQuery query(const Gemm& gemm, const Accelerator& accelerator) {
  const bool batched = gemm.batch > 1;
  Builder out(gemm, accelerator);
  out.needs(demand_of(gemm));
  out.add(log2_of(gemm.m));
  out.add(log2_of(gemm.n));
  out.add(log2_of(gemm.k));
  if (batched) {
    out.add(log2_of(gemm.batch));
  }
  const double batch = as_double(gemm.batch);
  out.waves(tiles(gemm.m, 128) * tiles(gemm.n, 128) * batch);
  out.waves(tiles(gemm.m, 64) * tiles(gemm.n, 256) * batch);
  out.waves(tiles(gemm.m, 128) * tiles(gemm.n, 256) * batch);
  out.waves(tiles(gemm.m, 64) * tiles(gemm.n, 128) * batch);
  out.add(tiles(gemm.m, 64) * 64.0 / as_double(gemm.m));
  out.add(tiles(gemm.m, 128) * 128.0 / as_double(gemm.m));
  out.add(as_double(gemm.m % 16));
  return out.take();
}

/// Experts that sort tokens themselves: R rows of this rank, R' once each expert's are padded to whole tiles of 64, of
/// T tokens of width h, each with k experts of width i:
///   work·R'/R + traffic + (R·h·10 B + R·i·12 B + T·h·2 B) / bandwidth + T·k·0.2 ns
/// Tensor cores work on whole tiles, and tiles load before they multiply. Around the two products, in 16 bits, rows are
/// copied into the order of experts (read and written), read by one product and written by the other, and read to be
/// summed (10 B of each of h); both halves of the gated width are written and read, their product written and read
/// (12 B of each of i); each token's sum is written (TensorRT-LLM, cutlass_kernels/moe_gemm/moe_kernels.cu:
/// expandInputRows, doActivation, finalizeMoeRouting). The choices of all tokens are sorted, this rank's or not: 0.2 ns
/// each is what a least-squares fit of such a sum to TensorRT-LLM's rows on H200 gave.
Duration expected_of(const Experts& experts, const FitQuery& query, double rows, double padded,
                     const Accelerator& accelerator) {
  constexpr double kOfWidth = 10.0;
  constexpr double kOfIntermediate = 12.0;
  constexpr double kOfToken = 2.0;
  constexpr Duration kSorted = seconds(0.2e-9);
  const Duration work = query.compute * (rows > 0.0 ? padded / rows : 1.0);
  const double hidden = as_double(experts.hidden);
  const double tokens = as_double(experts.tokens);
  const Bytes moved = bytes(rows * hidden * kOfWidth + rows * as_double(experts.intermediate) * kOfIntermediate +
                            tokens * hidden * kOfToken);
  return work + query.memory + moved / accelerator.memory_bandwidth +
         tokens * as_double(experts.experts_per_token) * kSorted;
}

/// What the rows of a rank's experts add up to.
struct RowSums {
  double rows = 0.0;
  double activated = 0.0;
  double blocks = 0.0;  ///< of 128 rows
  double half = 0.0;    ///< of 64
  double narrow = 0.0;  ///< of 16
  std::int64_t most = 0;
};

RowSums sums_of(const std::vector<std::int64_t>& rows) {
  RowSums sums;
  for (const std::int64_t count : rows) {
    sums.rows += as_double(count);
    sums.activated += count > 0 ? 1.0 : 0.0;
    sums.blocks += tiles(count, 128);
    sums.half += tiles(count, 64);
    sums.narrow += tiles(count, 16);
    sums.most = std::max(sums.most, count);
  }
  return sums;
}

/// Grouped GEMMs over rows that came by DeepEP (DeepGEMM's contiguous and masked layouts). R rows, R' once each
/// expert's are padded to blocks, of T tokens of width h that arrived:
///   max(work·R'/R, traffic) + [contiguous] (T·h·3 B + R·h·3 B) / bandwidth
/// Only the contiguous layout moves tokens: each is read in 8 bits, written for each of its experts, and their results,
/// in 16 bits, are read and summed into one (SGLang, ep_scatter and ep_gather).
FitQuery dispatched_query(const Experts& experts, const Accelerator& accelerator) {
  Builder out(experts, accelerator);
  out.needs(demand_of(experts));
  RowSums sums = sums_of(experts.rows);
  const bool contiguous = experts.layout == ExpertLayout::kContiguous;
  const double padded = contiguous ? 128.0 * sums.blocks : 64.0 * sums.half;
  const Duration work = out.query().compute * (sums.rows > 0.0 ? padded / sums.rows : 1.0);
  const double arrived = contiguous ? as_double(experts.tokens) + sums.rows : 0.0;
  out.expect(std::max(work, out.query().memory) +
             bytes(arrived * as_double(experts.hidden) * 3.0) / accelerator.memory_bandwidth);
  sums.rows = std::max(sums.rows, 1.0);
  sums.activated = std::max(sums.activated, 1.0);
  out.add(std::log2(sums.rows));
  out.add(std::log2(sums.activated));
  out.add(log2_of(sums.most));
  if (contiguous) {
    out.add(log2_of(experts.tokens));
  }
  out.add(log2_of(static_cast<std::int64_t>(experts.rows.size())));
  out.add(log2_of(experts.hidden));
  out.add(log2_of(experts.intermediate));
  out.add(std::log2(sums.rows / sums.activated));
  out.add(std::log2(as_double(sums.most) * sums.activated / sums.rows));
  out.add(std::log2(std::max(padded / sums.rows, 1.0)));
  const double blocks = contiguous ? sums.blocks : sums.half;
  out.waves(blocks * tiles(experts.intermediate * experts.up_matrices, 128));
  out.waves(blocks * tiles(experts.hidden, 128));
  return out.take();
}

FitQuery query(const Experts& experts, const Accelerator& accelerator) {
  if (experts.layout != ExpertLayout::kSorted) {
    return dispatched_query(experts, accelerator);
  }
  Builder out(experts, accelerator);
  out.needs(demand_of(experts));
  auto [rows, activated, blocks, half, narrow, most] = sums_of(experts.rows);
  out.expect(expected_of(experts, out.query(), rows, 64.0 * half, accelerator));
  rows = std::max(rows, 1.0);
  activated = std::max(activated, 1.0);
  out.add(std::log2(rows));
  out.add(std::log2(activated));
  out.add(log2_of(most));
  out.add(log2_of(experts.tokens));
  out.add(log2_of(static_cast<std::int64_t>(experts.rows.size())));
  out.add(log2_of(experts.experts));
  out.add(log2_of(experts.experts_per_token));
  out.add(log2_of(experts.hidden));
  out.add(log2_of(experts.intermediate));
  out.add(std::log2(rows / activated));
  out.add(std::log2(as_double(most) * activated / rows));
  out.add(std::log2(std::max(blocks * 128.0 / rows, 1.0)));
  out.add(std::log2(std::max(narrow * 16.0 / rows, 1.0)));
  out.add(std::log2(std::max(half * 64.0 / rows, 1.0)));
  out.waves(blocks * tiles(experts.intermediate * experts.up_matrices, 128));
  out.waves(blocks * tiles(experts.hidden, 128));
  out.waves(blocks * tiles(experts.intermediate * experts.up_matrices, 256));
  out.add(std::log2(as_double(experts.hidden) * as_double(experts.intermediate)));
  if (!experts.exponent) {
    out.shape_unknown();
  }
  constexpr double kUneven = 1.5;
  constexpr double kUsualExponent = 1.0;
  out.add(experts.exponent.value_or(as_double(most) * activated > kUneven * rows ? kUsualExponent : 0.0));
  out.add(log2_of(experts.experts) -
          std::log2(as_double(static_cast<std::int64_t>(std::max<std::size_t>(experts.rows.size(), 1)))));
  out.add(as_double(experts.up_matrices));
  return out.take();
}

/// What the kernels around latent attention do to each new token whatever the heads, S·q tokens in all, with r = 576
/// the latent and its rotary key in 16 bits, b bytes per cached element:
///   TensorRT-LLM: the latent is read twice and written to the cache, S·q·r·(2·2 B + b) / bandwidth
///   absorbed (SGLang's flash_attention): 4 ns a token, 6.3 ns over an fp8 cache
/// Differences of measured times at equal S·heads and q over the tokens: 3300 B (bf16) and 2500 B (fp8) a token on
/// H100 and H200 alike for the former; for the latter equal times on both, so no traffic.
Duration per_token(const ContextAttention& a, const Accelerator& accelerator) {
  constexpr double kLatent = 576.0;
  const double tokens = as_double(a.sequences * a.query);
  if (family_of(a).first == FitFamily::kAbsorbedContextAttention) {
    return seconds(tokens * (a.kv == DataType::kFp8 ? 6.3e-9 : 4e-9));
  }
  return tokens * kLatent * (4.0 * bytes(1.0) + element_size(a.kv)) / accelerator.memory_bandwidth;
}

/// Causal attention in tiles of t = 128 queries by 128 keys, n = ceil(q / t) rows of tiles: with c = ceil(K / t) the
/// last row's tiles are what one compute unit works on at least,
///   max(S·h·t²·(n·c − n·(n − 1)/2), units·t²·c)·2·(d + v) / peak rate
Duration tiled(const ContextAttention& a, const FitQuery& query, const Accelerator& accelerator) {
  constexpr std::int64_t kTile = 128;
  const double rows = tiles(a.query, kTile);
  const double columns = tiles(a.keys, kTile);
  const double all = as_double(a.sequences * a.heads) * (rows * columns - rows * (rows - 1.0) / 2.0);
  const double pairs = attended_pairs(a.query, a.keys, a.window) * as_double(a.sequences * a.heads);
  const double most = std::max(all, columns * accelerator.compute_units);
  return query.compute * (most * static_cast<double>(kTile * kTile) / pairs);
}

FitQuery query(const ContextAttention& a, const Accelerator& accelerator) {
  const bool is_latent = a.qk_head_dim != a.v_head_dim;
  Builder out(a, accelerator);
  out.needs(demand_of(a));
  if (is_latent) {
    const bool absorbed = family_of(a).first == FitFamily::kAbsorbedContextAttention;
    const Duration work = absorbed ? out.query().compute : tiled(a, out.query(), accelerator);
    out.expect(std::max(work, out.query().memory) + per_token(a, accelerator));
  }
  out.add(log2_of(a.sequences));
  out.add(log2_of(a.query));
  out.add(log2_of(a.keys));
  out.add(log2_of(a.heads));
  if (!is_latent) {
    out.add(log2_of(a.kv_heads));
    out.add(log2_of(a.qk_head_dim));
    out.add(a.window > 0 ? log2_of(a.window) : 20.0);
    out.add(std::log2(as_double(a.heads) / as_double(a.kv_heads)));
    out.add(a.window > 0 ? std::log2(as_double(a.keys) / as_double(a.window)) : -20.0);
  }
  out.add(log2_of(a.sequences * a.query));
  out.add(log2_of(a.sequences * a.heads));
  out.waves(as_double(a.sequences * a.heads) * tiles(a.query, 128));
  out.waves(as_double(a.sequences * a.heads) * tiles(a.query, 64));
  return out.take();
}

/// Several queries of a sequence are more query heads on its keys and values: kernels of generation lay both out as
/// rows of one tile (FlashAttention-3 and XQA pack grouped heads so; FlashMLA's decoding takes s_q·h_q rows), and what
/// was measured has one query.
FitQuery query(const GenerationAttention& a, const Accelerator& accelerator) {
  Builder out(a, accelerator);
  out.needs(demand_of(a));
  const std::int64_t heads = a.heads * a.query;
  const std::int64_t seen = a.window > 0 ? std::min(a.keys, a.query + a.window - 1) : a.keys;
  out.add(log2_of(a.sequences));
  out.add(log2_of(a.keys));
  out.add(log2_of(heads));
  out.add(log2_of(a.kv_heads));
  out.add(log2_of(a.head_dim));
  out.add(a.window > 0 ? log2_of(a.window) : 20.0);
  out.add(std::log2(as_double(heads) / as_double(a.kv_heads)));
  out.add(log2_of(seen));
  out.add(log2_of(a.sequences * seen));
  out.add(log2_of(a.kv_heads * seen));
  out.waves(as_double(a.sequences * a.kv_heads));
  out.waves(as_double(a.sequences * heads));
  return out.take();
}

/// Bound by the cache up to 64 heads, by work beyond. Of the peak rate such kernels reach two thirds: 660 of 989
/// TFLOP/s on Hopper (deepseek-ai/FlashMLA, README, 22 April 2025). Several queries are more heads, as above.
FitQuery query(const LatentGenerationAttention& a, const Accelerator& accelerator) {
  constexpr double kReached = 0.667;
  const std::int64_t heads = a.heads * a.query;
  Builder out(a, accelerator);
  out.needs(demand_of(a));
  out.expect(std::max(out.query().memory, out.query().compute * (1.0 / kReached)));
  out.add(log2_of(a.sequences));
  out.add(log2_of(a.keys));
  out.add(log2_of(heads));
  out.add(log2_of(a.sequences * a.keys));
  out.add(log2_of(a.sequences * heads));
  out.waves(as_double(a.sequences));
  out.waves(as_double(a.sequences) * tiles(heads, 64));
  return out.take();
}

/// The parts that DeepSeek-V3 has (arXiv 2412.19437, section 4.2: hidden 7168, ranks 1536 and 512, heads of 128 + 64),
/// as sim/program lays them out; each part takes the longer of its work and its traffic, one after the other.
FitQuery query(const LatentModule& module, const Accelerator& accelerator) {
  constexpr std::int64_t kHidden = 7168;
  constexpr std::int64_t kQueryRank = 1536;
  constexpr std::int64_t kRank = 512;
  constexpr std::int64_t kRope = 64;
  constexpr std::int64_t kHead = 128;
  const bool context = module.phase == LatentModule::Phase::kContext;
  Builder out(module, accelerator);
  const std::int64_t tokens = module.sequences * module.query;
  const auto gemm = [&](std::int64_t m, std::int64_t n, std::int64_t k, std::int64_t batch = 1) {
    out.needs(demand_of(Gemm{.m = m, .n = n, .k = k, .batch = batch, .weight = module.weight}));
  };
  gemm(tokens, kQueryRank + kRank + kRope, kHidden);
  gemm(tokens, module.heads * (kHead + kRope), kQueryRank);
  if (context) {
    gemm(module.sequences * module.keys, module.heads * 2 * kHead, kRank);
    out.needs(demand_of(ContextAttention{.sequences = module.sequences,
                                         .query = module.query,
                                         .keys = module.keys,
                                         .heads = module.heads,
                                         .kv_heads = module.heads,
                                         .qk_head_dim = kHead + kRope,
                                         .v_head_dim = kHead,
                                         .kv = module.kv}));
  } else {
    gemm(tokens, kRank, kHead, module.heads);
    out.needs(demand_of(LatentGenerationAttention{.sequences = module.sequences,
                                                  .keys = module.keys,
                                                  .heads = module.heads,
                                                  .kv_rank = kRank,
                                                  .rope_dim = kRope,
                                                  .kv = module.kv}));
    gemm(tokens, kHead, kRank, module.heads);
  }
  gemm(tokens, kHidden, module.heads * kHead);
  out.expect(out.one_by_one());
  out.add(log2_of(module.sequences));
  out.add(log2_of(module.query));
  out.add(log2_of(module.keys));
  out.add(log2_of(module.heads));
  out.add(module.weight == DataType::kBf16 ? 0.0 : 1.0);
  out.add(log2_of(tokens));
  out.add(log2_of(module.sequences * module.keys));
  out.add(log2_of(tokens * module.heads));
  out.waves(as_double(module.sequences * module.heads) * tiles(module.query, 128));
  return out.take();
}

/// All that stream are one family: bytes read and written tell them apart, what they do to them hardly does.
FitQuery query(const Streaming& s, const Accelerator& accelerator) {
  Builder out(s, accelerator);
  out.needs({.work = {}, .traffic = s.read + s.written, .compute = DataType::kBf16});
  constexpr Bytes kLeast = bytes(1.0);
  out.add(std::log2(std::max((s.read + s.written) / kLeast, 1.0)));
  out.add(std::log2((s.written + kLeast) / (s.read + kLeast)));
  return out.take();
}

}  // namespace

void FeatureVector::add(double value) {
  ensure(size_ < kMost, "more features than a vector holds");
  values_[size_++] = value;
}

FitQuery fit_query(const FittableKernel& kernel, const Accelerator& accelerator) {
  return std::visit([&](const auto& k) { return query(k, accelerator); }, kernel);
}

std::pair<FitFamily, DataType> family_of(const FittableKernel& kernel) {
  struct Visitor {
    std::pair<FitFamily, DataType> operator()(const Gemm& k) const {
      return {k.batch > 1 ? FitFamily::kBatchedGemm : FitFamily::kGemm, k.weight};
    }
    std::pair<FitFamily, DataType> operator()(const Experts& k) const {
      return {k.layout == ExpertLayout::kMasked       ? FitFamily::kMaskedExperts
              : k.layout == ExpertLayout::kContiguous ? FitFamily::kContiguousExperts
                                                      : FitFamily::kExperts,
              k.weight};
    }
    std::pair<FitFamily, DataType> operator()(const ContextAttention& k) const {
      // Absorbed, all heads attend to the latent itself, which is wider than any head.
      constexpr std::int64_t kLatentWidth = 512;
      return {k.qk_head_dim == k.v_head_dim  ? FitFamily::kContextAttention
              : k.v_head_dim >= kLatentWidth ? FitFamily::kAbsorbedContextAttention
                                             : FitFamily::kLatentContextAttention,
              k.kv};
    }
    std::pair<FitFamily, DataType> operator()(const GenerationAttention& k) const {
      return {FitFamily::kGenerationAttention, k.kv};
    }
    std::pair<FitFamily, DataType> operator()(const LatentGenerationAttention& k) const {
      return {FitFamily::kLatentGenerationAttention, k.kv};
    }
    std::pair<FitFamily, DataType> operator()(const Streaming& /*k*/) const {
      return {FitFamily::kStreaming, DataType::kBf16};
    }
    std::pair<FitFamily, DataType> operator()(const LatentModule& k) const {
      return {k.phase == LatentModule::Phase::kContext ? FitFamily::kLatentContextModule
                                                       : FitFamily::kLatentGenerationModule,
              k.kv};
    }
  };
  return std::visit(Visitor{}, kernel);
}

Experts sorted(const Experts& experts) {
  Experts out = experts;
  out.layout = ExpertLayout::kSorted;
  out.tokens = tokens_of_all_ranks(experts);
  return out;
}

std::optional<FittableKernel> fittable(const Kernel& kernel) {
  struct Visitor {
    std::optional<FittableKernel> operator()(const Gemm& k) const { return k; }
    std::optional<FittableKernel> operator()(const Experts& k) const { return k; }
    std::optional<FittableKernel> operator()(const ContextAttention& k) const { return k; }
    std::optional<FittableKernel> operator()(const GenerationAttention& k) const { return k; }
    std::optional<FittableKernel> operator()(const LatentGenerationAttention& k) const { return k; }
    std::optional<FittableKernel> operator()(const GroupedGemm&) const { return std::nullopt; }
    std::optional<FittableKernel> operator()(const IndexScores&) const { return std::nullopt; }
    std::optional<FittableKernel> operator()(const ContextAttentionBackward&) const { return std::nullopt; }
    std::optional<FittableKernel> operator()(const Streaming& k) const { return k; }
  };
  return std::visit(Visitor{}, kernel);
}

std::optional<DataType> weight_of(const FittableKernel& kernel) {
  if (const auto* gemm = std::get_if<Gemm>(&kernel)) {
    return gemm->weight;
  }
  const auto* experts = std::get_if<Experts>(&kernel);
  return experts != nullptr ? std::optional(experts->weight) : std::nullopt;
}

FittableKernel with_weight(FittableKernel kernel, DataType weight) {
  if (auto* gemm = std::get_if<Gemm>(&kernel)) {
    gemm->weight = weight;
  } else if (auto* experts = std::get_if<Experts>(&kernel)) {
    experts->weight = weight;
  }
  return kernel;
}

}  // namespace moesim
