#pragma once

#include <span>
#include <string>
#include <string_view>

namespace moesim {

/// "; did you mean \"X\"?" for the nearest of `known` (optimal string alignment distance at most a third of the
/// length), else an empty text. Ties go to the first.
std::string did_you_mean(std::string_view given, std::span<const std::string_view> known);

/// did_you_mean, or where nothing is near "; known: a, b, c" (up to twelve, then how many more).
std::string suggestion(std::string_view given, std::span<const std::string_view> known);

}  // namespace moesim
