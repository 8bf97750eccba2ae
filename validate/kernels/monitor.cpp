#include "validate/kernels/monitor.hpp"

#include <cuda_runtime_api.h>
#include <dlfcn.h>

#include <array>
#include <utility>

namespace moesim::bench {

/// Signatures from NVIDIA's NVML API reference; every function returns 0 for success.
struct Monitor::Library {
  using Device = void*;
  using Initialise = int (*)();
  using ByBusId = int (*)(const char*, Device*);
  using Number = int (*)(Device, unsigned*);
  using KindOfNumber = int (*)(Device, int, unsigned*);
  using Text = int (*)(char*, unsigned);

  void* handle = nullptr;
  Device device = nullptr;
  Initialise shut_down = nullptr;
  Number power = nullptr;
  KindOfNumber clock = nullptr;
  KindOfNumber temperature = nullptr;
  Text driver = nullptr;

  template <class Function>
  Function find(const char* name) const {
    return reinterpret_cast<Function>(dlsym(handle, name));
  }
};

Monitor::Monitor() {
  auto library = std::make_unique<Library>();
  library->handle = dlopen("libnvidia-ml.so.1", RTLD_NOW | RTLD_LOCAL);
  if (library->handle == nullptr) {
    return;
  }
  const auto initialise = library->find<Library::Initialise>("nvmlInit_v2");
  const auto by_bus = library->find<Library::ByBusId>("nvmlDeviceGetHandleByPciBusId_v2");
  library->shut_down = library->find<Library::Initialise>("nvmlShutdown");
  library->power = library->find<Library::Number>("nvmlDeviceGetPowerUsage");
  library->clock = library->find<Library::KindOfNumber>("nvmlDeviceGetClockInfo");
  library->temperature = library->find<Library::KindOfNumber>("nvmlDeviceGetTemperature");
  library->driver = library->find<Library::Text>("nvmlSystemGetDriverVersion");
  std::array<char, 32> bus{};
  const bool known = initialise != nullptr && by_bus != nullptr && initialise() == 0 &&
                     cudaDeviceGetPCIBusId(bus.data(), static_cast<int>(bus.size()), 0) == cudaSuccess &&
                     by_bus(bus.data(), &library->device) == 0;
  static_cast<void>(cudaGetLastError());
  if (known) {
    library_ = std::move(library);
  } else {
    static_cast<void>(dlclose(library->handle));
  }
}

Monitor::~Monitor() {
  if (library_) {
    if (library_->shut_down != nullptr) {
      static_cast<void>(library_->shut_down());
    }
    static_cast<void>(dlclose(library_->handle));
  }
}

std::optional<Clocks> Monitor::clocks() const {
  if (!library_ || library_->clock == nullptr) {
    return std::nullopt;
  }
  constexpr int kSmClock = 1;
  constexpr int kMemoryClock = 2;
  Clocks out;
  if (library_->clock(library_->device, kSmClock, &out.sm_mhz) != 0 ||
      library_->clock(library_->device, kMemoryClock, &out.memory_mhz) != 0) {
    return std::nullopt;
  }
  unsigned milliwatts = 0;
  if (library_->power != nullptr && library_->power(library_->device, &milliwatts) == 0) {
    out.watts = milliwatts / 1000;
  }
  if (library_->temperature != nullptr) {
    static_cast<void>(library_->temperature(library_->device, 0, &out.celsius));
  }
  return out;
}

std::optional<std::string> Monitor::driver() const {
  std::array<char, 96> text{};
  if (!library_ || library_->driver == nullptr ||
      library_->driver(text.data(), static_cast<unsigned>(text.size())) != 0) {
    return std::nullopt;
  }
  return std::string(text.data());
}

}  // namespace moesim::bench
