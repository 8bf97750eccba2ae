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
#include "workloads/routing/id_scan.hpp"
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
  std::optional<std::string> format;                      ///< one of trace_formats(); absent: as the file is recognised
  bool dropped = false;     ///< −1 are choices that a router dropped; of a model with a capacity factor they always are
  std::size_t threads = 1;  ///< that look at the ids; the result is the same
};

/// Choices as some reader found them: all that a trace is made of.
struct TokenArray {
  std::string name;  ///< the file, for messages
  IdArray ids;
  std::optional<std::size_t> experts = {};         ///< where the file says so
  std::vector<std::size_t> sequence_lengths = {};  ///< tokens of each sequence; empty where it does not
  std::vector<std::size_t> layer_numbers = {};     ///< among all layers, where the array leaves some out; else 0, 1, …
  std::shared_ptr<const void> owner = {};          ///< keeps the ids alive; null: the caller does
};

/// Which of a file's layers are the model's MoE layers: all where it has just those, the MoE ones where it has a row
/// for every layer. Throws ConfigError naming `name` for any other number.
std::vector<std::size_t> match_layers(std::size_t file_layers, const RoutingNeeds& needs, std::string_view name);

/// "…_T8222_L26_K6_E64.u8" → 26 layers, k 6, 64 experts, 8222 tokens; absent where the name does not say so.
std::optional<RawTraceShape> raw_shape_from_name(std::string_view file_name);

/// JSON array of tokens per sequence. Throws ConfigError unless they are whole numbers above zero.
std::vector<std::size_t> read_sequence_lengths(const std::filesystem::path& path);

/// Recorded choices of tokens, memory-mapped. Every id is checked, and counted, when the trace is opened.
/// A layer of nothing but −1 has no experts: it is left out, unless `needs` says which layers there should be.
class TokenTrace {
 public:
  /// Any of the formats in formats/. Throws ConfigError naming the file and what is wrong: no such format, counts in
  /// place of choices, truncated, other layer count or k than the model, no tokens, ids out of range, −1 fillers that
  /// are no dropped choices.
  static TokenTrace open(const std::filesystem::path& path, const TraceOptions& options = {});
  static TokenTrace from_array(TokenArray array, const TraceOptions& options = {});
  /// A file of one of two kinds, whose bytes the caller keeps alive; `name` says which and stands in messages:
  ///   .npy  [tokens, layers, k] of any integer type, C order, little-endian (vLLM, this program);
  ///   raw   uint8 [tokens][layers][k] with nothing around it (ESFT).
  static TokenTrace from_bytes(std::span<const std::byte> file, const std::string& name,
                               const TraceOptions& options = {});

  [[nodiscard]] const RoutingShape& shape() const { return shape_; }
  [[nodiscard]] const std::string& name() const { return name_; }
  /// The k experts that `token` chose in MoE layer `layer`; kNoExpert where the choice was dropped.
  void read(std::size_t token, std::size_t layer, std::span<ExpertIndex> out) const;
  /// First token of each recorded sequence, rising from 0; empty where the recording does not say.
  [[nodiscard]] std::span<const std::size_t> sequence_starts() const { return sequence_starts_; }
  /// The file's layers that are read, in order.
  [[nodiscard]] std::span<const std::size_t> file_layers() const { return file_layers_; }
  /// Rows that name an expert more than once, which no top-k router does: padding, perhaps.
  [[nodiscard]] std::size_t rows_with_duplicates() const { return scan_->rows_with_duplicates; }
  /// What opening it counted.
  [[nodiscard]] const IdScan& scan() const { return *scan_; }

 private:
  TokenTrace() = default;

  std::string name_;
  IdArray ids_;
  std::shared_ptr<const void> owner_;  ///< shared, so that traces can be copied like values
  RoutingShape shape_;
  std::vector<std::size_t> layers_;       ///< that are read, of the array's
  std::vector<std::size_t> file_layers_;  ///< the same, numbered as the file does
  std::vector<std::size_t> sequence_starts_;
  std::shared_ptr<const IdScan> scan_;
};

}  // namespace moesim
