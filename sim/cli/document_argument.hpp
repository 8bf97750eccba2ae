#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "sim/config/catalogue.hpp"
#include "sim/config/document.hpp"
#include "topologies/cluster.hpp"

namespace moesim {

/// The document a user names on the command line: a file, or else an entry of `catalogue`; with the --set assignments
/// applied. `kind` ("scenario") is for the error that says what was expected. Throws ConfigError; an unknown name gets
/// a suggestion.
Document read_document_argument(const std::string& argument, std::string_view kind, const Catalogue& catalogue,
                                const std::vector<std::string>& assignments);

/// The named cluster; where it says no number of nodes, it has as many as `ranks` need.
Cluster read_cluster_argument(const std::string& argument, const std::vector<std::string>& assignments,
                              std::size_t ranks);

/// How many GPUs the named cluster has; one node's where it says no number of nodes.
std::size_t all_gpus(const std::string& argument, const std::vector<std::string>& assignments);

/// A number of bytes as a quantity with its unit: "1048576" → "1048576 B"; what is no bare number stays as it is.
std::string with_unit_of_bytes(const std::string& text);

}  // namespace moesim
