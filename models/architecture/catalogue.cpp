#include <span>
#include <variant>

#include "models/architecture/architecture.hpp"
#include "sim/config/codec.hpp"
#include "sim/config/decode.hpp"
#include "sim/config/document.hpp"
#include "sim/core/error.hpp"

namespace moesim {

template struct DescribedCodec<Block>;
template struct DescribedCodec<Architecture>;

// Generated from catalogue/*.json (moesim_embed in CMakeLists.txt).
std::span<const EmbeddedFile> model_files();

const Catalogue& model_catalogue() {
  static const Catalogue catalogue("model", model_files());
  return catalogue;
}

Model find_model(std::string_view name, const Place& place) {
  const Document document = model_catalogue().find(name, place);
  return Model(decode_document<Architecture>(document), {document.name(), ""});
}

namespace {

Model load(const ModelName& name, const Place& place) { return find_model(name.value, place); }

Model load(const ModelFile& file, const Place&) {
  const Document document = Document::read(file.value.resolved);
  return Model(decode_document<Architecture>(document), {document.name(), ""});
}

Model load(const HuggingFaceConfig& file, const Place&) {
  const Document document = Document::read(file.value.resolved);
  if (const auto beside = quantization_file_beside(file.value.resolved)) {
    return Model(read_huggingface_config(document, Document::read(*beside)), {document.name(), ""});
  }
  return Model(read_huggingface_config(document), {document.name(), ""});
}

}  // namespace

Model load_model(const ModelChoice& choice, const Place& place) {
  return std::visit([&](const auto& alternative) { return load(alternative, place); }, choice);
}

}  // namespace moesim
