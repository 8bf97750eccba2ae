#include "workloads/routing/drawn_source.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <span>

#include "sim/core/error.hpp"

namespace moesim {

DrawnSource::DrawnSource(RoutingShape shape, std::span<const double> inclusion, GroupLimit limit,
                         std::string provenance)
    : shape_(shape), provenance_(std::move(provenance)) {
  shape_.tokens = 0;
  ensure(inclusion.size() % shape.experts == 0 && !inclusion.empty(), "inclusion probabilities [layers, experts]");
  for (std::size_t layer = 0; layer * shape.experts < inclusion.size(); ++layer) {
    samplers_.emplace_back(inclusion.subspan(layer * shape.experts, shape.experts), shape.k, limit);
  }
  ensure(samplers_.size() == shape.layers || samplers_.size() == 1, "a sampler for each layer, or one for all");
}

std::unique_ptr<DrawnSource> DrawnSource::from_counts(CountTrace counts, std::size_t k, GroupLimit limit) {
  std::vector<double> inclusion(counts.counts.size());
  for (std::size_t layer = 0; layer < counts.layers; ++layer) {
    const auto row = counts.layer(layer);
    const double total = std::accumulate(row.begin(), row.end(), 0.0);
    for (std::size_t e = 0; e < counts.experts; ++e) {
      const double p = static_cast<double>(k) * row[e] / total;
      constexpr double kRounding = 1e-9;
      if (p > 1.0 + kRounding) {
        throw ModelError(fmt::format(
            "{}: in layer {} expert {} received {:.4g} % of all choices, but with {} experts per token no expert can "
            "receive more than {:.4g} %: are these counts of another model?",
            counts.name, counts.file_layers[layer], e, 100.0 * row[e] / total, k, 100.0 / static_cast<double>(k)));
      }
      inclusion[layer * counts.experts + e] = std::min(p, 1.0);
    }
  }
  const RoutingShape shape{.tokens = 0, .layers = counts.layers, .k = k, .experts = counts.experts};
  auto source = std::make_unique<DrawnSource>(shape, inclusion, limit,
                                              fmt::format("drawn from the recorded counts of {}", counts.name));
  source->counts_ = std::move(counts);
  return source;
}

std::unique_ptr<DrawnSource> DrawnSource::uniform(RoutingShape shape, GroupLimit limit) {
  const std::vector<double> inclusion(shape.experts, static_cast<double>(shape.k) / static_cast<double>(shape.experts));
  return std::make_unique<DrawnSource>(shape, inclusion, limit, "drawn uniformly: every expert is as likely");
}

StepRouting DrawnSource::draw(const TokenBatch& batch, std::uint64_t seed, const TaskPool& pool) const {
  StepRouting step;
  step.shape = shape_;
  step.shape.tokens = batch.tokens.size();
  const std::size_t row = step.shape.tokens * shape_.k;
  step.choices.resize(shape_.layers * row);
  pool.for_each_index(shape_.layers, [&](std::size_t layer) {
    const ExpertSampler& sampler = samplers_.size() == 1 ? samplers_.front() : samplers_[layer];
    RandomStream stream(seed, "routing.drawn", layer);
    HalfWords random(stream);
    for (std::size_t token = 0; token < step.shape.tokens; ++token) {
      sampler.draw(random, std::span(step.choices).subspan(layer * row + token * shape_.k, shape_.k));
    }
  });
  double worst = 0.0;
  for (const ExpertSampler& sampler : samplers_) {
    worst = std::max(worst, sampler.worst_deviation());
  }
  constexpr double kWorthSaying = 0.01;
  if (worst > kWorthSaying) {
    step.warnings.push_back(fmt::format(
        "the experts' loads are met to within {:.2g} % only: they cannot all come from {} experts per token{}",
        100.0 * worst, shape_.k, " within the model's group limit"));
  }
  return step;
}

std::vector<double> power_law_loads(double alpha, double smallest, double largest, std::size_t experts,
                                    RandomStream& random) {
  ensure(0.0 < smallest && smallest <= largest, "a range of loads above zero");
  std::vector<double> loads(experts, 1.0);
  if (alpha == 0.0) {
    return loads;
  }
  const double exponent = 1.0 - alpha;
  constexpr double kSingular = 1e-9;
  for (double& load : loads) {
    const double u = random.uniform();
    if (std::abs(exponent) < kSingular) {
      load = smallest * std::pow(largest / smallest, u);
    } else {
      const double low = std::pow(smallest, exponent);
      const double high = std::pow(largest, exponent);
      load = std::pow((high - low) * u + low, 1.0 / exponent);
    }
  }
  return loads;
}

namespace {

/// Deals the cards 0 .. size−1 in a shuffled order, shuffles again when all are dealt.
class Deck {
 public:
  Deck(std::size_t size, RandomStream& random) : random_(&random), cards_(size) {
    std::iota(cards_.begin(), cards_.end(), ExpertIndex{0});
    random.shuffle(std::span(cards_));
  }
  /// `out.size()` distinct cards, at most as many as there are.
  void deal(std::span<ExpertIndex> out) {
    for (std::size_t i = 0; i < out.size(); ++i) {
      if (next_ == cards_.size()) {
        reshuffle(out.first(i));
      }
      out[i] = cards_[next_++];
    }
  }

 private:
  /// Cards already in the hand go to the bottom of the new deck.
  void reshuffle(std::span<const ExpertIndex> hand) {
    random_->shuffle(std::span(cards_));
    std::stable_partition(cards_.begin(), cards_.end(),
                          [&](ExpertIndex card) { return std::find(hand.begin(), hand.end(), card) == hand.end(); });
    next_ = 0;
  }

  RandomStream* random_;
  std::vector<ExpertIndex> cards_;
  std::size_t next_ = 0;
};

}  // namespace

StepRouting BalancedSource::draw(const TokenBatch& batch, std::uint64_t seed, const TaskPool& pool) const {
  StepRouting step;
  step.shape = shape_;
  step.shape.tokens = batch.tokens.size();
  const std::size_t k = shape_.k;
  step.choices.resize(shape_.layers * step.shape.tokens * k);
  const GroupLimit limit = limit_.limits() ? limit_ : GroupLimit{};
  const std::size_t size = shape_.experts / limit.groups;

  pool.for_each_index(shape_.layers, [&](std::size_t layer) {
    RandomStream random(seed, "routing.balanced", layer);
    Deck groups(limit.groups, random);
    std::vector<Deck> experts;
    for (std::size_t g = 0; g < limit.groups; ++g) {
      experts.emplace_back(size, random);
    }
    std::vector<ExpertIndex> chosen(std::min(limit.per_token, k));
    for (std::size_t token = 0; token < step.shape.tokens; ++token) {
      const auto out = std::span(step.choices).subspan((layer * step.shape.tokens + token) * k, k);
      groups.deal(chosen);
      std::size_t slot = 0;
      for (std::size_t i = 0; i < chosen.size(); ++i) {
        // k over the chosen groups; who gets the remainder rotates with the token.
        const std::size_t turn = (i + token) % chosen.size();
        const std::size_t count = k / chosen.size() + (turn < k % chosen.size() ? 1 : 0);
        const auto hand = out.subspan(slot, count);
        experts[chosen[i]].deal(hand);
        for (ExpertIndex& expert : hand) {
          expert = static_cast<ExpertIndex>(expert + chosen[i] * size);
        }
        slot += count;
      }
    }
  });
  return step;
}

std::string BalancedSource::provenance() const { return "perfectly balanced: experts are dealt in turn"; }

}  // namespace moesim
