#include <algorithm>
#include <array>
#include <cmath>
#include <numeric>
#include <span>

#include "sim/core/error.hpp"
#include "workloads/routing/generator.hpp"
#include "workloads/routing/runs.hpp"

namespace moesim {

namespace {

constexpr std::size_t kAttempts = 8;      ///< looks of a slot at places that depend on the token's point
constexpr std::size_t kTopicPoints = 4;   ///< points of one passage
constexpr std::size_t kLongestRun = 256;  ///< tokens worked on as one task; correlation ends there

}  // namespace

/// The points of a run's tokens, one after the other: each token has a path, its point in every layer.
class GeneratedSource::Walk {
 public:
  Walk(const GeneratedSource& source, RandomStream& random)
      : correlation_(source.correlation_), layers_(source.shape_.layers), points_(source.points_), random_(random) {}

  std::span<const std::uint32_t> next() {
    if (!first_ && random_.uniform() * correlation_.topic_tokens < 1.0) {
      for (Path& path : topic_) {
        path.clear();
      }
    }
    const double choice = random_.uniform();
    const double repeat = first_ ? 0.0 : correlation_.repeat;
    first_ = false;
    if (choice < repeat) {
      return current_;
    }
    if (choice < repeat + correlation_.topic) {
      Path& path = topic_[random_.below(kTopicPoints)];
      if (path.empty()) {
        fresh(path);
      }
      current_ = path;
    } else {
      fresh(current_);
    }
    return current_;
  }

 private:
  using Path = std::vector<std::uint32_t>;

  void fresh(Path& path) {
    path.resize(layers_);
    HalfWords words(random_);
    std::uint32_t point = 0;
    for (std::size_t layer = 0; layer < layers_; ++layer) {
      if (layer == 0 || words.uniform() < correlation_.turnover) {
        point = static_cast<std::uint32_t>(words.uniform() * static_cast<double>(points_));
      }
      path[layer] = point;
    }
  }

  const RoutingCorrelation& correlation_;
  std::size_t layers_;
  std::size_t points_;
  RandomStream& random_;
  std::array<Path, kTopicPoints> topic_;  ///< empty until a token asks for it
  Path current_;
  bool first_ = true;
};

GeneratedSource::GeneratedSource(RoutingShape shape, std::span<const double> inclusion,
                                 const RoutingCorrelation& correlation, GroupLimit limit, std::uint64_t popularity_seed,
                                 std::string provenance)
    : shape_(shape),
      correlation_(correlation),
      limited_(limit.limits()),
      popularity_seed_(popularity_seed),
      provenance_(std::move(provenance)) {
  shape_.tokens = 0;
  ensure(inclusion.size() == shape.layers * shape.experts, "inclusion probabilities [layers, experts]");
  std::vector<ExpertSampler> samplers;
  std::vector<ExpertIndex> order(shape.experts);
  for (std::size_t layer = 0; layer < shape.layers; ++layer) {
    RandomStream random(popularity_seed, "routing.circle", layer);
    std::iota(order.begin(), order.end(), ExpertIndex{0});
    random.shuffle(std::span(order));
    samplers.emplace_back(inclusion.subspan(layer * shape.experts, shape.experts), shape.k, limit, order);
    for (std::size_t i = 0; i < shape.k * kAttempts; ++i) {
      offsets_.push_back(random.uniform());
    }
  }
  samplers_ = std::make_shared<const std::vector<ExpertSampler>>(std::move(samplers));
  inclusion_ = std::make_shared<const std::vector<double>>(inclusion.begin(), inclusion.end());
  lay_out_points();
}

GeneratedSource GeneratedSource::with(const RoutingCorrelation& correlation) const {
  GeneratedSource other = *this;
  other.correlation_ = correlation;
  other.lay_out_points();
  return other;
}

void GeneratedSource::lay_out_points() {
  // A table may have few points; a circle with few would make experts' popularity coarse.
  constexpr double kFewestOnCircle = 2.0;
  const bool in_place_of_table = correlation_.layout == PointLayout::kTable && limited_;
  const double wanted =
      static_cast<double>(shape_.experts) *
      (in_place_of_table ? std::max(kFewestOnCircle, correlation_.points_per_expert) : correlation_.points_per_expert);
  points_ = std::max<std::size_t>(1, static_cast<std::size_t>(std::llround(wanted)));
  tables_ = nullptr;
  if (correlation_.layout == PointLayout::kTable && !limited_) {
    lay_out_tables();
  }
  group_choice_.clear();
  for (std::size_t layer = 0; limited_ && layer < shape_.layers; ++layer) {
    RandomStream random(popularity_seed_, "routing.group-choice", layer);
    for (std::size_t point = 0; point < points_; ++point) {
      group_choice_.push_back(random.uniform());
    }
  }
}

void GeneratedSource::lay_out_tables() {
  std::vector<PointTable> tables;
  for (std::size_t layer = 0; layer < shape_.layers; ++layer) {
    RandomStream random(popularity_seed_, "routing.points", layer);
    tables.emplace_back(std::span(*inclusion_).subspan(layer * shape_.experts, shape_.experts), shape_.k, points_,
                        random);
  }
  tables_ = std::make_shared<const std::vector<PointTable>>(std::move(tables));
}

double GeneratedSource::decided_share() const {
  if (!tables_) {
    return correlation_.shared;
  }
  double decided = 0.0;
  for (const PointTable& table : *tables_) {
    decided += correlation_.shared * (1.0 - table.free_share()) / static_cast<double>(tables_->size());
  }
  return decided;
}

void GeneratedSource::choose(std::uint32_t point, std::size_t layer, RandomStream& random,
                             std::span<ExpertIndex> out) const {
  const ExpertSampler& sampler = (*samplers_)[layer];
  const double* offsets = offsets_.data() + layer * shape_.k * kAttempts;
  const double place = (static_cast<double>(point) + 0.5) / static_cast<double>(points_);
  HalfWords words(random);
  if (tables_) {
    (*tables_)[layer].choose(point, correlation_.shared, sampler, words, out);
    return;
  }
  ExpertSampler::Pool pool;
  if (limited_) {
    const bool follows = words.uniform() < correlation_.shared;
    pool = sampler.pool_at(follows ? group_choice_[layer * points_ + point] : words.uniform());
  }
  for (std::size_t slot = 0; slot < out.size(); ++slot) {
    const auto chosen = out.first(slot);
    std::size_t attempt = words.uniform() < correlation_.shared ? 0 : kAttempts;
    for (; attempt < kAttempts; ++attempt) {
      const double look = place + offsets[slot * kAttempts + attempt];
      out[slot] = sampler.expert_at(pool, look < 1.0 ? look : look - 1.0);
      if (!ExpertSampler::contains(chosen, out[slot])) {
        break;
      }
    }
    if (attempt == kAttempts) {
      out[slot] = sampler.draw_another(words, pool, chosen);
    }
  }
}

StepRouting GeneratedSource::draw(const TokenBatch& batch, std::uint64_t seed, const TaskPool& pool) const {
  StepRouting step;
  step.shape = shape_;
  step.shape.tokens = batch.tokens.size();
  step.choices.resize(shape_.layers * step.shape.tokens * shape_.k);
  const std::vector<TokenRun> runs = runs_of(batch, kLongestRun);

  constexpr std::size_t kRunsPerTask = 64;  // decode batches are runs of one token
  const std::size_t tasks = (runs.size() + kRunsPerTask - 1) / kRunsPerTask;
  pool.for_each_index(tasks, [&](std::size_t task) {
    const std::size_t end = std::min(runs.size(), (task + 1) * kRunsPerTask);
    for (std::size_t r = task * kRunsPerTask; r < end; ++r) {
      const TokenSlot& slot = batch.tokens[runs[r].first];
      RandomStream random(seed, "routing.generated", std::uint64_t{slot.sequence} << 32 | slot.position);
      Walk walk(*this, random);
      for (std::size_t i = 0; i < runs[r].count; ++i) {
        const std::size_t token = runs[r].first + i;
        const std::span<const std::uint32_t> path = walk.next();
        for (std::size_t layer = 0; layer < shape_.layers; ++layer) {
          choose(path[layer], layer, random,
                 std::span(step.choices).subspan((layer * step.shape.tokens + token) * shape_.k, shape_.k));
        }
      }
    }
  });
  return step;
}

}  // namespace moesim
