#include "validate/kernels/record.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <fstream>

#include "sim/core/error.hpp"

namespace moesim::bench {
namespace {

Json row(const HbmCase& c) {
  const char* const name = c.access == HbmCase::Access::kRead    ? "hbm_read"
                           : c.access == HbmCase::Access::kWrite ? "hbm_write"
                                                                 : "hbm_copy";
  return std::move(Json::object().set("op_name", name).set("bytes", c.bytes));
}
Json row(const LaunchCase& c) {
  return std::move(Json::object().set("op_name", c.way == LaunchCase::Way::kGraph ? "launch_graph" : "launch_stream"));
}
Json row(const GemmCase& c) {
  return std::move(Json::object()
                       .set("op_name", "gemm")
                       .set("kernel_source", "cublaslt")
                       .set("gemm_dtype", name_of(c.type))
                       .set("m", c.m)
                       .set("n", c.n)
                       .set("k", c.k));
}

std::string distribution_of(const ExpertsCase& c) {
  if (!c.rows.empty()) {
    return "recorded";
  }
  if (c.exponent == 0.0) {
    return "balanced";
  }
  std::array<char, 32> text{};
  std::snprintf(text.data(), text.size(), "power_law_%g", c.exponent);
  return text.data();
}

Json row(const ExpertsCase& c) {
  Json out = Json::object();
  out.set("op_name", "moe")
      .set("kernel_source", name_of(c.kernel))
      .set("moe_dtype", name_of(c.type))
      .set("num_tokens", c.tokens)
      .set("hidden_size", c.layer.hidden)
      .set("inter_size", c.layer.intermediate)
      .set("topk", c.layer.k)
      .set("num_experts", c.layer.experts)
      .set("moe_tp_size", c.tensor_parallel)
      .set("moe_ep_size", c.expert_parallel)
      .set("distribution", distribution_of(c));
  if (!c.rows.empty()) {
    std::string rows;
    for (const std::int64_t count : c.rows) {
      rows += (rows.empty() ? "" : " ") + std::to_string(count);
    }
    out.set("expert_rows", rows).set("layer", c.replayed_layer).set("rank", c.replayed_rank);
  }
  return out;
}
Json row(const LayerCase& c) {
  return std::move(Json::object()
                       .set("op_name", name_of(c.part))
                       .set("num_tokens", c.tokens)
                       .set("hidden_size", c.layer.hidden)
                       .set("inter_size", c.layer.intermediate)
                       .set("topk", c.layer.k)
                       .set("num_experts", c.layer.experts));
}
Json attention_row(const char* op, int sequences, int length, int heads) {
  Json out = Json::object();
  out.set("op_name", op)
      .set("kernel_source", "moesim_mma")
      .set("kv_cache_dtype", "bfloat16")
      .set("batch_size", sequences)
      .set("isl", length)
      .set("step", 0)
      .set("num_heads", heads);
  return out;
}
Json row(const DecodeCase& c) {
  Json out = attention_row("generation_attention", c.sequences, c.keys, c.heads);
  out.set("attn_dtype", "bfloat16")
      .set("num_key_value_heads", c.kv_heads)
      .set("head_dim", c.head_dim)
      .set("window_size", 0);
  return out;
}
Json row(const LatentDecodeCase& c) {
  Json out = attention_row("mla_generation", c.sequences, c.keys, c.heads);
  out.set("mla_dtype", "bfloat16");
  return out;
}
Json row(const PrefillCase& c) {
  if (c.key_width == 192) {
    Json out = attention_row("mla_context", c.sequences, c.length, c.heads);
    out.set("mla_dtype", "bfloat16");
    return out;
  }
  Json out = attention_row("context_attention", c.sequences, c.length, c.heads);
  out.set("attn_dtype", "bfloat16")
      .set("num_key_value_heads", c.kv_heads)
      .set("head_dim", c.key_width)
      .set("window_size", 0);
  return out;
}
Json row(const ContentionCase& c) {
  return std::move(Json::object()
                       .set("op_name", "contention")
                       .set("work", name_of(c.work))
                       .set("rival", c.rival == ContentionCase::Rival::kSpin ? "spin" : "stream")
                       .set("multiprocessors", c.multiprocessors));
}
Json row(const CollectiveCase& c) {
  return std::move(Json::object()
                       .set("op_name", name_of(c.op))
                       .set("kernel_source", "nccl")
                       .set("num_gpus", c.gpus)
                       .set("bytes", c.bytes));
}

}  // namespace

double share_of_ceiling(const Needs& needs, NumberType type, double seconds, const Ceilings& ceilings) {
  const double peak = type == NumberType::kBf16 ? ceilings.bf16_flops : ceilings.fp8_flops;
  const double compute = peak > 0.0 ? needs.flops / peak : 0.0;
  const double memory = ceilings.bandwidth > 0.0 ? needs.bytes / ceilings.bandwidth : 0.0;
  return seconds > 0.0 ? std::max(compute, memory) / seconds : 0.0;
}

Json row_of(const Shape& shape) {
  return std::visit([](const auto& s) { return row(s); }, shape);
}

NumberType type_of(const Shape& shape) {
  if (const auto* const gemm = std::get_if<GemmCase>(&shape)) {
    return gemm->type;
  }
  const auto* const experts = std::get_if<ExpertsCase>(&shape);
  return experts != nullptr ? experts->type : NumberType::kBf16;
}

std::string latency_text(double seconds) {
  std::array<char, 40> text{};
  std::snprintf(text.data(), text.size(), "%.6g us", seconds * 1e6);
  return text.data();
}

void add_timing(Json& row, const Timing& timing, const Needs& needs, NumberType type, const Ceilings& ceilings) {
  const double seconds = timing.seconds.median;
  const auto rounded = [](double value, double digit) { return std::round(value / digit) * digit; };
  row.set("latency", latency_text(seconds))
      .set("least", latency_text(timing.seconds.least))
      .set("spread", rounded(timing.seconds.spread, 1e-5))
      .set("deviation", rounded(timing.seconds.deviation, 1e-6))
      .set("samples", static_cast<std::int64_t>(timing.samples))
      .set("launches_each", static_cast<std::int64_t>(timing.launches_each))
      .set("settled", timing.stopped == Stop::kSettled ? "yes" : "no")
      .set("path", timing.path == Path::kGraph ? "graph" : "stream");
  if (needs.flops > 0.0) {
    row.set("tflops", rounded(needs.flops / seconds * 1e-12, 1e-3));
  }
  if (needs.bytes > 0.0) {
    row.set("gbps", rounded(needs.bytes / seconds * 1e-9, 1e-3));
  }
  if (const double share = share_of_ceiling(needs, type, seconds, ceilings); share > 0.0) {
    row.set("of_ceiling", rounded(share, 1e-4));
  }
}

void Record::add(Measured measured) {
  const Needs needs = needs_of(measured.shape);
  const double seconds = measured.timing.seconds.median;
  if (seconds > 0.0 && std::holds_alternative<HbmCase>(measured.shape)) {
    ceilings.bandwidth = std::max(ceilings.bandwidth, needs.bytes / seconds);
  } else if (seconds > 0.0 && std::holds_alternative<GemmCase>(measured.shape)) {
    double& peak = type_of(measured.shape) == NumberType::kBf16 ? ceilings.bf16_flops : ceilings.fp8_flops;
    peak = std::max(peak, needs.flops / seconds);
  }
  rows.push_back(std::move(measured));
}

std::vector<std::string> cases_in(std::string_view text) {
  constexpr std::string_view kMember = "\"case\": \"";
  std::vector<std::string> out;
  for (std::size_t at = text.find(kMember); at != std::string_view::npos; at = text.find(kMember, at)) {
    at += kMember.size();
    out.emplace_back(text.substr(at, text.find('"', at) - at));  // ids hold nothing that JSON escapes
  }
  return out;
}

std::string Record::text() const {
  Json table = Json::array();
  for (const Measured& measured : rows) {
    Json row = row_of(measured.shape);
    add_timing(row, measured.timing, needs_of(measured.shape), type_of(measured.shape), ceilings);
    row.append(measured.extra);
    row.set("case", measured.id);
    table.push(std::move(row));
  }
  Json root = Json::object();
  root.set("schema", "moesim.measurement/1").set("gpu", gpu).set("framework", "moesim").set("version", version);
  root.set("environment", environment);
  root.set("ceilings", std::move(Json::object()
                                     .set("bf16_flops", ceilings.bf16_flops)
                                     .set("fp8_flops", ceilings.fp8_flops)
                                     .set("bandwidth", ceilings.bandwidth)));
  root.set("clocks", clocks).set("skipped", skipped).set("failed", failed).set("rows", std::move(table));
  return root.text();
}

void Record::save(const std::string& name) const {
  const std::filesystem::path path(name);
  const std::filesystem::path beside = name + ".part";
  std::error_code fault;
  if (path.has_parent_path()) {
    std::filesystem::create_directories(path.parent_path(), fault);
  }
  {
    std::ofstream file(beside, std::ios::binary | std::ios::trunc);
    file << text();
    file.flush();
    if (!file) {
      throw ConfigError({name, ""}, "cannot be written");
    }
  }
  std::filesystem::rename(beside, path, fault);
  if (fault) {
    throw ConfigError({name, ""}, "cannot be written: " + fault.message());
  }
}

}  // namespace moesim::bench
