#include "sim/execute/traffic_matrix.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>

#include "sim/core/error.hpp"
#include "sim/core/file.hpp"
#include "workloads/routing/npy.hpp"

namespace moesim {

namespace {

/// More ranks than any cluster here can have are a slip of the pen.
constexpr std::size_t kMaxRanks = std::size_t{1} << 20;
constexpr double kMaxBytes = 1e18;

/// What is wrong with a number of bytes, or nothing.
std::optional<std::string> fault_of(double bytes) {
  if (std::isfinite(bytes) && bytes >= 0.0 && bytes <= kMaxBytes) {
    return std::nullopt;
  }
  return fmt::format("expected bytes from 0 to {:g}, found {}", kMaxBytes, bytes);
}

[[noreturn]] void fail(const std::filesystem::path& path, std::string message) {
  throw ConfigError({path.string(), {}}, std::move(message));
}

template <class T>
double element(const std::byte* at) {
  T value;
  std::memcpy(&value, at, sizeof value);
  return static_cast<double>(value);
}

double element_of(NpyType type, const std::byte* at) {
  switch (type) {
    case NpyType::kUint8:
      return element<std::uint8_t>(at);
    case NpyType::kInt8:
      return element<std::int8_t>(at);
    case NpyType::kUint16:
      return element<std::uint16_t>(at);
    case NpyType::kInt16:
      return element<std::int16_t>(at);
    case NpyType::kUint32:
      return element<std::uint32_t>(at);
    case NpyType::kInt32:
      return element<std::int32_t>(at);
    case NpyType::kUint64:
      return element<std::uint64_t>(at);
    case NpyType::kInt64:
      return element<std::int64_t>(at);
    case NpyType::kFloat32:
      return element<float>(at);
    case NpyType::kFloat64:
      return element<double>(at);
  }
  throw InternalError("element_of: not an element type");
}

TrafficMatrix read_npy(const std::filesystem::path& path, std::optional<std::size_t> ranks) {
  const MappedFile file(path);
  const NpyHeader header = parse_npy_header(file.bytes(), path.string());
  if (header.shape.size() != 2 || header.shape[0] != header.shape[1] || header.shape[0] == 0) {
    fail(path,
         fmt::format("expected a square array [ranks, ranks], found the shape [{}]", fmt::join(header.shape, ", ")));
  }
  const std::size_t size = header.shape[0];
  if (ranks && *ranks != size) {
    fail(path, fmt::format("expected the shape [{0}, {0}] for {0} ranks, found [{1}, {1}]", *ranks, size));
  }
  std::vector<PairBytes> pairs;
  const std::byte* at = file.bytes().data() + header.data_offset;
  for (std::size_t from = 0; from < size; ++from) {
    for (std::size_t to = 0; to < size; ++to, at += size_of(header.type)) {
      const double bytes = element_of(header.type, at);
      if (const auto fault = fault_of(bytes)) {
        fail(path, fmt::format("[{}, {}]: {}", from, to, *fault));
      }
      if (bytes > 0.0) {
        pairs.push_back({RankId(from), RankId(to), bytes});
      }
    }
  }
  return {size, std::move(pairs)};
}

/// Lines of a CSV file, without spaces at their ends.
class LineReader {
 public:
  explicit LineReader(std::string_view text) : rest_(text) {}

  std::optional<std::string_view> next() {
    while (!rest_.empty()) {
      ++number_;
      const std::size_t end = std::min(rest_.find('\n'), rest_.size());
      std::string_view line = rest_.substr(0, end);
      rest_.remove_prefix(std::min(end + 1, rest_.size()));
      line = trimmed(line);
      if (!line.empty()) {
        return line;
      }
    }
    return std::nullopt;
  }
  [[nodiscard]] std::size_t number() const { return number_; }

  static std::string_view trimmed(std::string_view text) {
    const std::size_t begin = text.find_first_not_of(" \t\r");
    return begin == std::string_view::npos ? std::string_view()
                                           : text.substr(begin, text.find_last_not_of(" \t\r") - begin + 1);
  }

 private:
  std::string_view rest_;
  std::size_t number_ = 0;
};

std::vector<std::string_view> fields_of(std::string_view line) {
  std::vector<std::string_view> fields;
  for (std::size_t begin = 0; begin <= line.size();) {
    const std::size_t end = std::min(line.find(',', begin), line.size());
    fields.push_back(LineReader::trimmed(line.substr(begin, end - begin)));
    begin = end + 1;
  }
  return fields;
}

template <class T>
std::optional<T> number(std::string_view text) {
  T value{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  return error == std::errc() && end == text.data() + text.size() ? std::optional(value) : std::nullopt;
}

std::size_t rank_in(std::string_view text, std::optional<std::size_t> ranks, const std::filesystem::path& path,
                    std::size_t line) {
  const auto rank = number<std::size_t>(text);
  const std::size_t limit = ranks.value_or(kMaxRanks);
  if (!rank || *rank >= limit) {
    fail(path, fmt::format("line {}: expected a rank from 0 to {}, found \"{}\"", line, limit - 1, text));
  }
  return *rank;
}

}  // namespace

TrafficMatrix TrafficMatrix::read_csv(const std::filesystem::path& path, std::optional<std::size_t> ranks) {
  const std::string text = read_file(path);
  LineReader lines(text);
  const auto header = lines.next();
  if (!header || fields_of(*header) != std::vector<std::string_view>{"src", "dst", "bytes"}) {
    fail(path, fmt::format("expected the header src,dst,bytes, found {}",
                           header ? fmt::format("\"{}\"", *header) : std::string("an empty file")));
  }
  std::vector<PairBytes> pairs;
  std::size_t highest = 0;
  while (const auto line = lines.next()) {
    const auto fields = fields_of(*line);
    if (fields.size() != 3) {
      fail(path, fmt::format("line {}: expected 3 fields src,dst,bytes, found {}", lines.number(), fields.size()));
    }
    const std::size_t from = rank_in(fields[0], ranks, path, lines.number());
    const std::size_t to = rank_in(fields[1], ranks, path, lines.number());
    const auto bytes = number<double>(fields[2]);
    if (!bytes) {
      fail(path, fmt::format("line {}: expected a number of bytes, found \"{}\"", lines.number(), fields[2]));
    }
    if (const auto fault = fault_of(*bytes)) {
      fail(path, fmt::format("line {}: {}", lines.number(), *fault));
    }
    highest = std::max({highest, from, to});
    pairs.push_back({RankId(from), RankId(to), *bytes});
  }
  if (pairs.empty()) {
    fail(path, "expected at least one line of src,dst,bytes, found none");
  }
  const auto key = [](const PairBytes& pair) { return std::pair(pair.from, pair.to); };
  std::stable_sort(pairs.begin(), pairs.end(), [&](const PairBytes& a, const PairBytes& b) { return key(a) < key(b); });
  std::vector<PairBytes> sums;
  std::optional<RepeatedPairs> repeated;
  std::optional<std::pair<RankId, RankId>> last_repeated;
  for (const PairBytes& pair : pairs) {
    if (sums.empty() || key(sums.back()) != key(pair)) {
      sums.push_back(pair);
      continue;
    }
    sums.back().bytes += pair.bytes;
    if (last_repeated != key(pair)) {
      repeated = repeated.value_or(RepeatedPairs{pair.from, pair.to});
      ++repeated->pairs;
      last_repeated = key(pair);
    }
  }
  TrafficMatrix matrix(ranks.value_or(highest + 1), std::move(sums));
  matrix.repeated_ = repeated;
  return matrix;
}

TrafficMatrix TrafficMatrix::uniform(std::size_t ranks, Bytes per_rank) {
  ensure(ranks > 0, "an all-to-all has at least one rank");
  TrafficMatrix matrix;
  matrix.ranks_ = ranks;
  matrix.uniform_ = per_rank.base() / static_cast<double>(ranks);
  matrix.local_ = per_rank.base();
  return matrix;
}

TrafficMatrix TrafficMatrix::read(const std::filesystem::path& path, std::optional<std::size_t> ranks) {
  return path.extension() == ".npy" ? read_npy(path, ranks) : read_csv(path, ranks);
}

TrafficMatrix::TrafficMatrix(std::size_t ranks, std::vector<PairBytes> pairs) : ranks_(ranks) {
  for (const PairBytes& pair : pairs) {
    ensure(pair.from.index() < ranks && pair.to.index() < ranks, "a pair of ranks of this matrix");
    if (pair.from == pair.to) {
      local_ += pair.bytes;
    } else if (pair.bytes > 0.0) {
      pairs_.push_back(pair);
    }
  }
  std::sort(pairs_.begin(), pairs_.end(),
            [](const PairBytes& a, const PairBytes& b) { return std::pair(a.from, a.to) < std::pair(b.from, b.to); });
}

std::vector<PairBytes> TrafficMatrix::pairs() const {
  if (!uniform_ || !(*uniform_ > 0.0)) {
    return pairs_;
  }
  std::vector<PairBytes> pairs;
  pairs.reserve(ranks_ * (ranks_ - 1));
  for (std::size_t from = 0; from < ranks_; ++from) {
    for (std::size_t to = 0; to < ranks_; ++to) {
      if (from != to) {
        pairs.push_back({RankId(from), RankId(to), *uniform_});
      }
    }
  }
  return pairs;
}

}  // namespace moesim
