#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "sim/core/error.hpp"

namespace moesim {

/// Collects what is wrong with a configuration, at pointers below the place where it stands.
class FaultList {
 public:
  explicit FaultList(const Place& place) : place_(place) {}

  [[nodiscard]] Place at(std::string_view pointer) const {
    return {place_.file, place_.pointer + std::string(pointer)};
  }
  void add(std::string_view pointer, std::string message) { all_.push_back({at(pointer), std::move(message)}); }
  [[nodiscard]] bool empty() const { return all_.empty(); }

  /// What `look_up` returns, or its faults among ours.
  template <class LookUp>
  auto collect(LookUp look_up) -> std::optional<decltype(look_up())> {
    try {
      return look_up();
    } catch (const ConfigError& error) {
      all_.insert(all_.end(), error.diagnostics().begin(), error.diagnostics().end());
      return std::nullopt;
    }
  }
  void raise() {
    if (!all_.empty()) {
      throw ConfigError(std::move(all_));
    }
  }

 private:
  Place place_;
  std::vector<Diagnostic> all_;
};

}  // namespace moesim
