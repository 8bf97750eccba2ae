#pragma once

#include <optional>
#include <string>

#include "workloads/routing/token_trace.hpp"

namespace moesim {

/// A .npy file of [tokens, layers, k] as vLLM's routed experts are saved, and as this program writes.
TokenArray npy_choices(std::span<const std::byte> file, const std::string& name);

/// uint8 [tokens][layers][k] with nothing around it (ESFT); the shape as given, else from the file's name.
TokenArray raw_choices(std::span<const std::byte> file, const std::string& name,
                       const std::optional<RawTraceShape>& shape);

/// The ids of an array in memory, once its header is known. Throws ConfigError naming `name` unless it is of three
/// dimensions [tokens, layers, k] and integers.
IdArray ids_of(const NpyHeader& header, std::span<const std::byte> data, const std::string& name);

}  // namespace moesim
