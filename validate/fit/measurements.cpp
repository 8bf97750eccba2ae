#include "validate/fit/measurements.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <map>
#include <set>

#include "sim/config/document.hpp"
#include "sim/core/error.hpp"
#include "sim/core/suggest.hpp"
#include "sim/core/units.hpp"
#include "validate/fit/expert_rows.hpp"
#include "validate/fit/own_table.hpp"

namespace moesim {
namespace {

/// Turns rows into kernels. Columns are looked up by name once per table.
class Rows {
 public:
  explicit Rows(const TableFile& table) : table_(table) {
    const auto latency = table.find("latency");
    const auto micro = table.find("latency_us");
    const auto milli = table.find("latency_ms");
    if ((latency ? 1 : 0) + (micro ? 1 : 0) + (milli ? 1 : 0) > 1) {
      throw ConfigError({table.name(), ""},
                        fmt::format("expected one column of latencies, found several in different units: {}, {}",
                                    latency ? "latency" : "latency_ms", micro ? "latency_us" : "latency_ms"));
    }
    latency_ = latency ? latency : micro ? micro : milli;
    scale_ = micro ? 1e-6 : 1e-3;
  }

  MeasurementTable read() {
    MeasurementTable out{.file = table_.name()};
    const std::size_t op = column("op_name");
    std::map<std::string, std::size_t> unknown;
    for (std::size_t row = 0; row < table_.rows(); ++row) {
      row_ = row;
      Measurement m;
      m.row = row;
      m.op = table_.cell(row, op);
      try {
        if (m.op == "contention" && table_.find("work_gbps_alone")) {
          out.contention.push_back(contention_row(table_, row));
          continue;
        }
        if (!fill(m)) {
          ++unknown[std::string(reason_.empty() ? m.op : reason_)];
          ++out.skipped;
          continue;
        }
        m.time = latency();
      } catch (const ConfigError& error) {
        faults_.insert(faults_.end(), error.diagnostics().begin(), error.diagnostics().end());
        constexpr std::size_t kMost = 20;
        if (faults_.size() >= kMost) {
          break;
        }
        continue;
      }
      out.rows.push_back(std::move(m));
    }
    if (!faults_.empty()) {
      throw ConfigError(std::move(faults_));
    }
    for (const auto& [what, count] : unknown) {
      out.warnings.push_back(
          fmt::format("{}: {} rows of {} skipped: no kernel model is fitted to them", table_.name(), count, what));
    }
    if (table_.rows() > 0) {
      row_ = 0;
      out.device = optional_text("device");
      out.framework = optional_text("framework");
      out.version = optional_text("version");
    }
    return out;
  }

 private:
  std::size_t column(std::string_view name) const {
    const auto found = table_.find(name);
    if (!found) {
      std::vector<std::string_view> known(table_.columns().begin(), table_.columns().end());
      throw ConfigError({table_.name(), ""},
                        fmt::format("expected a column \"{}\", found none{}", name, suggestion(name, known)));
    }
    return *found;
  }
  std::string_view text(const char* name) {
    auto [found, added] = columns_.try_emplace(name, 0);
    if (added) {
      found->second = column(name);
    }
    return table_.cell(row_, found->second);
  }
  std::string optional_text(std::string_view name) const {
    const auto found = table_.find(name);
    return found ? std::string(table_.cell(row_, *found)) : std::string();
  }
  std::int64_t count(const char* name, std::int64_t least = 1) {
    const std::string_view cell = text(name);
    std::int64_t value = 0;
    const auto [end, fault] = std::from_chars(cell.data(), cell.data() + cell.size(), value);
    if (fault != std::errc() || end != cell.data() + cell.size() || value < least || value > (std::int64_t{1} << 40)) {
      throw ConfigError(table_.place(row_),
                        fmt::format("expected a whole number of at least {} as {}, found \"{}\"", least, name, cell));
    }
    return value;
  }

  Duration latency() const {
    if (!latency_) {
      static_cast<void>(column("latency"));
    }
    const std::string_view cell = table_.cell(row_, *latency_);
    double value = 0.0;
    const auto [end, fault] = std::from_chars(cell.data(), cell.data() + cell.size(), value);
    if (fault == std::errc() && end == cell.data() + cell.size()) {
      if (!(value > 0.0) || !std::isfinite(value)) {
        throw ConfigError(table_.place(row_), fmt::format("expected a latency above zero, found {}", cell));
      }
      return seconds(value * scale_);
    }
    std::string message;
    const auto quantity = parse_quantity(cell, unit_table<Duration>(), message);
    if (!quantity || !(*quantity > 0.0)) {
      throw ConfigError(table_.place(row_), fmt::format("expected a latency above zero, found \"{}\"", cell));
    }
    return seconds(*quantity);
  }

  /// std::nullopt, with reason_ set, for names of types that no kernel of ours has.
  std::optional<DataType> type_of(std::string_view name) {
    static const std::map<std::string_view, DataType> kTypes{
        {"bfloat16", DataType::kBf16}, {"bf16", DataType::kBf16},         {"float16", DataType::kFp16},
        {"half", DataType::kFp16},     {"fp8", DataType::kFp8},           {"fp8_block", DataType::kFp8Block},
        {"int8", DataType::kInt8},     {"w4a16_mxfp4", DataType::kMxFp4}, {"mxfp4", DataType::kMxFp4},
        {"nvfp4", DataType::kNvFp4},   {"int4_wo", DataType::kInt4},      {"w4a8_mxfp4_mxfp8", DataType::kMxFp4}};
    const auto found = kTypes.find(name);
    if (found == kTypes.end()) {
      reason_ = fmt::format("type {}", name);
      return std::nullopt;
    }
    return found->second;
  }

  bool fill(Measurement& m) {
    reason_.clear();
    if (m.op == "gemm") {
      return gemm(m);
    }
    if (m.op == "moe" || m.op == "moe_context" || m.op == "moe_generation") {
      return experts(m);
    }
    if (m.op == "context_attention" || m.op == "generation_attention") {
      return attention(m);
    }
    if (m.op == "mla_gen_pre" || m.op == "mla_gen_post") {
      return absorbed(m);
    }
    // The whole module where the table names the model's other GEMMs, the attention kernel alone where it does not.
    if (m.op == "mla_context" || m.op == "mla_generation" || m.op == "mla_context_module" ||
        m.op == "mla_generation_module") {
      return table_.find("gemm_type") ? module(m) : latent(m);
    }
    return m.op == "router" ? router(m) : streaming(m);
  }

  /// Our own router: the product of tokens and gates, the choice fused into it.
  bool router(Measurement& m) {
    m.kernel = Gemm{.m = count("num_tokens"), .n = count("num_experts"), .k = count("hidden_size")};
    m.variant = "router";
    m.shape = fmt::format("{} {} {}", text("num_experts"), text("hidden_size"), text("topk"));
    m.size = text("num_tokens");
    return true;
  }

  /// Our own kernels that stream, with the bytes that validate/kernels/shapes.cpp counts: T tokens of width h, E
  /// experts, k chosen, of width i.
  bool streaming(Measurement& m) {
    if (m.op.starts_with("hbm_")) {
      const double moved = static_cast<double>(count("bytes"));
      m.kernel = Streaming{.read = bytes(m.op == "hbm_write" ? 0.0 : moved),
                           .written = bytes(m.op == "hbm_read" ? 0.0 : moved)};
      m.shape = m.op;
      m.size = text("bytes");
    } else if (!layer_part(m)) {
      return false;
    }
    m.variant = "streaming";
    return true;
  }

  bool layer_part(Measurement& m) {
    static const std::set<std::string_view> kParts{"top_k", "permute", "unpermute", "swiglu", "swiglu_fp8", "rms_norm"};
    if (!kParts.contains(m.op)) {
      return false;
    }
    const auto tokens = static_cast<double>(count("num_tokens"));
    const double copies = tokens * static_cast<double>(count("topk"));
    const double row = 2.0 * static_cast<double>(count("hidden_size"));
    const double cells = copies * static_cast<double>(count("inter_size"));
    const double scores = tokens * static_cast<double>(count("num_experts"));
    constexpr double kNumbers = 8.0;  // of a choice: expert and weight, or place and weight
    Streaming out;
    if (m.op == "top_k") {
      out = {.read = bytes(4.0 * scores), .written = bytes(kNumbers * copies)};
    } else if (m.op == "permute") {
      out = {.read = bytes(tokens * row + kNumbers * copies), .written = bytes(copies * row)};
    } else if (m.op == "unpermute") {
      out = {.read = bytes(copies * row + kNumbers * copies), .written = bytes(tokens * row)};
    } else if (m.op == "rms_norm") {
      out = {.read = bytes(tokens * row), .written = bytes(tokens * row)};
    } else {
      const double narrow = 1.0 + 4.0 / 128.0;  // with a scale for each block
      out = {.read = bytes(4.0 * cells), .written = bytes((m.op == "swiglu" ? 2.0 : narrow) * cells)};
    }
    m.kernel = out;
    m.shape =
        fmt::format("{} {} {} {} {}", m.op, text("hidden_size"), text("inter_size"), text("topk"), text("num_experts"));
    m.size = text("num_tokens");
    return true;
  }

  bool gemm(Measurement& m) {
    const auto type = type_of(text("gemm_dtype"));
    if (!type) {
      return false;
    }
    m.kernel = Gemm{.m = count("m"), .n = count("n"), .k = count("k"), .weight = *type};
    m.variant = optional_text("kernel_source");
    m.shape = fmt::format("{} {}", text("n"), text("k"));
    m.size = text("m");
    return true;
  }

  bool absorbed(Measurement& m) {
    const auto type = type_of(text("bmm_dtype"));
    if (!type) {
      return false;
    }
    const bool before = m.op == "mla_gen_pre";  // queries to the latent, or the latent to outputs
    m.kernel = Gemm{.m = count("num_tokens"),
                    .n = before ? 512 : 128,
                    .k = before ? 128 : 512,
                    .batch = count("num_heads"),
                    .weight = *type};
    if (count("num_heads") == 1) {
      reason_ = m.op + " of one head";
      return false;
    }
    m.variant = optional_text("kernel_source");
    m.shape = fmt::format("{} {}", m.op, text("num_heads"));
    m.size = text("num_tokens");
    return true;
  }

  bool experts(Measurement& m) {
    const std::string_view dtype = text("moe_dtype");
    const auto type = type_of(dtype);
    if (!type) {
      return false;
    }
    RoutedLoad load{.tokens = count("num_tokens"),
                    .experts_per_token = count("topk"),
                    .experts = count("num_experts"),
                    .expert_parallel = count("moe_ep_size")};
    const std::string_view distribution = text("distribution");
    constexpr std::string_view kPower = "power_law_";
    const bool recorded = distribution == "recorded";
    if (distribution.starts_with(kPower)) {
      const std::string_view exponent = distribution.substr(kPower.size());
      const auto [end, fault] = std::from_chars(exponent.data(), exponent.data() + exponent.size(), load.exponent);
      if (fault != std::errc() || end != exponent.data() + exponent.size() || !(load.exponent > 0.0) ||
          load.exponent > 10.0) {
        throw ConfigError(table_.place(row_), fmt::format("expected the exponent of a power law between 0 and 10, "
                                                          "found \"{}\"",
                                                          distribution));
      }
    } else if (!recorded && distribution != "balanced" && distribution != "uniform") {
      reason_ = fmt::format("distribution {}", distribution);
      return false;
    }
    const std::int64_t tensor_parallel = count("moe_tp_size");
    if (load.experts % load.expert_parallel != 0 || load.experts_per_token > load.experts || load.experts > 65536 ||
        load.tokens > (std::int64_t{1} << 30)) {
      throw ConfigError(table_.place(row_), fmt::format("expected experts that {} ranks share evenly and at least as "
                                                        "many as a token chooses, found {} of {}",
                                                        load.expert_parallel, load.experts_per_token, load.experts));
    }
    const std::string source = optional_text("kernel_source");
    const bool dispatched = m.op != "moe";
    const ExpertLayout layout = m.op == "moe_context"      ? ExpertLayout::kContiguous
                                : m.op == "moe_generation" ? ExpertLayout::kMasked
                                                           : ExpertLayout::kSorted;
    m.kernel = Experts{.rows = recorded                                          ? recorded_rows(load)
                               : dispatched && !distribution.starts_with(kPower) ? evenly_received(load, layout)
                                                                                 : expert_rows_.of(load),
                       .tokens = load.tokens,
                       .experts = load.experts,
                       .experts_per_token = load.experts_per_token,
                       .hidden = count("hidden_size"),
                       .intermediate = std::max<std::int64_t>(count("inter_size") / tensor_parallel, 1),
                       .up_matrices = is_gated(source, load, count("inter_size")) ? 2 : 1,
                       .exponent = recorded ? std::nullopt : std::optional(load.exponent),
                       .weight = *type,
                       .layout = layout};
    // The same kernels, gated or not. The name of the type, too: it says of some kernels what they were chosen for.
    const std::string kernels = source == kUngated ? "moe_torch_flow_cutlass" : source;
    m.variant = fmt::format("{}{}{} {}", kernels, m.op == "moe" ? "" : " ", m.op == "moe" ? "" : m.op, dtype);
    m.shape = fmt::format("{} {} {} {}", text("hidden_size"), text("inter_size"), text("topk"), text("num_experts"));
    if (dispatched) {  // the kernel knows nothing of other ranks' experts
      m.shape += fmt::format(" on {}", load.expert_parallel);
    }
    m.size = fmt::format("{} {} {} {}", text("num_tokens"), text("moe_tp_size"), text("moe_ep_size"), distribution);
    if (recorded) {
      m.size += fmt::format(" {}", text("expert_rows"));
    }
    return true;
  }

  static constexpr std::string_view kUngated = "moe_torch_flow_nongated";

  /// TensorRT-LLM's rows say so. vLLM's do not: it builds the layers of the models that it knows, and those of
  /// Nemotron-3 (Nano: 6 of 128 experts of 1856; Super and Ultra: 22 of 512) have squared ReLU without a gate.
  static bool is_gated(std::string_view source, const RoutedLoad& load, std::int64_t width) {
    const bool nemotron = (load.experts == 512 && load.experts_per_token == 22) ||
                          (load.experts == 128 && load.experts_per_token == 6 && width == 1856);
    return source != kUngated && !(source.starts_with("vllm_") && nemotron);
  }

  /// What each expert of a rank works on where aiconfigurator's collector of DeepEP's experts has "uniform" routing
  /// (collector/sglang/collect_wideep_deepep_moe.py): T·k/E rows, rounded down, or, where that is none, one row for the
  /// first T·k/R experts. For the contiguous layout the rows of all experts are cut into blocks of 128, and a block is
  /// multiplied by one expert's weights: rows that do not fill blocks are computed by fewer experts.
  static std::vector<std::int64_t> evenly_received(const RoutedLoad& load, ExpertLayout layout) {
    constexpr std::int64_t kBlock = 128;
    const std::int64_t local = load.experts / load.expert_parallel;
    const std::int64_t each = load.tokens * load.experts_per_token / load.experts;
    std::vector<std::int64_t> rows(static_cast<std::size_t>(local), each);
    if (layout == ExpertLayout::kContiguous && each % kBlock != 0) {
      const std::int64_t blocks = (each * local + kBlock - 1) / kBlock;
      for (std::int64_t e = 0; e < local; ++e) {
        rows[static_cast<std::size_t>(e)] = kBlock * (blocks / local + (e < blocks % local ? 1 : 0));
      }
    } else if (each == 0) {
      const std::int64_t some = std::min(load.tokens * load.experts_per_token / load.expert_parallel, local);
      std::fill_n(rows.begin(), some, 1);
    }
    return rows;
  }

  /// What a replay of recorded routing gave to each expert of the rank that was timed, with blanks between.
  std::vector<std::int64_t> recorded_rows(const RoutedLoad& load) {
    const std::string_view cell = text("expert_rows");
    std::vector<std::int64_t> rows;
    const char* at = cell.data();
    const char* const end = at + cell.size();
    while (at < end) {
      std::int64_t value = 0;
      const auto [next, fault] = std::from_chars(at, end, value);
      if (fault != std::errc() || value < 0 || value > load.tokens * load.experts_per_token ||
          (next < end && *next != ' ')) {
        break;
      }
      rows.push_back(value);
      at = next < end ? next + 1 : end;
    }
    const auto local = static_cast<std::size_t>(load.experts / load.expert_parallel);
    if (at < end || rows.size() != local) {
      throw ConfigError(table_.place(row_), fmt::format("expected the rows of {} experts as expert_rows, whole numbers "
                                                        "with blanks between, found \"{}\"",
                                                        local, cell));
    }
    return rows;
  }

  bool attention(Measurement& m) {
    const std::string_view computed = text("attn_dtype");
    const auto kv = type_of(text("kv_cache_dtype"));
    if (!kv || !type_of(computed)) {
      return false;
    }
    const std::int64_t heads = count("num_heads");
    const std::int64_t kv_heads = count("num_key_value_heads", 0);
    const std::int64_t width = count("head_dim");
    const std::int64_t window = count("window_size", 0);
    const std::int64_t length = count("isl");
    const std::int64_t step = count("step", 0);
    if (m.op == "context_attention") {
      m.kernel = ContextAttention{.sequences = count("batch_size"),
                                  .query = length,
                                  .keys = length + step,
                                  .heads = heads,
                                  .kv_heads = kv_heads > 0 ? kv_heads : heads,
                                  .qk_head_dim = width,
                                  .v_head_dim = width,
                                  .window = window,
                                  .kv = *kv};
    } else {
      m.kernel = GenerationAttention{.sequences = count("batch_size"),
                                     .keys = length + step,
                                     .heads = heads,
                                     .kv_heads = kv_heads > 0 ? kv_heads : heads,
                                     .head_dim = width,
                                     .window = window,
                                     .kv = *kv};
    }
    m.variant = fmt::format("{} {} over {}", optional_text("kernel_source"), computed, text("kv_cache_dtype"));
    m.shape = fmt::format("{} {} {} {}", heads, kv_heads, width, window);
    m.size = fmt::format("{} {} {}", text("batch_size"), length, step);
    return true;
  }

  bool latent(Measurement& m) {
    const auto kv = type_of(text("kv_cache_dtype"));
    if (!kv) {
      return false;
    }
    const std::int64_t heads = count("num_heads");
    const std::int64_t length = count("isl");
    const std::int64_t step = count("step", 0);
    if (m.op == "mla_context") {
      // Prompts are computed with heads of 192 and 128, but SGLang's collector for Hopper has its backend
      // "flash_attention" attend to the latent of 512 + 64, as in generation (collector/sglang/collect_mla.py), which
      // takes 3.4 times the work.
      const bool absorbed = optional_text("kernel_source") == "flash_attention";
      m.kernel = ContextAttention{.sequences = count("batch_size"),
                                  .query = length,
                                  .keys = length + step,
                                  .heads = heads,
                                  .kv_heads = absorbed ? 1 : heads,
                                  .qk_head_dim = absorbed ? 576 : 192,
                                  .v_head_dim = absorbed ? 512 : 128,
                                  .kv = *kv};
    } else {
      m.kernel = LatentGenerationAttention{.sequences = count("batch_size"),
                                           .keys = length + step,
                                           .heads = heads,
                                           .kv_rank = 512,
                                           .rope_dim = 64,
                                           .kv = *kv};
    }
    m.variant = fmt::format("{} {} over {}", optional_text("kernel_source"), text("mla_dtype"), text("kv_cache_dtype"));
    m.shape = std::to_string(heads);
    m.size = fmt::format("{} {} {}", text("batch_size"), length, step);
    return true;
  }

  bool module(Measurement& m) {
    const auto kv = type_of(text("kv_cache_dtype"));
    const auto weight = type_of(text("gemm_type"));
    if (!kv || !weight) {
      return false;
    }
    const bool context = m.op.starts_with("mla_context");
    const std::int64_t length = count("isl");
    const std::int64_t step = count("step", 0);
    m.kernel = LatentModule{.phase = context ? LatentModule::Phase::kContext : LatentModule::Phase::kGeneration,
                            .sequences = count("batch_size"),
                            .query = context ? length : 1,
                            .keys = length + step,
                            .heads = count("num_heads"),
                            .weight = *weight,
                            .kv = *kv};
    if (!m.op.ends_with("_module")) {
      m.op += "_module";
    }
    m.variant = fmt::format("{} {} {}", optional_text("kernel_source"), text("mla_dtype"), text("kv_cache_dtype"));
    m.shape = fmt::format("{}", text("num_heads"));
    m.size = fmt::format("{} {} {} {}", text("batch_size"), length, step, text("gemm_type"));
    return true;
  }

  const TableFile& table_;
  std::optional<std::size_t> latency_;
  double scale_ = 1e-3;
  std::size_t row_ = 0;
  std::map<const char*, std::size_t> columns_;
  std::string reason_;
  std::vector<Diagnostic> faults_;
  ExpertRows expert_rows_;
};

}  // namespace

MeasurementTable read_measurements(const std::filesystem::path& path, TableFormat format) {
  const TableFile table = format == TableFormat::kMoesim ? own_table(Document::read(path)) : TableFile::read(path);
  return Rows(table).read();
}

}  // namespace moesim
