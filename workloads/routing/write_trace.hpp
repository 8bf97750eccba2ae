#pragma once

#include <filesystem>
#include <string>

#include "workloads/routing/count_trace.hpp"
#include "workloads/routing/formats/recording.hpp"
#include "workloads/routing/token_trace.hpp"

namespace moesim {

/// The bytes of a .npy file (format 1.0, C order, little-endian) of [tokens, layers, k]: uint8 where the model has at
/// most 256 experts, else uint16.
std::string npy_bytes(const TokenTrace& trace);
std::string npy_bytes(const StepRouting& step);

/// {"logical_count": [layers][experts]}; dense layers that were dropped stand as rows of zeros again.
std::string counts_json(const CountTrace& counts);

/// Writes a recording in the format that the ending of `to` names. Throws ConfigError naming `to` for another ending,
/// or one that cannot hold what was recorded.
///   .npy   choices [tokens, layers, k], MoE layers only;
///   .npz   choices with the tokens of each sequence and the number of experts, or counts of each step;
///   .json  counts, summed over all steps.
void write_trace(const Recording& recording, const std::filesystem::path& to);

}  // namespace moesim
