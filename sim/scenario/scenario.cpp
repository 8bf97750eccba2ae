#include "sim/scenario/scenario.hpp"

#include <span>

#include "sim/config/codec.hpp"
#include "sim/scenario/collective.hpp"

namespace moesim {

template struct DescribedCodec<Scenario>;
template struct DescribedCodec<CollectiveScenario>;

std::span<const EmbeddedFile> scenario_files();

const Catalogue& scenario_catalogue() {
  static const Catalogue catalogue("scenario", scenario_files());
  return catalogue;
}

}  // namespace moesim
