#include "sim/cli/document_argument.hpp"

#include <fmt/format.h>

#include <filesystem>

#include "sim/config/decode.hpp"
#include "sim/config/document.hpp"
#include "sim/core/error.hpp"
#include "sim/core/suggest.hpp"

namespace moesim {

Document read_document_argument(const std::string& argument, std::string_view kind, const Catalogue& catalogue,
                                const std::vector<std::string>& assignments) {
  std::error_code unused;
  const bool looks_like_name = argument.find('/') == std::string::npos && !argument.ends_with(".json");
  const bool named = looks_like_name && !std::filesystem::exists(argument, unused);
  if (named && !catalogue.contains(argument)) {
    throw ConfigError({argument, {}}, fmt::format("expected a {} file or the name of a {}, found neither{}", kind, kind,
                                                  suggestion(argument, catalogue.names())));
  }
  Document document = named ? catalogue.find(argument, {argument, {}}) : Document::read(argument);
  for (const std::string& assignment : assignments) {
    document.set(assignment);
  }
  return document;
}

Cluster read_cluster_argument(const std::string& argument, const std::vector<std::string>& assignments,
                              std::size_t ranks) {
  const Document document = read_document_argument(argument, "cluster", cluster_catalogue(), assignments);
  return build_cluster_for(decode_document<ClusterConfig>(document), ranks, {document.name(), {}});
}

std::size_t all_gpus(const std::string& argument, const std::vector<std::string>& assignments) {
  const Document document = read_document_argument(argument, "cluster", cluster_catalogue(), assignments);
  return build_cluster(decode_document<ClusterConfig>(document), {document.name(), {}}).gpus();
}

std::string with_unit_of_bytes(const std::string& text) {
  const bool bare = !text.empty() && text.find_first_not_of("0123456789") == std::string::npos;
  return bare ? text + " B" : text;
}

}  // namespace moesim
