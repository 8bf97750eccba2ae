#include <span>

#include "workloads/routing/generator.hpp"

namespace moesim {

/// Defined in the file that the build writes from catalogue/*.json.
std::span<const EmbeddedFile> routing_generator_files();

const Catalogue& generator_catalogue() {
  static const Catalogue catalogue("routing generator", routing_generator_files());
  return catalogue;
}

}  // namespace moesim
