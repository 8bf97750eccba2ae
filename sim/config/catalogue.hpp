#pragma once

#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "sim/core/embedded.hpp"
#include "sim/core/error.hpp"

namespace moesim {

class Document;

/// Named JSON documents compiled into the program: models, accelerators, clusters, profiles, ready scenarios.
class Catalogue {
 public:
  /// `kind` is the singular noun for messages, "model".
  Catalogue(std::string kind, std::span<const EmbeddedFile> files) : kind_(std::move(kind)), files_(files) {}

  [[nodiscard]] const std::string& kind() const { return kind_; }
  /// In alphabetical order.
  [[nodiscard]] std::vector<std::string_view> names() const;
  [[nodiscard]] bool contains(std::string_view name) const;
  /// The named document. Throws ConfigError at `place` with a suggestion when there is none of that name.
  [[nodiscard]] Document find(std::string_view name, const Place& place) const;

 private:
  std::string kind_;
  std::span<const EmbeddedFile> files_;
};

}  // namespace moesim
