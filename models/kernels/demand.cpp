#include <algorithm>
#include <numeric>
#include <variant>

#include "models/kernels/kernel.hpp"
#include "sim/core/error.hpp"
#include "sim/core/quantity.hpp"

namespace moesim {
namespace {

double number(std::int64_t value) { return static_cast<double>(value); }

/// Queries and outputs of attention stay in 16 bits whatever the cache holds.
Bytes attention_activation() { return element_size(DataType::kBf16); }

/// Attention multiplies in fp8 where the cache is fp8 (FlashAttention-3, TensorRT-LLM); other narrow caches are
/// expanded to bf16 on the way.
DataType attention_compute(DataType kv) {
  switch (kv) {
    case DataType::kFp8:
    case DataType::kFp8Block:
      return DataType::kFp8;
    case DataType::kFp16:
    case DataType::kFp32:
      return kv;
    default:
      return DataType::kBf16;
  }
}

/// Type of a GEMM's other operand: 8-bit and nvfp4 weights are multiplied with inputs quantised alike, mxfp4 and int4
/// weights with activations as they are, the rest with their own type.
DataType operand_type(DataType weight, DataType activation) {
  return weight == DataType::kMxFp4 || weight == DataType::kInt4 ? activation : weight;
}

/// m, n, k [elements], w, a, c [B/element] of weights, inputs, outputs:
///   work = 2·m·n·k·batch,  traffic = batch·(m·k·a + k·n·w + m·n·c), with 2·m·n·c where C is added to
/// Each matrix passes HBM once, which holds while the two inputs' tiles fit L2 (aiconfigurator's speed of light).
KernelDemand demand(const Gemm& gemm) {
  if (gemm.m == 0 || gemm.n == 0 || gemm.k == 0 || gemm.batch == 0) {
    return {.work = {}, .traffic = {}, .compute = gemm.weight};
  }
  const double m = number(gemm.m);
  const double n = number(gemm.n);
  const double k = number(gemm.k);
  const double batch = number(gemm.batch);
  const double visits = gemm.product == Product::kAdded ? 2.0 : 1.0;
  return {.work = flops(2.0 * m * n * k * batch),
          .traffic =
              batch * (m * k * activation_element_size(operand_type(gemm.weight, gemm.activation)) +
                       k * n * element_size(gemm.weight) + visits * m * n * activation_element_size(gemm.activation)),
          .compute = gemm.weight};
}

/// R = Σ rows_e, A = experts with rows_e > 0:
///   work = 2·R·n·k,  traffic = R·k·a + A·k·n·w + R·n·c
/// Only activated experts' weights are read: what makes decode depend on A more than on R (METRO, arXiv 2512.09277).
/// Over the depth both operands are rows, and the gradients of the activated experts' weights are read and written:
///   traffic = R·k·a + R·n·a + 2·A·k·n·c
KernelDemand demand(const GroupedGemm& gemm) {
  double rows = 0.0;
  double activated = 0.0;
  for (const std::int64_t expert_rows : gemm.rows) {
    ensure(expert_rows >= 0, "an expert has a negative number of rows");
    rows += number(expert_rows);
    activated += expert_rows > 0 ? 1.0 : 0.0;
  }
  const double n = number(gemm.n);
  const double k = number(gemm.k);
  if (gemm.over == GroupedOver::kDepth) {
    return {.work = flops(2.0 * rows * n * k),
            .traffic = rows * (n + k) * activation_element_size(operand_type(gemm.weight, gemm.activation)) +
                       2.0 * activated * k * n * element_size(gemm.activation),
            .compute = gemm.weight};
  }
  return {.work = flops(2.0 * rows * n * k),
          .traffic = rows * k * activation_element_size(operand_type(gemm.weight, gemm.activation)) +
                     activated * k * n * element_size(gemm.weight) +
                     rows * n * activation_element_size(gemm.activation),
          .compute = gemm.weight};
}

/// S sequences, q queries, K keys, h and g query and KV heads, d and v widths of a query/key and a value head,
/// P = attended_pairs(q, K, window), or q·K under a full mask, U = keys that any query sees = min(K, q + window − 1),
/// or up to min(K, q·window) where they are scattered:
///   work = 2·S·h·P·(d + v)                         QKᵀ and the weighting of V; softmax is left out
///   traffic = S·(q·h·(d + v)·2 B + U·g·(d + v)·b)  queries in, outputs out, keys and values once
/// FlashAttention (arXiv 2205.14135) streams no scores. For window = 0 the pairs are (K² − (K − q)²)/2 + q/2.
KernelDemand demand(const ContextAttention& a) {
  ensure(a.keys >= a.query && a.query >= 0, "attention over fewer keys than queries");
  if (a.query == 0) {
    return {.work = {}, .traffic = {}, .compute = attention_compute(a.kv)};
  }
  const double sequences = number(a.sequences);
  const double widths = number(a.qk_head_dim + a.v_head_dim);
  const bool full = a.mask == Mask::kFull;
  const std::int64_t in_windows = a.scattered ? a.query * a.window : a.query + a.window - 1;
  const std::int64_t seen = a.window > 0 && !full ? std::min(a.keys, in_windows) : a.keys;
  const double pairs = full ? number(a.query) * number(a.keys) : attended_pairs(a.query, a.keys, a.window);
  const Bytes activations = number(a.query) * number(a.heads) * widths * attention_activation();
  const Bytes cache = number(seen) * number(a.kv_heads) * widths * element_size(a.kv);
  return {.work = flops(2.0 * sequences * number(a.heads) * pairs * widths),
          .traffic = sequences * (activations + cache),
          .compute = attention_compute(a.kv)};
}

/// Forward's symbols; products QKᵀ again, dO·Vᵀ, Pᵀ·dO, dS·K and dSᵀ·Q (FlashAttention-2, arXiv 2307.08691, section
/// 3.1.2):
///   work = 2·S·h·P·(3·d + 2·v)
///   traffic = S·(q·h·(2·d + 2·v)·2 B + U·g·(d + v)·(b + 2 B))   Q, O, dO in, dQ out; K and V in, their gradients out
/// Sums in fp32 that some kernels keep dQ in between are left out.
KernelDemand demand(const ContextAttentionBackward& backward) {
  const ContextAttention& a = backward.forward;
  const KernelDemand forward = demand(a);
  const double widths = number(a.qk_head_dim + a.v_head_dim);
  if (!(forward.work > Flops{})) {
    return forward;
  }
  const Bytes once = number(a.sequences) * number(a.query) * number(a.heads) * widths * attention_activation();
  const Bytes cache = forward.traffic - once;
  return {.work = forward.work * (number(3 * a.qk_head_dim + 2 * a.v_head_dim) / widths),
          .traffic = 2.0 * once + cache * (1.0 + attention_activation() / element_size(a.kv)),
          .compute = forward.compute};
}

/// S sequences, q queries, K keys, h and g query and KV heads of width d, P = attended_pairs(q, K, window), U = keys
/// that any query sees = min(K, q + window − 1):
///   work = 4·S·h·P·d,  traffic = S·(2·q·h·d·2 B + 2·g·U·d·b)
/// The q·h/g query heads of a group share one read of their keys and values. With one query P = U = min(K, window).
KernelDemand demand(const GenerationAttention& a) {
  const double sequences = number(a.sequences);
  const double seen = number(a.window > 0 ? std::min(a.keys, a.query + a.window - 1) : a.keys);
  const double pairs = attended_pairs(a.query, a.keys, a.window);
  const double heads = number(a.heads);
  const double width = number(a.head_dim);
  return {.work = flops(4.0 * sequences * heads * pairs * width),
          .traffic = sequences * (2.0 * number(a.query) * heads * width * attention_activation() +
                                  2.0 * number(a.kv_heads) * seen * width * element_size(a.kv)),
          .compute = attention_compute(a.kv)};
}

/// S sequences, q queries, K keys, P = attended_pairs(q, K, 0), h heads, r = kv_rank, p = rope_dim (DeepSeek-V2, arXiv
/// 2405.04434, section 2.1.2, with the up-projections absorbed into queries and outputs):
///   work = 2·S·h·P·((r + p) + r)                           scores over r + p, outputs over r
///   traffic = S·(K·(r + p)·b + q·h·((r + p) + r)·2 B)      the latent once for all heads and queries; queries in,
///                                                          outputs out
KernelDemand demand(const LatentGenerationAttention& a) {
  const double sequences = number(a.sequences);
  const double keys = number(a.keys);
  const double queries = number(a.query);
  const double pairs = attended_pairs(a.query, a.keys, 0);
  const double heads = number(a.heads);
  const double key_width = number(a.kv_rank + a.rope_dim);
  const double both = key_width + number(a.kv_rank);
  return {
      .work = flops(2.0 * sequences * heads * pairs * both),
      .traffic = sequences * (keys * key_width * element_size(a.kv) + queries * heads * both * attention_activation()),
      .compute = attention_compute(a.kv)};
}

/// S sequences, q queries, K keys, h heads of width d, P = attended_pairs(q, K, 0):
///   work = 2·S·h·P·d
///   traffic = S·(K·(d + 4) B + q·h·(d + 4) B + 4 B·P)   keys and queries in fp8 with a scale each, scores in fp32
/// Heads are weighted and summed before anything is written, so that a pair has one score.
KernelDemand demand(const IndexScores& i) {
  ensure(i.keys >= i.query && i.query >= 0, "scores of fewer keys than queries");
  const double sequences = number(i.sequences);
  const double pairs = attended_pairs(i.query, i.keys, 0);
  const double entry = number(i.width) + 4.0;
  return {.work = flops(2.0 * sequences * number(i.heads) * pairs * number(i.width)),
          .traffic = sequences * bytes(number(i.keys + i.query * i.heads) * entry + 4.0 * pairs),
          .compute = DataType::kFp8Block};
}

KernelDemand demand(const Streaming& s) {
  return {.work = s.work, .traffic = s.read + s.written, .compute = DataType::kBf16};
}

/// The sum of its parts.
KernelDemand demand(const Experts& experts) {
  const ExpertParts parts = parts_of(experts);
  const KernelDemand up = demand(parts.up);
  const KernelDemand activation = demand(parts.activation);
  const KernelDemand down = demand(parts.down);
  return {.work = up.work + activation.work + down.work,
          .traffic = up.traffic + activation.traffic + down.traffic,
          .compute = experts.weight};
}

}  // namespace

DataType multiplied_as(DataType weight, const Accelerator& accelerator) {
  const bool has_own = accelerator.peak.contains(weight);
  const bool has_fp8 = accelerator.peak.contains(DataType::kFp8);
  if (weight == DataType::kMxFp4 && has_own && has_fp8) {
    return DataType::kFp8;
  }
  return weight == DataType::kFp8Block && !has_own && has_fp8 ? DataType::kFp8 : weight;
}

std::int64_t tokens_of_all_ranks(const Experts& experts) {
  const std::int64_t copies = std::accumulate(experts.rows.begin(), experts.rows.end(), std::int64_t{0});
  const auto local = static_cast<std::int64_t>(experts.rows.size());
  const std::int64_t share = std::max<std::int64_t>(local * experts.experts_per_token, 1);
  return std::max<std::int64_t>(copies * experts.experts / share, 1);
}

/// Query i = 0 … q−1 stands at position K − q + i and sees min(W, K − q + i + 1) keys. The first f queries, those
/// with K − q + i + 1 ≤ W, see an arithmetic series; the others W each.
double attended_pairs(std::int64_t query, std::int64_t keys, std::int64_t window) {
  ensure(query >= 0 && keys >= query && window >= 0, "attention over fewer keys than queries");
  const double prefix = number(keys - query);
  if (window == 0) {
    return number(query) * prefix + number(query) * (number(query) + 1.0) / 2.0;
  }
  const double growing = number(std::clamp<std::int64_t>(window - (keys - query), 0, query));
  return growing * prefix + growing * (growing + 1.0) / 2.0 + (number(query) - growing) * number(window);
}

/// All queries up to position n see F(n) = ⌊n/C⌋·C(C + 1)/2 + r(r + 1)/2 keys, r = n mod C.
double chunked_pairs(std::int64_t query, std::int64_t keys, std::int64_t chunk) {
  ensure(query >= 0 && keys >= query && chunk > 0, "attention over fewer keys than queries");
  const double size = number(chunk);
  const auto up_to = [&](std::int64_t position) {
    const double rest = number(position % chunk);
    return number(position / chunk) * size * (size + 1.0) / 2.0 + rest * (rest + 1.0) / 2.0;
  };
  return up_to(keys) - up_to(keys - query);
}

/// R = Σ rows_e; the activation reads R·up_matrices·intermediate and writes R·intermediate elements, 5 FLOP each.
ExpertParts parts_of(const Experts& experts) {
  double rows = 0.0;
  for (const std::int64_t expert_rows : experts.rows) {
    rows += number(expert_rows);
  }
  ExpertParts parts;
  parts.up = {.rows = experts.rows,
              .n = experts.intermediate * experts.up_matrices,
              .k = experts.hidden,
              .weight = experts.weight,
              .activation = experts.activation};
  parts.down = parts.up;
  parts.down.n = experts.hidden;
  parts.down.k = experts.intermediate;
  const double cells = rows * number(experts.intermediate);
  parts.activation = {.read = cells * number(experts.up_matrices) * activation_element_size(experts.activation),
                      .written = cells * activation_element_size(operand_type(experts.weight, experts.activation)),
                      .work = flops(5.0 * cells)};
  return parts;
}

KernelCost backward_cost(const KernelCost& forward, const ContextAttentionBackward& kernel, double rate,
                         Bandwidth bandwidth) {
  KernelCost cost = forward;
  cost.demand = demand(kernel);
  if (!(forward.demand.work > Flops{})) {
    return cost;
  }
  const double more = cost.demand.work / forward.demand.work;
  cost.busy = std::max(forward.busy * (more / rate), cost.demand.traffic / bandwidth);
  cost.time = forward.time - forward.busy + cost.busy;
  cost.peak_time = forward.peak_time * more;
  return cost;
}

KernelDemand demand_of(const Kernel& kernel) {
  return std::visit([](const auto& k) { return demand(k); }, kernel);
}

}  // namespace moesim
