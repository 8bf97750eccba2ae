#pragma once

#include <optional>
#include <regex>
#include <string>
#include <string_view>
#include <variant>

namespace moesim {

/// Names modules of a checkpoint in the ways that quantisation configurations do:
/// - "lm_head", "model.layers.3.mlp", "self_attn": parts of a dotted name, one or several in a row, whole;
/// - "model.layers.*.self_attn*": the same, where * stands for any characters (ModelOpt);
/// - "re:.*shared_experts.*": a regular expression from the name's beginning on (compressed-tensors, Python's
/// re.match).
class ModulePattern {
 public:
  /// std::nullopt for a regular expression that is none, and for one that may take too long: of over 1000 characters,
  /// with more than five repeats, or with a repeat of what repeats or has alternatives.
  static std::optional<ModulePattern> parse(std::string_view text);
  /// `module`: a dotted name. A module inside one that is named is named too.
  [[nodiscard]] bool matches(std::string_view module) const;

 private:
  explicit ModulePattern(std::string name) : pattern_(std::move(name)) {}
  explicit ModulePattern(std::regex expression) : pattern_(std::move(expression)) {}

  std::variant<std::string, std::regex> pattern_;
};

}  // namespace moesim
