#include "sim/cli/cluster_argument.hpp"

#include <filesystem>

#include "sim/core/suggest.hpp"

namespace moesim {

namespace {

Document read_document(const std::string& argument, const std::vector<std::string>& assignments) {
  std::error_code unused;
  const bool looks_like_name = argument.find('/') == std::string::npos && !argument.ends_with(".json");
  const bool named = looks_like_name && !std::filesystem::exists(argument, unused);
  if (named && !cluster_catalogue().contains(argument)) {
    throw ConfigError({argument, {}}, "expected a cluster file or the name of a cluster, found neither" +
                                          suggestion(argument, cluster_catalogue().names()));
  }
  Document document = named ? cluster_catalogue().find(argument, {argument, {}}) : Document::read(argument);
  for (const std::string& assignment : assignments) {
    document.set(assignment);
  }
  return document;
}

}  // namespace

Cluster read_cluster_argument(const std::string& argument, const std::vector<std::string>& assignments,
                              std::size_t ranks) {
  const Document document = read_document(argument, assignments);
  return build_cluster_for(decode_document<ClusterConfig>(document), ranks, {document.name(), {}});
}

std::size_t all_gpus(const std::string& argument, const std::vector<std::string>& assignments) {
  const Document document = read_document(argument, assignments);
  return build_cluster(decode_document<ClusterConfig>(document), {document.name(), {}}).gpus();
}

}  // namespace moesim
