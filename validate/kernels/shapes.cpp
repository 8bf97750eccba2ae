#include "validate/kernels/shapes.hpp"

#include <numeric>

#include "sim/core/error.hpp"
#include "validate/fit/expert_rows.hpp"

namespace moesim::bench {
namespace {

double number(std::int64_t value) { return static_cast<double>(value); }
double element_bytes(NumberType type) { return type == NumberType::kBf16 ? 2.0 : 1.0; }

/// The formulas of models/kernels/demand.cpp, of which a standalone build has no part.
Needs needs(const HbmCase& hbm) {
  const double buffers = hbm.access == HbmCase::Access::kCopy ? 2.0 : 1.0;
  return {.flops = 0.0, .bytes = buffers * number(hbm.bytes), .resident = buffers * number(hbm.bytes)};
}
Needs needs(const LaunchCase&) { return {}; }
Needs needs(const GemmCase& g) {
  const double in = element_bytes(g.type);
  const double bytes = in * (number(g.m) * number(g.k) + number(g.n) * number(g.k)) + 2.0 * number(g.m) * number(g.n);
  return {.flops = 2.0 * number(g.m) * number(g.n) * number(g.k), .bytes = bytes, .resident = bytes};
}

Needs needs(const ExpertsCase& experts) { return needs_of(experts, rows_of(experts)); }

Needs needs(const LayerCase& layer) {
  const double t = number(layer.tokens);
  const double h = number(layer.layer.hidden);
  const double e = number(layer.layer.experts);
  const double k = number(layer.layer.k);
  const double i = number(layer.layer.intermediate);
  const double copies = t * k;
  Needs out;
  switch (layer.part) {
    case LayerCase::Part::kRouter:
      out = {.flops = 2.0 * t * h * e, .bytes = 2.0 * (t * h + h * e) + 8.0 * t * e + 8.0 * copies};
      break;
    case LayerCase::Part::kTopK:
      out.bytes = 4.0 * t * e + 8.0 * copies;
      break;
    case LayerCase::Part::kSort:
      out.bytes = 8.0 * copies;
      break;
    case LayerCase::Part::kPermute:
    case LayerCase::Part::kUnpermute:
      out.bytes = 2.0 * (t * h + copies * h) + 8.0 * copies;
      break;
    case LayerCase::Part::kSwiGlu:
      out.bytes = 6.0 * copies * i;
      break;
    case LayerCase::Part::kSwiGluFp8:
      out.bytes = 5.0 * copies * i + 4.0 * copies * i / 128.0;
      break;
    case LayerCase::Part::kRmsNorm:
      out.bytes = 4.0 * t * h;
      break;
  }
  out.resident = out.bytes;
  return out;
}

Needs needs(const DecodeCase& d) {
  const double rows = number(d.sequences);
  const double cache = 4.0 * rows * d.keys * d.kv_heads * d.head_dim;
  const double bytes = cache + 4.0 * rows * d.heads * d.head_dim;
  return {.flops = 4.0 * rows * d.keys * d.heads * d.head_dim, .bytes = bytes, .resident = bytes};
}
Needs needs(const LatentDecodeCase& d) {
  const double rows = number(d.sequences);
  const double bytes = 2.0 * rows * (576.0 * d.keys + 1088.0 * d.heads);
  return {.flops = 2.0 * rows * d.keys * d.heads * 1088.0, .bytes = bytes, .resident = bytes};
}
Needs needs(const PrefillCase& p) {
  const double length = p.length;
  const double widths = p.key_width + 128.0;
  const double bytes = 2.0 * p.sequences * length * widths * (p.heads + p.kv_heads);
  return {.flops = p.sequences * static_cast<double>(p.heads) * length * (length + 1.0) * widths,
          .bytes = bytes,
          .resident = bytes};
}
Needs needs(const ContentionCase&) { return {.flops = 0.0, .bytes = 0.0, .resident = 16e9}; }
Needs needs(const CollectiveCase& c) {
  return {.flops = 0.0, .bytes = number(c.bytes), .resident = 2.0 * number(c.bytes)};
}

}  // namespace

std::string_view name_of(NumberType type) {
  return type == NumberType::kBf16 ? "bfloat16" : type == NumberType::kFp8 ? "fp8" : "fp8_block";
}
std::string_view name_of(ExpertKernel kernel) {
  return kernel == ExpertKernel::kOwn             ? "moesim_mma"
         : kernel == ExpertKernel::kHopper        ? "moesim_wgmma"
         : kernel == ExpertKernel::kCublasGrouped ? "cublas_grouped"
                                                  : "cublaslt_per_expert";
}
std::string_view name_of(LayerCase::Part part) {
  switch (part) {
    case LayerCase::Part::kRouter:
      return "router";
    case LayerCase::Part::kTopK:
      return "top_k";
    case LayerCase::Part::kSort:
      return "sort";
    case LayerCase::Part::kPermute:
      return "permute";
    case LayerCase::Part::kUnpermute:
      return "unpermute";
    case LayerCase::Part::kSwiGlu:
      return "swiglu";
    case LayerCase::Part::kSwiGluFp8:
      return "swiglu_fp8";
    case LayerCase::Part::kRmsNorm:
      return "rms_norm";
  }
  return "";
}
std::string_view name_of(ContentionCase::Work work) {
  switch (work) {
    case ContentionCase::Work::kGemm:
      return "gemm";
    case ContentionCase::Work::kDecodeExperts:
      return "decode_experts";
    case ContentionCase::Work::kPrefillExperts:
      return "prefill_experts";
    case ContentionCase::Work::kDecodeAttention:
      return "decode_attention";
  }
  return "";
}
std::string_view name_of(CollectiveCase::Op op) {
  switch (op) {
    case CollectiveCase::Op::kAllReduce:
      return "all_reduce";
    case CollectiveCase::Op::kAllGather:
      return "all_gather";
    case CollectiveCase::Op::kReduceScatter:
      return "reduce_scatter";
    case CollectiveCase::Op::kAllToAll:
      return "alltoall";
    case CollectiveCase::Op::kSendReceive:
      return "send_recv";
  }
  return "";
}

/// Hugging Face config.json of the models, as models/architecture/catalogue has them with their sources.
const std::vector<LayerShape>& layer_shapes() {
  static const std::vector<LayerShape> kShapes{
      {"deepseek-v3", 7168, 2048, 256, 8, RouterScore::kSigmoid, 8, 4},
      {"qwen3-235b", 4096, 1536, 128, 8, RouterScore::kSoftmax, 1, 1},
      {"mixtral-8x7b", 4096, 14336, 8, 2, RouterScore::kSoftmax, 1, 1},
      {"deepseek-v2-lite", 2048, 1408, 64, 6, RouterScore::kSoftmax, 1, 1},
      {"olmoe", 2048, 1024, 64, 8, RouterScore::kSoftmax, 1, 1},
      {"gpt-oss-120b", 2880, 2880, 128, 4, RouterScore::kSoftmax, 1, 1},
      {"kimi-k2", 7168, 2048, 384, 8, RouterScore::kSigmoid, 1, 1},
  };
  return kShapes;
}

const LayerShape& find_layer(std::string_view name) {
  std::string known;
  for (const LayerShape& shape : layer_shapes()) {
    if (shape.name == name) {
      return shape;
    }
    known += (known.empty() ? "" : ", ") + std::string(shape.name);
  }
  throw ConfigError({"--model", ""}, "expected one of " + known + ", found \"" + std::string(name) + "\"");
}

Needs needs_of(const Shape& shape) {
  return std::visit([](const auto& s) { return needs(s); }, shape);
}

/// rows R, activated experts A of E local ones, hidden h, intermediate i, b bytes an element:
///   flops 2·R·3·h·i, bytes b·(R·h + 3·A·h·i + R·i) + 2·(R·2i + R·h) + 2·R·2i (the activation's input)
Needs needs_of(const ExpertsCase& experts, const std::vector<std::int64_t>& rows) {
  const ExpertsCase& e = experts;
  const double r = number(std::accumulate(rows.begin(), rows.end(), std::int64_t{0}));
  double activated = 0.0;
  for (const std::int64_t count : rows) {
    activated += count > 0 ? 1.0 : 0.0;
  }
  const double h = number(e.layer.hidden);
  const double i = number(e.layer.intermediate / e.tensor_parallel);
  const double b = element_bytes(e.type);
  const double weights = 3.0 * h * i * b;
  const double activations = b * (r * h + r * i) + 2.0 * (2.0 * r * i + r * h) + 4.0 * r * i;
  return {.flops = 6.0 * r * h * i,
          .bytes = activated * weights + activations,
          .resident = number(static_cast<std::int64_t>(rows.size())) * weights + activations};
}

std::vector<std::int64_t> rows_of(const ExpertsCase& experts) {
  if (!experts.rows.empty()) {
    return experts.rows;
  }
  ExpertRows drawn;
  return drawn.of({.tokens = experts.tokens,
                   .experts_per_token = experts.layer.k,
                   .experts = experts.layer.experts,
                   .expert_parallel = experts.expert_parallel,
                   .exponent = experts.exponent});
}

}  // namespace moesim::bench
