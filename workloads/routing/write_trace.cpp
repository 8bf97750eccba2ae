#include "workloads/routing/write_trace.hpp"

#include <fmt/format.h>

#include <cmath>
#include <span>

#include "sim/config/document.hpp"
#include "sim/core/error.hpp"
#include "sim/core/file.hpp"

namespace moesim {

namespace {

constexpr std::size_t kByteExperts = 256;

/// Magic, version 1.0, header length, header padded with spaces so that the data begin at a multiple of 64 bytes.
std::string npy_head(const RoutingShape& shape) {
  std::string text = fmt::format("{{'descr': '{}', 'fortran_order': False, 'shape': ({}, {}, {}), }}",
                                 shape.experts <= kByteExperts ? "|u1" : "<u2", shape.tokens, shape.layers, shape.k);
  constexpr std::size_t kPrefix = 10;
  constexpr std::size_t kAlignment = 64;
  while ((kPrefix + text.size() + 1) % kAlignment != 0) {
    text += ' ';
  }
  text += '\n';
  std::string head = "\x93NUMPY";
  head += '\x01';
  head += '\0';
  head += static_cast<char>(text.size() & 0xff);
  head += static_cast<char>(text.size() >> 8);
  return head + text;
}

void append(std::string& bytes, std::span<const ExpertIndex> row, std::size_t experts) {
  for (const ExpertIndex expert : row) {
    bytes += static_cast<char>(expert & 0xff);
    if (experts > kByteExperts) {
      bytes += static_cast<char>(expert >> 8);
    }
  }
}

}  // namespace

std::string npy_bytes(const TokenTrace& trace) {
  const RoutingShape& shape = trace.shape();
  std::string bytes = npy_head(shape);
  std::vector<ExpertIndex> row(shape.k);
  for (std::size_t token = 0; token < shape.tokens; ++token) {
    for (std::size_t layer = 0; layer < shape.layers; ++layer) {
      trace.read(token, layer, row);
      append(bytes, row, shape.experts);
    }
  }
  return bytes;
}

std::string npy_bytes(const StepRouting& step) {
  std::string bytes = npy_head(step.shape);
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

void convert(const std::filesystem::path& from, const std::filesystem::path& to, const TraceOptions& options) {
  if (to.extension() == ".npy") {
    write_file(to, npy_bytes(TokenTrace::open(from, options)));
  } else if (to.extension() == ".json") {
    write_file(to, counts_json(count(TokenTrace::open(from, options))));
  } else {
    throw ConfigError({to.string(), {}},
                      fmt::format("expected a name that ends in .npy (choices) or .json (counts), found \"{}\"",
                                  to.filename().string()));
  }
}

}  // namespace moesim
