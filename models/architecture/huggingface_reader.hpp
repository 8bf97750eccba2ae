#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "models/architecture/architecture.hpp"
#include "sim/config/cursor.hpp"

namespace moesim {

/// Reads keys of a Hugging Face configuration: those that are asked for strictly, the others not at all. null counts
/// as absent, as it does in Python. Faults are noted and reading goes on; the values read then do not matter.
class HuggingFaceReader {
 public:
  explicit HuggingFaceReader(const Cursor& cursor) : cursor_(cursor) {}

  [[nodiscard]] bool has(const std::string& key) const;
  /// A size: 1 to 2^30.
  [[nodiscard]] int size(const std::string& key) const;
  [[nodiscard]] int size_or(const std::string& key, int fallback) const;
  /// A size or 0.
  [[nodiscard]] int count_or(const std::string& key, int fallback) const;
  /// Any whole number.
  [[nodiscard]] int number_or(const std::string& key, int fallback) const;
  [[nodiscard]] bool flag_or(const std::string& key, bool fallback) const;
  [[nodiscard]] std::string text_or(const std::string& key, std::string fallback) const;
  /// Texts, none where absent.
  [[nodiscard]] std::vector<std::string> texts(const std::string& key) const;
  /// The keys of this object.
  [[nodiscard]] std::vector<std::string> keys() const;
  /// Whole numbers, none where absent.
  [[nodiscard]] std::vector<int> numbers(const std::string& key) const;
  /// One number per layer, or none where absent.
  [[nodiscard]] std::vector<int> numbers_per_layer(const std::string& key, int layers) const;
  /// One of `known` per layer, or none where absent.
  [[nodiscard]] std::vector<std::string> kinds_per_layer(const std::string& key, int layers,
                                                         std::vector<std::string_view> known) const;
  /// The reader of a nested object.
  [[nodiscard]] HuggingFaceReader inside(const std::string& key) const;
  void fail(const std::string& key, std::string message) const;

 private:
  template <class T>
  T read(const std::string& key, const Rules& rules) const;
  template <class T>
  T read_or(const std::string& key, const Rules& rules, T fallback) const;

  Cursor cursor_;
};

/// Names equal blocks alike and writes the sequence of layers as runs: leading layers of one kind, then another; or
/// a repeated pattern.
void set_layers(Architecture& architecture, const std::vector<Block>& layers);

/// One family of models that share a configuration class.
struct HuggingFaceFamily {
  std::string_view model_type;
  Architecture (*read)(const HuggingFaceReader& config);
};
std::vector<HuggingFaceFamily> huggingface_families();

}  // namespace moesim
