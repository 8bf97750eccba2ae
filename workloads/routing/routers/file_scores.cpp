#include <fmt/format.h>
#include <fmt/ranges.h>

#include <cmath>
#include <cstring>

#include "workloads/routing/routers/score_source.hpp"

namespace moesim {

namespace {

[[noreturn]] void fail(const std::filesystem::path& path, std::string message) {
  throw ConfigError({path.string(), {}}, std::move(message));
}

ScoreShape shape_of(const NpyHeader& header, const std::filesystem::path& path) {
  if (is_integer(header.type)) {
    fail(path, fmt::format("expected scores of type float32 or float64, found {}", name_of(header.type)));
  }
  ScoreShape shape;
  if (header.shape.size() == 3) {
    shape = {header.shape[0], header.shape[1], header.shape[2]};
  } else if (header.shape.size() == 2) {
    shape = {header.shape[0], 1, header.shape[1]};
  } else {
    fail(path, fmt::format("expected scores [tokens, layers, experts] or [tokens, experts], found the shape [{}]",
                           fmt::join(header.shape, ", ")));
  }
  if (shape.tokens == 0 || shape.layers == 0 || shape.experts == 0) {
    fail(path, fmt::format("expected scores of at least one token, layer and expert, found the shape [{}]",
                           fmt::join(header.shape, ", ")));
  }
  return shape;
}

class FileBlock final : public ScoreBlock {
 public:
  FileBlock(std::span<const std::byte> data, NpyType type, const ScoreShape& shape, std::string name, std::size_t first,
            std::size_t count)
      : data_(data), type_(type), shape_(shape), name_(std::move(name)), first_(first), count_(count) {}

  void next_layer(std::span<float> scores) override {
    for (std::size_t t = 0; t < count_; ++t) {
      const std::size_t row = ((first_ + t) % shape_.tokens * shape_.layers + layer_) * shape_.experts;
      for (std::size_t e = 0; e < shape_.experts; ++e) {
        const float score = element(row + e);
        if (!std::isfinite(score)) {
          throw ConfigError({name_, {}}, fmt::format("expected finite scores, found {} for token {}, layer {}, expert "
                                                     "{}",
                                                     score, (first_ + t) % shape_.tokens, layer_, e));
        }
        scores[t * shape_.experts + e] = score;
      }
    }
    ++layer_;
  }

 private:
  [[nodiscard]] float element(std::size_t index) const {
    if (type_ == NpyType::kFloat32) {
      float value = 0.0F;
      std::memcpy(&value, data_.data() + index * sizeof value, sizeof value);
      return value;
    }
    double value = 0.0;
    std::memcpy(&value, data_.data() + index * sizeof value, sizeof value);
    return static_cast<float>(value);
  }

  std::span<const std::byte> data_;
  NpyType type_;
  ScoreShape shape_;
  std::string name_;
  std::size_t first_;
  std::size_t count_;
  std::size_t layer_ = 0;
};

class FileTokens final : public ScoredTokens {
 public:
  FileTokens(std::span<const std::byte> data, NpyType type, const ScoreShape& shape, std::string name,
             std::size_t tokens)
      : data_(data), type_(type), shape_(shape), name_(std::move(name)), tokens_(tokens) {}

  [[nodiscard]] std::unique_ptr<ScoreBlock> block(std::size_t first, std::size_t count) const override {
    return std::make_unique<FileBlock>(data_, type_, shape_, name_, first, count);
  }
  [[nodiscard]] std::vector<std::string> warnings() const override {
    if (tokens_ <= shape_.tokens) {
      return {};
    }
    return {
        fmt::format("{}: the step has {} tokens and the file scores of {}; a token's scores are used up to {} times",
                    name_, tokens_, shape_.tokens, (tokens_ + shape_.tokens - 1) / shape_.tokens)};
  }

 private:
  std::span<const std::byte> data_;
  NpyType type_;
  ScoreShape shape_;
  std::string name_;
  std::size_t tokens_;
};

}  // namespace

ScoreShape score_shape(const std::filesystem::path& path) {
  const MappedFile file(path);
  return shape_of(parse_npy_header(file.bytes(), path.string()), path);
}

FileScores::FileScores(const std::filesystem::path& path, std::size_t layers, std::size_t experts)
    : file_(path), header_(parse_npy_header(file_.bytes(), path.string())), layers_(layers), experts_(experts) {
  const ScoreShape shape = shape_of(header_, path);
  if (shape.layers != layers || shape.experts != experts) {
    fail(path, fmt::format("expected scores of {} layers and {} experts, found {} and {}", layers, experts,
                           shape.layers, shape.experts));
  }
}

std::unique_ptr<ScoredTokens> FileScores::tokens(const TokenBatch& batch, std::uint64_t, const TaskPool&) const {
  return std::make_unique<FileTokens>(file_.bytes().subspan(header_.data_offset), header_.type,
                                      ScoreShape{header_.shape[0], layers_, experts_}, file_.path().string(),
                                      batch.tokens.size());
}

std::string FileScores::provenance() const { return "scores in " + file_.path().string(); }

}  // namespace moesim
