#pragma once

#include <cstddef>
#include <cstdint>
#include <unordered_map>
#include <vector>

#include "models/kernels/kernel.hpp"

namespace moesim {

/// Keeps each kernel of a program once: layers repeat each other's kernels, and what one costs is asked for once.
class KernelIndex {
 public:
  /// Keeps them in `kernels`, which is empty.
  explicit KernelIndex(std::vector<Kernel>& kernels) : kernels_(kernels) {}

  /// Its place among them.
  std::uint32_t place(Kernel kernel);

 private:
  std::vector<Kernel>& kernels_;
  std::unordered_multimap<std::size_t, std::uint32_t> places_;  ///< by hash
};

}  // namespace moesim
