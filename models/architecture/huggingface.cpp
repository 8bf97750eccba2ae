#include <fmt/format.h>

#include <algorithm>

#include "models/architecture/huggingface_reader.hpp"
#include "sim/config/document.hpp"
#include "sim/core/error.hpp"
#include "sim/core/suggest.hpp"

namespace moesim {

namespace {

/// What `quantization_config` says of the weights: DeepSeek's fp8 with a scale for each block of 128 × 128, fp8 with
/// one for each tensor, gpt-oss's mxfp4 of the experts. Other ways of quantising are no type that is known here.
void read_released_types(const HuggingFaceReader& config, Architecture& architecture) {
  if (!config.has("quantization_config")) {
    return;
  }
  const HuggingFaceReader quantization = config.inside("quantization_config");
  const std::string method = quantization.text_or("quant_method", "");
  if (method == "mxfp4") {
    architecture.expert_weight_type = DataType::kMxFp4;
  } else if (method == "fp8") {
    architecture.weight_type = quantization.has("weight_block_size") ? DataType::kFp8Block : DataType::kFp8;
  }
}

}  // namespace

Architecture read_huggingface_config(const Document& document) {
  std::vector<Diagnostic> faults;
  const Cursor root(document, faults);
  if (!root.value().is_object()) {
    throw ConfigError(root.place(), fmt::format("expected an object, found {}", root.found()));
  }
  if (!root.value().contains("model_type")) {
    throw ConfigError(root.place(), "expected the key \"model_type\", found none");
  }
  const HuggingFaceReader config(root);
  const std::string type = config.text_or("model_type", "");
  const std::vector<HuggingFaceFamily> families = huggingface_families();
  const auto family = std::find_if(families.begin(), families.end(),
                                   [&](const HuggingFaceFamily& known) { return known.model_type == type; });
  if (family == families.end()) {
    std::vector<std::string_view> known;
    for (const HuggingFaceFamily& candidate : families) {
      known.push_back(candidate.model_type);
    }
    throw ConfigError(
        {document.name(), "/model_type"},
        fmt::format("expected one of {}, found \"{}\"{}", fmt::join(known, ", "), type, did_you_mean(type, known)));
  }
  Architecture architecture = family->read(config);
  read_released_types(config, architecture);
  if (!faults.empty()) {
    throw ConfigError(std::move(faults));
  }
  const std::string name = config.text_or("_name_or_path", "");
  architecture.name = name.empty() ? type : name;
  architecture.sources["*"] = document.name();
  return architecture;
}

}  // namespace moesim
