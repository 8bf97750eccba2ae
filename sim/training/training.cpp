#include "sim/training/training.hpp"

#include <span>

#include "sim/config/codec.hpp"

namespace moesim {

template struct DescribedCodec<Training>;

std::span<const EmbeddedFile> training_files();

const Catalogue& training_catalogue() {
  static const Catalogue catalogue("training", training_files());
  return catalogue;
}

}  // namespace moesim
