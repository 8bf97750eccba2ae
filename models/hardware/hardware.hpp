#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "models/hardware/data_type.hpp"
#include "sim/config/catalogue.hpp"
#include "sim/config/describe.hpp"
#include "sim/core/error.hpp"
#include "sim/core/quantity.hpp"

namespace moesim {

/// One accelerator, as its data sheet gives it. Rates are peaks; what kernels reach is the cost model's subject.
struct Accelerator {
  std::string name;
  std::map<DataType, FlopRate> peak;  ///< dense tensor-core rate by input type, without sparsity; fp32: TF32
  Bytes memory;                       ///< HBM capacity
  Bandwidth memory_bandwidth;         ///< HBM
  int compute_units = 0;              ///< SMs, CUs or TensorCores of a TPU
  Bytes l2_cache;
  Bandwidth scale_up_bandwidth;  ///< NVLink, xGMI or ICI, all links, each direction; zero where there is none
  std::optional<Bandwidth> host_bandwidth;     ///< PCIe, each direction
  std::optional<int> power_watts;              ///< TDP
  std::optional<int> compute_capability;       ///< CUDA, 90 for sm_90
  std::map<std::string, std::string> sources;  ///< field → where the figure comes from; "*" for the rest
  std::vector<std::string> unverified;         ///< fields whose figure nobody read in a source

  static constexpr std::string_view kDoc = "An accelerator";
  template <class F>
  static void describe(F& f) {
    f.tag("schema", "moesim.accelerator/1");
    f.required("name", &Accelerator::name, "As its vendor calls it", Rules::not_empty());
    f.required("peak", &Accelerator::peak, "Dense peak compute rate by data type, without sparsity; fp32 is TF32",
               Rules::above_zero());
    f.required("memory", &Accelerator::memory, "HBM capacity", Rules::above_zero());
    f.required("memory_bandwidth", &Accelerator::memory_bandwidth, "HBM bandwidth", Rules::above_zero());
    f.required("compute_units", &Accelerator::compute_units, "SMs, CUs or TensorCores of a TPU",
               Rules::between(1, 4096));
    f.optional("l2_cache", &Accelerator::l2_cache,
               "Last-level cache shared by all compute units (L2, on AMD the Infinity Cache)");
    f.optional("scale_up_bandwidth", &Accelerator::scale_up_bandwidth,
               "NVLink, xGMI or ICI, all links together, each direction");
    f.optional("host_bandwidth", &Accelerator::host_bandwidth, "PCIe, each direction", Rules::above_zero());
    f.optional("power_watts", &Accelerator::power_watts, "Thermal design power, W", Rules::between(1, 100000));
    f.optional("compute_capability", &Accelerator::compute_capability, "CUDA compute capability times ten",
               Rules::between(10, 1000));
    f.required("sources", &Accelerator::sources, "Field → source of its figure; \"*\" for all others");
    f.optional("unverified", &Accelerator::unverified, "Fields whose figure was not read in a source");
  }
};
extern template struct DescribedCodec<Accelerator>;

/// One network interface.
struct Nic {
  std::string name;
  Bandwidth bandwidth;  ///< each direction
  std::map<std::string, std::string> sources;
  std::vector<std::string> unverified;

  static constexpr std::string_view kDoc = "A network interface";
  template <class F>
  static void describe(F& f) {
    f.tag("schema", "moesim.nic/1");
    f.required("name", &Nic::name, "As its vendor calls it", Rules::not_empty());
    f.required("bandwidth", &Nic::bandwidth, "Each direction", Rules::above_zero());
    f.required("sources", &Nic::sources, "Field → source of its figure; \"*\" for all others");
    f.optional("unverified", &Nic::unverified, "Fields whose figure was not read in a source");
  }
};
extern template struct DescribedCodec<Nic>;

const Catalogue& accelerator_catalogue();
const Catalogue& nic_catalogue();

/// Decodes one catalogue entry. Throws ConfigError at `place` when there is none of that name.
Accelerator find_accelerator(std::string_view name, const Place& place);
Nic find_nic(std::string_view name, const Place& place);

}  // namespace moesim
