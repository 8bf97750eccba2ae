#pragma once

#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "workloads/routing/count_trace.hpp"
#include "workloads/routing/token_trace.hpp"

namespace moesim {

/// What a file, or the folder that a recorder filled, holds.
struct Recording {
  std::string format;  ///< which of trace_formats() it was read as
  std::variant<TokenTrace, CountTrace> data;
  std::vector<std::filesystem::path> files = {};  ///< all that was read
  std::vector<std::string> notes = {};            ///< what the reader left out or added up

  [[nodiscard]] const TokenTrace* tokens() const { return std::get_if<TokenTrace>(&data); }
};

/// One layout of recorded routing.
struct TraceFormat {
  std::string_view name;
  std::string_view doc;
  std::string_view source;
  /// Is the file, which begins with `head` (nothing for a folder), of this format? The first that says so reads it.
  bool (*recognises)(const std::filesystem::path& path, std::string_view head);
  Recording (*read)(const std::filesystem::path& path, const TraceOptions& options);
};

std::span<const TraceFormat> trace_formats();

/// Reads a recording in the format that options name, else in the one that the file is recognised as. Throws
/// ConfigError naming file and place.
Recording open_recording(const std::filesystem::path& path, const TraceOptions& options = {});

/// Its counts: recorded, or those of its tokens.
CountTrace counts_of(const Recording& recording);

}  // namespace moesim
