#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <numeric>
#include <span>

#include "sim/core/error.hpp"
#include "workloads/routing/generator.hpp"
#include "workloads/routing/runs.hpp"
#include "workloads/routing/same_path.hpp"

namespace moesim {

namespace {

constexpr std::size_t kAttempts = 8;       ///< looks of a slot at places that depend on the token's point
constexpr std::size_t kTasks = 64;         ///< about so many, unless they had
constexpr std::size_t kFewestOfTask = 64;  ///< tokens less than this
constexpr std::size_t kMostOfTask = 2048;  ///< or more than this, whose points would not fit the cache

/// Where parts of the runs begin that have about `tokens` tokens each, and the end.
std::vector<std::size_t> split(std::span<const TokenRun> runs, std::size_t tokens) {
  std::vector<std::size_t> begins{0};
  std::size_t sum = 0;
  for (std::size_t r = 0; r < runs.size(); ++r) {
    sum += runs[r].count;
    if (sum >= tokens) {
      begins.push_back(r + 1);
      sum = 0;
    }
  }
  if (begins.back() != runs.size()) {
    begins.push_back(runs.size());
  }
  return begins;
}

/// The order in which a layer's experts lie on its circle.
std::vector<ExpertIndex> order_of_circle(std::size_t experts, RandomStream& random) {
  std::vector<ExpertIndex> order(experts);
  std::iota(order.begin(), order.end(), ExpertIndex{0});
  random.shuffle(std::span(order));
  return order;
}

}  // namespace

/// The points of a run's tokens, one after the other: each token has a path, its point in every layer.
class GeneratedSource::Walk {
 public:
  Walk(const GeneratedSource& source, RandomStream& random)
      : correlation_(source.correlation_),
        layers_(source.shape_.layers),
        points_(source.points_),
        random_(random),
        topic_(source.correlation_.topic_points) {}

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
      Path& path = topic_[random_.below(topic_.size())];
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
  std::vector<Path> topic_;  ///< empty until a token asks for it
  Path current_;
  bool first_ = true;
};

GeneratedSource::GeneratedSource(RoutingShape shape, std::span<const double> inclusion,
                                 const RoutingCorrelation& correlation, GroupLimit limit, std::uint64_t popularity_seed,
                                 std::string provenance)
    : shape_(shape),
      correlation_(correlation),
      limit_(limit),
      popularity_seed_(popularity_seed),
      provenance_(std::move(provenance)) {
  shape_.tokens = 0;
  independent_ = popularity_of(inclusion);
  for (std::size_t layer = 0; layer < shape_.layers; ++layer) {
    RandomStream random(popularity_seed, "routing.circle", layer);
    order_of_circle(shape_.experts, random);  // of which offsets are independent
    for (std::size_t i = 0; i < shape_.k * kAttempts; ++i) {
      offsets_.push_back(random.uniform());
    }
  }
  lay_out_points();
}

GeneratedSource::Popularity GeneratedSource::popularity_of(std::span<const double> inclusion) const {
  ensure(inclusion.size() == shape_.layers * shape_.experts, "inclusion probabilities [layers, experts]");
  std::vector<ExpertSampler> samplers;
  for (std::size_t layer = 0; layer < shape_.layers; ++layer) {
    RandomStream random(popularity_seed_, "routing.circle", layer);
    samplers.emplace_back(inclusion.subspan(layer * shape_.experts, shape_.experts), shape_.k, limit_,
                          order_of_circle(shape_.experts, random));
  }
  return {.inclusion = std::make_shared<const std::vector<double>>(inclusion.begin(), inclusion.end()),
          .samplers = std::make_shared<const std::vector<ExpertSampler>>(std::move(samplers)),
          .tables = nullptr};
}

GeneratedSource GeneratedSource::with_sequences(std::span<const double> inclusion, double tokens) const {
  GeneratedSource other = *this;
  other.in_sequences_.reset();
  if (!inclusion.empty()) {
    other.in_sequences_ = popularity_of(inclusion);
    other.sequence_tokens_ = tokens;
    other.lay_out_points();
  }
  return other;
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
  const bool in_place_of_table = correlation_.layout == PointLayout::kTable && limit_.limits();
  const double wanted =
      static_cast<double>(shape_.experts) *
      (in_place_of_table ? std::max(kFewestOnCircle, correlation_.points_per_expert) : correlation_.points_per_expert);
  points_ = std::max<std::size_t>(1, static_cast<std::size_t>(std::llround(wanted)));
  lay_out_tables(independent_);
  if (in_sequences_) {
    lay_out_tables(*in_sequences_);
    share_runs();
  }
  group_choice_.clear();
  for (std::size_t layer = 0; limit_.limits() && layer < shape_.layers; ++layer) {
    RandomStream random(popularity_seed_, "routing.group-choice", layer);
    for (std::size_t point = 0; point < points_; ++point) {
      group_choice_.push_back(random.uniform());
    }
  }
}

/// What a run of n tokens adds to the variance of loads, over what one of the recorded length adds, is g = the ratio of
/// their shared_paths. So that both together are as recorded, the deviations of the popularity from the mean have to be
/// √(1 − g·(1 − ρ²)) of those of independent tokens, ρ being that of sequences of the recorded length. Deviations of
/// runs of which a share w has the popularity of sequences are 1 − w·(1 − ρ).
void GeneratedSource::share_runs() {
  const auto squares = [&](const Popularity& popularity) {
    const double mean = static_cast<double>(shape_.k) / static_cast<double>(shape_.experts);
    double sum = 0.0;
    for (const double p : *popularity.inclusion) {
      sum += (p - mean) * (p - mean);
    }
    return sum;
  };
  const double all = squares(independent_);
  const double kept = all > 0.0 ? std::min(1.0, squares(*in_sequences_) / all) : 1.0;  // ρ²
  const std::vector<double> paths = shared_paths(correlation_);
  const auto recorded = static_cast<std::size_t>(std::llround(std::clamp(sequence_tokens_, 2.0, double{kLongestRun})));
  share_of_runs_.assign(kLongestRun + 1, 1.0);
  share_of_runs_[0] = share_of_runs_[1] = 0.0;
  for (std::size_t n = 2; n < recorded && kept < 1.0; ++n) {
    const double g = paths[recorded] > 0.0 ? paths[n] / paths[recorded] : 1.0;
    share_of_runs_[n] = std::min(1.0, (1.0 - std::sqrt(1.0 - g * (1.0 - kept))) / (1.0 - std::sqrt(kept)));
  }
}

void GeneratedSource::lay_out_tables(Popularity& popularity) const {
  popularity.tables = nullptr;
  if (correlation_.layout != PointLayout::kTable || limit_.limits()) {
    return;
  }
  std::vector<PointTable> tables;
  for (std::size_t layer = 0; layer < shape_.layers; ++layer) {
    RandomStream random(popularity_seed_, "routing.points", layer);
    tables.emplace_back(std::span(*popularity.inclusion).subspan(layer * shape_.experts, shape_.experts), shape_.k,
                        points_, correlation_.shared, random);
  }
  popularity.tables = std::make_shared<const std::vector<PointTable>>(std::move(tables));
}

double GeneratedSource::decided_share() const {
  const auto& tables = independent_.tables;
  if (!tables) {
    return correlation_.shared;
  }
  double decided = 0.0;
  for (const PointTable& table : *tables) {
    decided += correlation_.shared * (1.0 - table.free_share()) / static_cast<double>(tables->size());
  }
  return decided;
}

void GeneratedSource::choose(const Popularity& popularity, std::uint32_t point, std::size_t layer, HalfWords& words,
                             std::span<ExpertIndex> out) const {
  const ExpertSampler& sampler = (*popularity.samplers)[layer];
  const double* offsets = offsets_.data() + layer * shape_.k * kAttempts;
  const double place = (static_cast<double>(point) + 0.5) / static_cast<double>(points_);
  if (popularity.tables) {
    (*popularity.tables)[layer].choose(point, sampler, words, out);
    return;
  }
  ExpertSampler::Pool pool;
  if (limit_.limits()) {
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

const GeneratedSource::Popularity& GeneratedSource::popularity_for(std::size_t tokens, RandomStream random) const {
  if (!in_sequences_ || share_of_runs_[tokens] <= 0.0) {
    return independent_;
  }
  const double share = share_of_runs_[tokens];
  return share >= 1.0 || random.uniform() < share ? *in_sequences_ : independent_;
}

StepRouting GeneratedSource::draw(const TokenBatch& batch, std::uint64_t seed, const TaskPool& pool) const {
  StepRouting step;
  step.shape = shape_;
  step.shape.tokens = batch.tokens.size();
  step.choices.resize(shape_.layers * step.shape.tokens * shape_.k);
  const std::vector<TokenRun> runs = runs_of(batch, kLongestRun);

  // One stream for each sequence's points and one for its choices in each layer.
  const RandomStream points(seed, "routing.generated.points");
  const RandomStream kinds(seed, "routing.generated.popularity");
  std::vector<RandomStream> choices;
  for (std::size_t layer = 0; layer < shape_.layers; ++layer) {
    choices.emplace_back(seed, fmt::format("routing.generated.{}", layer));
  }
  const auto index_of = [&](const TokenRun& run) {
    const TokenSlot& slot = batch.tokens[run.first];
    return std::uint64_t{slot.sequence} << 32 | slot.position;
  };

  // The points of some thousand tokens first, then their choices layer by layer: a layer's tables stay in the cache.
  const std::vector<std::size_t> parts =
      split(runs, std::clamp(batch.tokens.size() / kTasks, kFewestOfTask, kMostOfTask));
  pool.for_each_index(parts.size() - 1, [&](std::size_t part) {
    const auto of_task = std::span(runs).subspan(parts[part], parts[part + 1] - parts[part]);
    std::vector<std::uint32_t> paths;  // [tokens, layers]
    for (const TokenRun& run : of_task) {
      RandomStream random = points.at(index_of(run));
      Walk walk(*this, random);
      for (std::size_t i = 0; i < run.count; ++i) {
        const std::span<const std::uint32_t> path = walk.next();
        paths.insert(paths.end(), path.begin(), path.end());
      }
    }
    for (std::size_t layer = 0; layer < shape_.layers; ++layer) {
      const std::uint32_t* point = paths.data() + layer;
      for (const TokenRun& run : of_task) {
        RandomStream random = choices[layer].at(index_of(run));
        HalfWords words(random);
        const Popularity& popularity = popularity_for(run.count, kinds.at(index_of(run)));
        ExpertIndex* out = step.choices.data() + (layer * step.shape.tokens + run.first) * shape_.k;
        for (std::size_t i = 0; i < run.count; ++i, point += shape_.layers, out += shape_.k) {
          choose(popularity, *point, layer, words, std::span(out, shape_.k));
        }
      }
    }
  });
  return step;
}

}  // namespace moesim
