#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <system_error>

#include "models/architecture/huggingface_quantization.hpp"
#include "models/architecture/huggingface_reader.hpp"
#include "sim/config/document.hpp"
#include "sim/core/error.hpp"
#include "sim/core/suggest.hpp"

namespace moesim {

namespace {

/// Models of text and images have theirs with either part.
std::optional<HuggingFaceReader> quantization_of(const HuggingFaceReader& config) {
  if (config.has("quantization_config")) {
    return config.inside("quantization_config");
  }
  if (config.has("text_config") && config.inside("text_config").has("quantization_config")) {
    return config.inside("text_config").inside("quantization_config");
  }
  return std::nullopt;
}

/// `quantization` is null where the configuration itself says how its weights are quantised, or that they are not.
Architecture read_config(const Document& document, const Document* quantization) {
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
  if (quantization != nullptr) {
    const Cursor beside(*quantization, faults);
    const HuggingFaceReader reader(beside);
    read_quantization(reader.has("quantization") ? reader.inside("quantization") : reader, architecture);
  } else if (const auto inside = quantization_of(config)) {
    read_quantization(*inside, architecture);
  }
  if (!faults.empty()) {
    throw ConfigError(std::move(faults));
  }
  const std::string name = config.text_or("_name_or_path", "");
  architecture.name = name.empty() ? type : name;
  architecture.sources["*"] = document.name();
  return architecture;
}

}  // namespace

Architecture read_huggingface_config(const Document& document) { return read_config(document, nullptr); }

Architecture read_huggingface_config(const Document& document, const Document& quantization) {
  return read_config(document, &quantization);
}

std::optional<std::filesystem::path> quantization_file_beside(const std::filesystem::path& config) {
  const std::filesystem::path beside = config.parent_path() / "hf_quant_config.json";
  std::error_code none;
  if (!std::filesystem::is_regular_file(beside, none)) {
    return std::nullopt;
  }
  const Document document = Document::read(config);
  std::vector<Diagnostic> faults;
  const Cursor root(document, faults);
  return quantization_of(HuggingFaceReader(root)) ? std::nullopt : std::optional(beside);
}

}  // namespace moesim
