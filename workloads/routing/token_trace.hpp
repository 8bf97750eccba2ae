#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "sim/core/file.hpp"
#include "workloads/routing/npy.hpp"
#include "workloads/routing/types.hpp"

namespace moesim {

/// [layers, k] of a raw trace and the number of experts its ids stay below.
struct RawTraceShape {
  std::size_t layers = 0;
  std::size_t k = 0;
  std::size_t experts = 0;
  std::optional<std::size_t> tokens;  ///< checked against the file's size where given
};

/// What the reader should know about a trace beyond what the file says.
struct TraceOptions {
  /// The model that the trace should fit: another k or layer count is an error, ids are checked against its experts,
  /// rows of dense layers are ignored. Absent: any shape will do, experts are taken to be the largest id + 1.
  std::optional<RoutingNeeds> needs;
  std::optional<RawTraceShape> raw;                       ///< for raw uint8 files; absent: from the file's name
  std::optional<std::filesystem::path> sequence_lengths;  ///< JSON array: tokens of each sequence, in file order
};

/// Which of a file's layers are the model's MoE layers: all where it has just those, the MoE ones where it has a row
/// for every layer. Throws ConfigError naming `name` for any other number.
std::vector<std::size_t> match_layers(std::size_t file_layers, const RoutingNeeds& needs, std::string_view name);

/// "…_T8222_L26_K6_E64.u8" → 26 layers, k 6, 64 experts, 8222 tokens; absent where the name does not say so.
std::optional<RawTraceShape> raw_shape_from_name(std::string_view file_name);

/// JSON array of tokens per sequence. Throws ConfigError unless they are whole numbers above zero.
std::vector<std::size_t> read_sequence_lengths(const std::filesystem::path& path);

/// Recorded choices of tokens, memory-mapped. Two kinds of file:
///   .npy  [tokens, layers, k] of any integer type, C order, little-endian (vLLM, SGLang, this program);
///   raw   uint8 [tokens][layers][k] with nothing around it (ESFT).
/// Every id is checked when the trace is opened.
class TokenTrace {
 public:
  /// Throws ConfigError naming the file and what is wrong: not an integer array of three dimensions, truncated, other
  /// layer count or k than the model, no tokens, ids out of range, −1 fillers.
  static TokenTrace open(const std::filesystem::path& path, const TraceOptions& options = {});
  /// The same for a file's bytes, which the caller keeps alive. `name` says which kind it is and stands in messages.
  static TokenTrace from_bytes(std::span<const std::byte> file, const std::string& name,
                               const TraceOptions& options = {});

  [[nodiscard]] const RoutingShape& shape() const { return shape_; }
  [[nodiscard]] const std::string& name() const { return name_; }
  /// The k experts that `token` chose in MoE layer `layer`.
  void read(std::size_t token, std::size_t layer, std::span<ExpertIndex> out) const;
  /// First token of each recorded sequence, rising from 0; empty where the recording does not say.
  [[nodiscard]] std::span<const std::size_t> sequence_starts() const { return sequence_starts_; }
  /// The file's layers that are read, in order.
  [[nodiscard]] std::span<const std::size_t> file_layers() const { return layers_; }
  /// Rows that name an expert more than once, which no top-k router does: padding, perhaps.
  [[nodiscard]] std::size_t rows_with_duplicates() const { return rows_with_duplicates_; }

 private:
  TokenTrace() = default;
  void check_ids(std::optional<std::size_t> experts);
  [[nodiscard]] std::int64_t element(std::size_t index) const;

  std::shared_ptr<const MappedFile> file_;  ///< shared, so that traces can be copied like values
  std::span<const std::byte> data_;
  NpyType type_ = NpyType::kUint8;
  std::size_t layers_in_file_ = 0;
  RoutingShape shape_;
  std::vector<std::size_t> layers_;
  std::vector<std::size_t> sequence_starts_;
  std::size_t rows_with_duplicates_ = 0;
  std::string name_;
};

}  // namespace moesim
