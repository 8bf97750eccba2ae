#pragma once

#include <memory>
#include <optional>
#include <string>

namespace moesim::bench {

struct Clocks {
  unsigned sm_mhz = 0;
  unsigned memory_mhz = 0;
  unsigned watts = 0;
  unsigned celsius = 0;
};

/// What the driver's management library says of device 0. The library is looked up at run time: a machine may lack it,
/// and then nothing is known. It is only asked; nothing is ever set.
class Monitor {
 public:
  Monitor();
  Monitor(const Monitor&) = delete;
  Monitor& operator=(const Monitor&) = delete;
  ~Monitor();
  [[nodiscard]] std::optional<Clocks> clocks() const;
  [[nodiscard]] std::optional<std::string> driver() const;

 private:
  struct Library;
  std::unique_ptr<Library> library_;
};

}  // namespace moesim::bench
