#include "sim/core/suggest.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <vector>

namespace moesim {

namespace {

/// Optimal string alignment: insertions, deletions, substitutions and swaps of neighbours cost one each.
std::size_t distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> before(b.size() + 1);
  std::vector<std::size_t> above(b.size() + 1);
  std::vector<std::size_t> row(b.size() + 1);
  for (std::size_t j = 0; j <= b.size(); ++j) {
    above[j] = j;
  }
  for (std::size_t i = 1; i <= a.size(); ++i) {
    row[0] = i;
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const std::size_t change = above[j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1);
      row[j] = std::min({above[j] + 1, row[j - 1] + 1, change});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) {
        row[j] = std::min(row[j], before[j - 2] + 1);
      }
    }
    before.swap(above);
    above.swap(row);
  }
  return above[b.size()];
}

std::string lower(std::string_view text) {
  std::string result(text);
  std::transform(result.begin(), result.end(), result.begin(), [](unsigned char c) {
    return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : static_cast<char>(c);
  });
  return result;
}

}  // namespace

std::string did_you_mean(std::string_view given, std::span<const std::string_view> known) {
  constexpr std::size_t kLongest = 64;  // no one means a name this long; bounds the quadratic cost
  if (given.empty() || given.size() > kLongest) {
    return {};
  }
  std::string_view best;
  std::size_t best_distance = std::max<std::size_t>(1, std::max<std::size_t>(given.size(), 3) / 3) + 1;
  const std::string given_lower = lower(given);
  for (const std::string_view candidate : known) {
    const std::size_t d = distance(given_lower, lower(candidate));
    if (d < best_distance && d < std::max(given.size(), candidate.size())) {
      best_distance = d;
      best = candidate;
    }
  }
  return best.empty() ? std::string() : fmt::format("; did you mean \"{}\"?", best);
}

std::string suggestion(std::string_view given, std::span<const std::string_view> known) {
  std::string near = did_you_mean(given, known);
  if (!near.empty() || known.empty()) {
    return near;
  }
  constexpr std::size_t kShown = 12;
  constexpr std::size_t kFewestLetters = 3;
  std::vector<std::string_view> alike;  // those that hold what was given
  const std::string part = lower(given);
  std::copy_if(known.begin(), known.end(), std::back_inserter(alike), [&](std::string_view name) {
    return part.size() >= kFewestLetters && lower(name).find(part) != std::string::npos;
  });
  const std::span<const std::string_view> shown = alike.empty() ? known : alike;
  std::string list;
  for (std::size_t i = 0; i < std::min(kShown, shown.size()); ++i) {
    list += (i == 0 ? "" : ", ") + std::string(shown[i]);
  }
  if (shown.size() > kShown) {
    list += fmt::format(" and {} more", shown.size() - kShown);
  }
  return (alike.empty() ? "; known: " : "; names with it: ") + list;
}

}  // namespace moesim
