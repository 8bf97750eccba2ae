#include "models/architecture/huggingface_quantization.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <map>
#include <utility>

#include "models/architecture/module_pattern.hpp"
#include "models/architecture/part_types.hpp"
#include "sim/core/suggest.hpp"

/// Keys of `quantization_config` by their method: huggingface/transformers utils/quantization_config.py,
/// vllm-project/compressed-tensors quant_config.py, NVIDIA/Model-Optimizer (hf_quant_config.json).
namespace moesim {

namespace {

using Reader = HuggingFaceReader;

/// std::nullopt, with the fault told at `key`, for an expression that cannot be taken.
std::optional<ModulePattern> pattern_of(const std::string& text, const Reader& reader, const std::string& key) {
  auto pattern = ModulePattern::parse(text);
  if (!pattern) {
    reader.fail(
        key, fmt::format("expected a regular expression of few repeats, none inside another, after re:, found \"{}\"",
                         text));
  }
  return pattern;
}

std::vector<ModulePattern> patterns(const Reader& reader, const std::string& key) {
  std::vector<ModulePattern> out;
  for (const std::string& text : reader.texts(key)) {
    if (auto pattern = pattern_of(text, reader, key)) {
      out.push_back(std::move(*pattern));
    }
  }
  return out;
}

/// Our int4 has a 16-bit scale per 32 weights; others' groups are longer, and may have a 4-bit zero point each.
DataType integers_of_four_bits(int group, int zero_point_bits, Quantization& out) {
  constexpr int kOurGroup = 32;
  if (group != kOurGroup || zero_point_bits > 0) {
    const double bits = group > 0 ? 4.0 + (16.0 + zero_point_bits) / group : 4.0;
    out.remarks.push_back(
        fmt::format("4-bit integers of {:.3g} bits a weight with their scales are taken as int4, of 4.5", bits));
  }
  return DataType::kInt4;
}

/// AWQ and GPTQ: whole numbers, products in 16 bits.
void read_integers(const Reader& config, const std::string& bits_key, Quantization& out) {
  const int bits = config.number_or(bits_key, 4);
  const int group = config.number_or("group_size", 128);
  if (bits == 4) {
    const bool zero_point = config.flag_or("zero_point", !config.flag_or("sym", true));
    out.groups.push_back({integers_of_four_bits(group, zero_point ? 4 : 0, out), {}});
  } else if (bits == 8) {
    out.remarks.emplace_back("weights alone have 8 bits; as int8, products run at the rate of 8-bit inputs");
    out.groups.push_back({DataType::kInt8, {}});
  } else {
    config.fail(bits_key, fmt::format("expected weights of 4 or 8 bits, found {}", bits));
  }
}

/// GPTQModel's exceptions: "-:expression" for modules that are left alone.
void read_gptq(const Reader& config, Quantization& out) {
  read_integers(config, "bits", out);
  for (const std::string& key : config.has("dynamic") ? config.inside("dynamic").keys() : std::vector<std::string>{}) {
    auto pattern = key.starts_with("-:") ? ModulePattern::parse("re:" + key.substr(2)) : std::nullopt;
    if (pattern) {
      out.ignored.push_back(std::move(*pattern));
    } else {
      out.remarks.push_back(fmt::format("\"dynamic\" sets other bits for \"{}\"; that is not followed", key));
    }
  }
}

/// The type of a scheme's weights in compressed-tensors: {"num_bits", "type", "strategy", "group_size"}. `format` says
/// of some that they are floats which do not say it themselves.
DataType type_of_scheme(const Reader& scheme, const std::string& format, Quantization& out) {
  const Reader of = scheme.inside("weights");
  const int bits = of.number_or("num_bits", 8);
  const int group = of.number_or("group_size", 0);
  const bool alone = !scheme.has("input_activations");
  const std::string type = of.text_or("type", format.find("fp4-pack") != std::string::npos ? "float" : "int");
  if (type == "int") {
    if (bits == 4) {
      if (!alone) {
        out.remarks.emplace_back("activations are quantised too; with int4, products run at the rate of 16-bit inputs");
      }
      return integers_of_four_bits(group, of.flag_or("symmetric", true) ? 0 : 4, out);
    }
    if (bits == 8) {
      if (alone) {
        out.remarks.emplace_back("weights alone have 8 bits; as int8, products run at the rate of 8-bit inputs");
      }
      return DataType::kInt8;
    }
  } else if (bits == 8 && group != 32) {
    if (alone) {
      out.remarks.emplace_back("weights alone have 8 bits; as fp8, products run at the rate of 8-bit inputs");
    }
    return of.text_or("strategy", "tensor") == "block" ? DataType::kFp8Block : DataType::kFp8;
  } else if (bits == 4 && (group == 16 || group == 32)) {
    if (alone) {
      out.remarks.push_back(fmt::format("weights alone have 4 bits; where a GPU has a rate for {}, products run at {}",
                                        group == 16 ? "nvfp4" : "mxfp4", group == 16 ? "it" : "that of 8-bit inputs"));
    }
    return group == 16 ? DataType::kNvFp4 : DataType::kMxFp4;
  }
  of.fail("num_bits", fmt::format("expected integers of 4 or 8 bits, floats of 8, or of 4 in groups of 16 or 32, found "
                                  "{} of {} bits in groups of {}",
                                  type, bits, group));
  return DataType::kBf16;
}

void read_compressed_tensors(const Reader& config, Quantization& out) {
  const Reader groups = config.inside("config_groups");
  const std::string format = config.text_or("format", "");
  for (const std::string& name : groups.keys()) {
    const Reader scheme = groups.inside(name);
    if (!scheme.has("weights")) {
      continue;  // of activations or the cache
    }
    QuantizedGroup group{type_of_scheme(scheme, scheme.text_or("format", format), out), patterns(scheme, "targets")};
    const std::vector<std::string> targets = scheme.texts("targets");
    const bool all = std::find(targets.begin(), targets.end(), "Linear") != targets.end();
    if (all) {
      group.targets.clear();
    }
    out.groups.insert(all ? out.groups.end() : out.groups.begin(), std::move(group));  // by name goes before by class
  }
}

/// The row of a table with this name; nullptr, with the fault told at `key`, where there is none.
template <class Table>
const typename Table::value_type* find_named(const Table& table, const std::string& name, const Reader& reader,
                                             const std::string& key) {
  std::vector<std::string_view> known;
  for (const auto& row : table) {
    if (row.name == name) {
      return &row;
    }
    known.push_back(row.name);
  }
  reader.fail(
      key, fmt::format("expected one of {}, found \"{}\"{}", fmt::join(known, ", "), name, did_you_mean(name, known)));
  return nullptr;
}

struct Algorithm {
  std::string_view name;
  DataType type;
  std::string_view remark = {};
};
constexpr std::string_view kWeightsAlone =
    "weights alone have 4 bits; where a GPU has a rate for them, products run at it";
constexpr std::string_view kWiderProducts =
    "activations have 8 bits; products run at the rate that the weights' type has";
constexpr auto kModelOpt = std::to_array<Algorithm>({{"FP8", DataType::kFp8},
                                                     {"FP8_PER_CHANNEL_PER_TOKEN", DataType::kFp8},
                                                     {"FP8_PB_WO", DataType::kFp8Block},
                                                     {"INT4_AWQ", DataType::kInt4},
                                                     {"INT8_SQ", DataType::kInt8},
                                                     {"NVFP4", DataType::kNvFp4},
                                                     {"NVFP4_AWQ", DataType::kNvFp4},
                                                     {"W4A16_AWQ", DataType::kInt4},
                                                     {"W4A16_NVFP4", DataType::kNvFp4, kWeightsAlone},
                                                     {"W4A8_AWQ", DataType::kInt4, kWiderProducts},
                                                     {"W4A8_MXFP4_FP8", DataType::kMxFp4},
                                                     {"W4A8_NVFP4_FP8", DataType::kNvFp4, kWiderProducts}});

DataType modelopt_type(const Reader& config, int group_size, Quantization& out) {
  std::string name = config.text_or("quant_algo", "");
  std::transform(name.begin(), name.end(), name.begin(), [](unsigned char c) { return std::toupper(c); });
  const Algorithm* found = find_named(kModelOpt, name, config, "quant_algo");
  if (found == nullptr) {
    return DataType::kBf16;
  }
  if (!found->remark.empty()) {
    out.remarks.emplace_back(found->remark);
  }
  return found->type == DataType::kInt4 ? integers_of_four_bits(group_size, 0, out) : found->type;
}

void read_modelopt(const Reader& config, Quantization& out) {
  const int group_size = config.number_or("group_size", 128);
  if (!config.has("quantized_layers")) {
    out.groups.push_back({modelopt_type(config, group_size, out), {}});
    return;
  }
  const Reader layers = config.inside("quantized_layers");  // MIXED_PRECISION: the type by module
  std::map<DataType, std::vector<ModulePattern>> modules;
  for (const std::string& name : layers.keys()) {
    const Reader layer = layers.inside(name);
    const DataType type = modelopt_type(layer, layer.number_or("group_size", group_size), out);
    if (auto pattern = pattern_of(name, config, "quantized_layers")) {
      modules[type].push_back(std::move(*pattern));
    }
  }
  for (auto& [type, targets] : modules) {
    out.groups.push_back({type, std::move(targets)});
  }
}

void read_fp8(const Reader& config, Quantization& out) {
  out.groups.push_back({config.has("weight_block_size") ? DataType::kFp8Block : DataType::kFp8, {}});
}

/// gpt-oss: experts alone, whatever else is listed.
void read_mxfp4(const Reader&, Quantization& out) {
  out.groups.push_back({DataType::kMxFp4, {*ModulePattern::parse("experts")}});
}

struct Method {
  std::string_view name;
  void (*read)(const Reader& config, Quantization& out);
};
constexpr auto kMethods =
    std::to_array<Method>({{"awq", [](const Reader& config, Quantization& out) { read_integers(config, "bits", out); }},
                           {"compressed-tensors", read_compressed_tensors},
                           {"fbgemm_fp8", read_fp8},
                           {"fp8", read_fp8},
                           {"gptq", read_gptq},
                           {"modelopt", read_modelopt},
                           {"modelopt_fp4", read_modelopt},
                           {"mxfp4", read_mxfp4}});

}  // namespace

void read_quantization(const HuggingFaceReader& quantization, Architecture& architecture) {
  const std::string name = quantization.text_or("quant_method", quantization.has("quant_algo") ? "modelopt" : "");
  const Method* method = find_named(kMethods, name, quantization, "quant_method");
  if (method == nullptr) {
    return;
  }
  Quantization read;
  for (const char* key : {"ignore", "modules_to_not_convert", "exclude_modules", "ignored_layers"}) {
    for (ModulePattern& pattern : patterns(quantization, key)) {
      read.ignored.push_back(std::move(pattern));
    }
  }
  method->read(quantization, read);
  std::sort(read.remarks.begin(), read.remarks.end());
  read.remarks.erase(std::unique(read.remarks.begin(), read.remarks.end()), read.remarks.end());
  architecture.remarks = read.remarks;
  set_part_types(read, architecture);
}

}  // namespace moesim
