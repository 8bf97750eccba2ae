#pragma once

#include <algorithm>
#include <cstddef>
#include <span>
#include <string>
#include <vector>

#include "tests/fuzz/harness.hpp"
#include "workloads/routing/token_trace.hpp"

namespace moesim::fuzz {

/// Opens bytes as a trace and reads all of it: every id is below the number of experts.
inline void read_trace(std::span<const std::byte> file, const std::string& name, const TraceOptions& options) {
  may_refuse([&] {
    const TokenTrace trace = TokenTrace::from_bytes(file, name, options);
    const RoutingShape& shape = trace.shape();
    std::vector<ExpertIndex> ids(shape.k);
    for (std::size_t token = 0; token < std::min<std::size_t>(shape.tokens, 64); ++token) {
      for (std::size_t layer = 0; layer < shape.layers; ++layer) {
        trace.read(token, layer, ids);
        for (const ExpertIndex id : ids) {
          require(id < shape.experts, "ids below the number of experts");
        }
      }
    }
  });
}

}  // namespace moesim::fuzz
