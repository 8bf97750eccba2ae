#include "models/hardware/hardware.hpp"

#include <span>

#include "sim/config/codec.hpp"
#include "sim/config/decode.hpp"
#include "sim/core/error.hpp"

namespace moesim {

template struct DescribedCodec<Accelerator>;
template struct DescribedCodec<Nic>;

// Generated from catalogue/*/*.json (moesim_embed in CMakeLists.txt).
std::span<const EmbeddedFile> accelerator_files();
std::span<const EmbeddedFile> nic_files();

const Catalogue& accelerator_catalogue() {
  static const Catalogue catalogue("accelerator", accelerator_files());
  return catalogue;
}

const Catalogue& nic_catalogue() {
  static const Catalogue catalogue("NIC", nic_files());
  return catalogue;
}

Accelerator find_accelerator(std::string_view name, const Place& place) {
  return decode_document<Accelerator>(accelerator_catalogue().find(name, place));
}

Nic find_nic(std::string_view name, const Place& place) {
  return decode_document<Nic>(nic_catalogue().find(name, place));
}

}  // namespace moesim
