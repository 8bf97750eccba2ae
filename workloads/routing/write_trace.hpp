#pragma once

#include <filesystem>
#include <string>

#include "workloads/routing/count_trace.hpp"
#include "workloads/routing/token_trace.hpp"

namespace moesim {

/// The bytes of a .npy file (format 1.0, C order, little-endian) of [tokens, layers, k]: uint8 where the model has at
/// most 256 experts, else uint16.
std::string npy_bytes(const TokenTrace& trace);
std::string npy_bytes(const StepRouting& step);

/// {"logical_count": [layers][experts]}; dense layers that were dropped stand as rows of zeros again.
std::string counts_json(const CountTrace& counts);

/// Rewrites a recorded trace: to .npy the choices of its tokens (MoE layers only), to .json their counts. Throws
/// ConfigError naming `to` for another ending.
void convert(const std::filesystem::path& from, const std::filesystem::path& to, const TraceOptions& options = {});

}  // namespace moesim
