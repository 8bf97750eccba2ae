#include "sim/scenario/scenario.hpp"

namespace moesim {

template struct DescribedCodec<Scenario>;

std::span<const EmbeddedFile> scenario_files();

const Catalogue& scenario_catalogue() {
  static const Catalogue catalogue("scenario", scenario_files());
  return catalogue;
}

}  // namespace moesim
