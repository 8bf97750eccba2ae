#include "workloads/routing/routers/write_choices.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstdint>

#include "workloads/routing/write_trace.hpp"

namespace moesim {

namespace {

std::string header_of(const RoutingShape& shape, std::string_view type) {
  constexpr std::size_t kPrefix = 10;
  constexpr std::size_t kAlignment = 64;
  std::string text = fmt::format("{{'descr': '{}', 'fortran_order': False, 'shape': ({}, {}, {}), }}", type,
                                 shape.tokens, shape.layers, shape.k);
  text.resize((kPrefix + text.size()) / kAlignment * kAlignment + kAlignment - kPrefix - 1, ' ');
  text += '\n';
  std::string head("\x93NUMPY\x01\0", 8);
  head += static_cast<char>(text.size() & 0xff);
  head += static_cast<char>(text.size() >> 8);
  return head + text;
}

}  // namespace

std::string npy_of_choices(const StepRouting& step) {
  if (std::find(step.choices.begin(), step.choices.end(), kNoExpert) == step.choices.end()) {
    return npy_bytes(step);
  }
  constexpr std::size_t kMostInSixteenBits = 32768;
  const bool narrow = step.shape.experts <= kMostInSixteenBits;
  std::string bytes = header_of(step.shape, narrow ? "<i2" : "<i4");
  for (std::size_t token = 0; token < step.shape.tokens; ++token) {
    for (std::size_t layer = 0; layer < step.shape.layers; ++layer) {
      for (const ExpertIndex expert : step.token(layer, token)) {
        const std::uint32_t value = expert == kNoExpert ? 0xFFFFFFFF : expert;
        for (int byte = 0; byte < (narrow ? 2 : 4); ++byte) {
          bytes += static_cast<char>(value >> (8 * byte) & 0xff);
        }
      }
    }
  }
  return bytes;
}

}  // namespace moesim
