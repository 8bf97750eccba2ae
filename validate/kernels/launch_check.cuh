#pragma once

#include <cuda_runtime.h>

#include "validate/kernels/device.hpp"

namespace moesim::bench {

inline void check_launch(const char* what) {
  const cudaError_t status = cudaGetLastError();
  if (status == cudaErrorNoKernelImageForDevice || status == cudaErrorInvalidDeviceFunction) {
    throw NoDevice(std::string(what) + ": this program has no code for this GPU's architecture; build it for it");
  }
  check(status, what);
}

/// Lets a kernel have `bytes` of dynamic shared memory. Throws Unsupported where the GPU has less.
template <class Kernel>
void allow_shared(Kernel kernel, int bytes, const char* what) {
  int device = 0;
  int most = 0;
  check(cudaGetDevice(&device), "device");
  check(cudaDeviceGetAttribute(&most, cudaDevAttrMaxSharedMemoryPerBlockOptin, device), "shared memory");
  if (bytes > most) {
    throw Unsupported(std::string(what) + " needs " + std::to_string(bytes) + " bytes of shared memory, the GPU has " +
                      std::to_string(most));
  }
  const cudaError_t status = cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes);
  if (status == cudaErrorNoKernelImageForDevice || status == cudaErrorInvalidDeviceFunction) {
    throw NoDevice(std::string(what) + ": this program has no code for this GPU's architecture; build it for it");
  }
  check(status, what);
}

inline int multiprocessor_count() {
  int device = 0;
  int count = 0;
  check(cudaGetDevice(&device), "device");
  check(cudaDeviceGetAttribute(&count, cudaDevAttrMultiProcessorCount, device), "number of SMs");
  return count;
}

}  // namespace moesim::bench
