#include "workloads/routing/write_trace.hpp"

#include <fmt/format.h>

#include <array>
#include <cmath>
#include <ostream>
#include <span>

#include "sim/config/document.hpp"
#include "sim/core/error.hpp"
#include "sim/core/file.hpp"
#include "workloads/routing/formats/npz.hpp"

namespace moesim {

namespace {

constexpr std::size_t kByteExperts = 256;

NpyType id_type(std::size_t experts) { return experts <= kByteExperts ? NpyType::kUint8 : NpyType::kUint16; }

std::string npy_head_of(const RoutingShape& shape) {
  return npy_head(id_type(shape.experts), std::array{shape.tokens, shape.layers, shape.k});
}

void append(std::string& bytes, std::span<const ExpertIndex> row, std::size_t experts) {
  for (const ExpertIndex expert : row) {
    bytes += static_cast<char>(expert & 0xff);
    if (experts > kByteExperts) {
      bytes += static_cast<char>(expert >> 8);
    }
  }
}

/// Bytes of the tokens from `first` on, about a MiB of them; none at the end. Moves `first` behind them.
std::string next_piece(const TokenTrace& trace, std::size_t& first) {
  const RoutingShape& shape = trace.shape();
  constexpr std::size_t kPiece = std::size_t{1} << 20;
  std::string piece;
  std::vector<ExpertIndex> row(shape.k);
  for (; first < shape.tokens && piece.size() < kPiece; ++first) {
    for (std::size_t layer = 0; layer < shape.layers; ++layer) {
      trace.read(first, layer, row);
      append(piece, row, shape.experts);
    }
  }
  return piece;
}

/// A one-dimensional array of int64.
NpzArray integers(std::string name, std::vector<std::size_t> shape, std::vector<std::int64_t> values) {
  return {std::move(name), NpyType::kInt64, std::move(shape), [values = std::move(values)](std::string& out) mutable {
            out.append(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(std::int64_t));
            values.clear();
          }};
}

void write_npz_choices(const TokenTrace& trace, const std::filesystem::path& to) {
  const RoutingShape& shape = trace.shape();
  std::vector<NpzArray> arrays;
  arrays.push_back({"routed_experts",
                    id_type(shape.experts),
                    {shape.tokens, shape.layers, shape.k},
                    [&trace, first = std::size_t{0}](std::string& out) mutable { out += next_piece(trace, first); }});
  arrays.push_back(integers("experts", {1}, {static_cast<std::int64_t>(shape.experts)}));
  const auto starts = trace.sequence_starts();
  if (!starts.empty()) {
    std::vector<std::int64_t> lengths;
    for (std::size_t i = 0; i < starts.size(); ++i) {
      lengths.push_back(static_cast<std::int64_t>((i + 1 < starts.size() ? starts[i + 1] : shape.tokens) - starts[i]));
    }
    arrays.push_back(integers("sequence_lengths", {lengths.size()}, lengths));
  }
  write_npz(to, std::move(arrays));
}

/// Layers without experts stand as rows of zeros again.
void write_npz_counts(const CountTrace& trace, const std::filesystem::path& to) {
  const std::size_t layers = trace.file_layers.back() + 1;
  const std::vector<double>& counts = trace.step_counts.empty() ? trace.counts : trace.step_counts;
  std::vector<std::int64_t> values(trace.steps * layers * trace.experts, 0);
  for (std::size_t i = 0; i < counts.size(); ++i) {
    if (counts[i] != std::floor(counts[i])) {
      throw ConfigError({to.string(), {}},
                        fmt::format("expected whole counts to write, found {} (.json holds them)", counts[i]));
    }
    const std::size_t row = i / trace.experts;
    values[(row / trace.layers * layers + trace.file_layers[row % trace.layers]) * trace.experts + i % trace.experts] =
        static_cast<std::int64_t>(counts[i]);
  }
  std::vector<NpzArray> arrays;
  arrays.push_back(integers("logical_count", {trace.steps, layers, trace.experts}, std::move(values)));
  write_npz(to, std::move(arrays));
}

}  // namespace

std::string npy_bytes(const TokenTrace& trace) {
  std::string bytes = npy_head_of(trace.shape());
  for (std::size_t first = 0; first < trace.shape().tokens;) {
    bytes += next_piece(trace, first);
  }
  return bytes;
}

std::string npy_bytes(const StepRouting& step) {
  std::string bytes = npy_head_of(step.shape);
  for (std::size_t token = 0; token < step.shape.tokens; ++token) {
    for (std::size_t layer = 0; layer < step.shape.layers; ++layer) {
      append(bytes, step.token(layer, token), step.shape.experts);
    }
  }
  return bytes;
}

std::string counts_json(const CountTrace& counts) {
  Json rows = Json::array();
  for (std::size_t layer = 0; layer < counts.layers; ++layer) {
    while (rows.size() < counts.file_layers[layer]) {
      rows.push_back(std::vector<int>(counts.experts, 0));
    }
    Json row = Json::array();
    for (const double count : counts.layer(layer)) {
      constexpr double kExact = 9007199254740992.0;  // 2^53: whole numbers stay whole
      if (count == std::floor(count) && count < kExact) {
        row.push_back(static_cast<std::int64_t>(count));
      } else {
        row.push_back(count);
      }
    }
    rows.push_back(std::move(row));
  }
  std::string text = "{\"logical_count\": [";
  for (std::size_t i = 0; i < rows.size(); ++i) {
    text += (i == 0 ? "\n" : ",\n") + rows[i].dump();
  }
  return text + "\n]}\n";
}

void write_trace(const Recording& recording, const std::filesystem::path& to) {
  const std::filesystem::path ending = to.extension();
  if (ending != ".npy" && ending != ".npz" && ending != ".json") {
    throw ConfigError({to.string(), {}},
                      fmt::format("expected a name that ends in .npy or .npz (choices) or .json (counts), found \"{}\"",
                                  to.filename().string()));
  }
  const TokenTrace* trace = recording.tokens();
  if (ending == ".npy" && trace == nullptr) {
    throw ConfigError({to.string(), {}}, "expected a name that ends in .json or .npz, for counts, found .npy");
  }
  if (ending == ".json") {
    write_file(to, counts_json(counts_of(recording)));
  } else if (ending == ".npz" && trace != nullptr) {
    write_npz_choices(*trace, to);
  } else if (ending == ".npz") {
    write_npz_counts(std::get<CountTrace>(recording.data), to);
  } else {
    write_file(to, [&](std::ostream& out) {
      out << npy_head_of(trace->shape());
      for (std::size_t first = 0; first < trace->shape().tokens;) {
        out << next_piece(*trace, first);
      }
    });
  }
}

}  // namespace moesim
