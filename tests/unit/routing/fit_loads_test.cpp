#include "workloads/routing/fit_loads.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <functional>
#include <numeric>

#include "tests/unit/routing/fixture.hpp"
#include "workloads/routing/drawn_source.hpp"
#include "workloads/routing/fit.hpp"
#include "workloads/routing/load_levels.hpp"
#include "workloads/routing/pairs.hpp"
#include "workloads/routing/routers/router_routing.hpp"
#include "workloads/routing/same_path.hpp"
#include "workloads/routing/statistics.hpp"

using namespace moesim;

namespace {

TokenBatch sequences_of(std::size_t tokens, std::size_t each) {
  TokenBatch batch;
  for (std::size_t token = 0; token < tokens; ++token) {
    batch.tokens.push_back({static_cast<std::uint32_t>(token / each), static_cast<std::uint32_t>(token % each)});
  }
  return batch;
}

std::vector<double> log_normal_shares(std::size_t experts, double spread, RandomStream& random) {
  std::vector<double> shares(experts);
  for (double& share : shares) {
    share = std::exp(spread * random.normal());
  }
  const double sum = std::accumulate(shares.begin(), shares.end(), 0.0);
  for (double& share : shares) {
    share /= sum;
  }
  return shares;
}

/// Σ_e (p_e − 1/E)²
double squares_about_mean(std::span<const double> shares) {
  double sum = 0.0;
  for (const double share : shares) {
    const double difference = share - 1.0 / static_cast<double>(shares.size());
    sum += difference * difference;
  }
  return sum;
}

/// A step as a sample that is all of a recording.
TraceSample sample_of_step(StepRouting step, std::size_t each) {
  TraceSample sample;
  for (std::size_t start = 0; start < step.shape.tokens; start += each) {
    sample.starts.push_back(start);
  }
  sample.routing = std::move(step);
  return sample;
}

CountTrace counts_of(const StepRouting& step) {
  CountTrace counts{.layers = step.shape.layers,
                    .experts = step.shape.experts,
                    .counts = std::vector<double>(step.shape.layers * step.shape.experts, 0.0),
                    .file_layers = std::vector<std::size_t>(step.shape.layers, 0),
                    .name = "step",
                    .k = step.shape.k};
  for (std::size_t layer = 0; layer < step.shape.layers; ++layer) {
    for (const ExpertIndex expert : step.layer(layer)) {
      counts.counts[layer * step.shape.experts + expert] += 1.0;
    }
  }
  return counts;
}

/// Text of a few lasting topics through routers that know neither points nor passages.
StepRouting topical(const RoutingNeeds& needs, const TokenBatch& batch) {
  RouterRouting config;
  config.gate = router_by_name("qwen3-moe", {});
  config.tokens.topic = 0.6;
  config.tokens.word = 0.2;
  config.tokens.context = 0.1;
  config.tokens.topics = 16;
  const TaskPool pool(2);
  return make_router(config, needs, {}, pool).source->draw(batch, 3, pool);
}

}  // namespace

TEST_CASE("load levels: variances of blocks, of their halves and of experts in them are all the variance there is") {
  const LoadLevels levels(64);
  CHECK(std::vector<std::size_t>(levels.blocks().begin(), levels.blocks().end()) ==
        std::vector<std::size_t>{8, 16, 32, 64});
  // 8 does not divide 60, and of 8 experts each is a block: one level, the plain variance.
  CHECK(LoadLevels(60).count() == 1);
  CHECK(LoadLevels(8).count() == 1);
  RandomStream random(1, "test.load-levels");
  const std::vector<double> shares = log_normal_shares(64, 0.8, random);
  const std::vector<double> variances = levels.variances(shares);
  CHECK(std::accumulate(variances.begin(), variances.end(), 0.0) == Approx(squares_about_mean(shares)).epsilon(1e-9));
  // Loads that are alike within blocks of 4, of which there are 16: nothing below that level.
  std::vector<double> blocks(64);
  for (std::size_t e = 0; e < 64; ++e) {
    blocks[e] = (e / 4) % 2 == 0 ? 1.5 / 64 : 0.5 / 64;
  }
  // Neighbouring blocks make up for one another: nothing in blocks of 8 either, all of 64·(0.5/64)² in those of 4.
  const std::vector<double> of_blocks = levels.variances(blocks);
  CHECK(of_blocks[0] == Approx(0.0).margin(1e-12));
  CHECK(of_blocks[1] == Approx(0.25 / 64).epsilon(1e-9));
  CHECK(of_blocks[2] == Approx(0.0).margin(1e-12));
  CHECK(of_blocks[3] == Approx(0.0).margin(1e-12));
}

TEST_CASE("load levels: drawn to the mean, each level keeps the square of its factor") {
  const LoadLevels levels(64);
  RandomStream random(2, "test.load-levels");
  const std::vector<double> shares = log_normal_shares(64, 0.3, random);  // none near 0, where it would be held
  const std::vector<double> kept = {0.9, 0.5, 0.7, 0.2};
  const std::vector<double> drawn = levels.drawn_to_mean(shares, kept);
  CHECK(std::accumulate(drawn.begin(), drawn.end(), 0.0) == Approx(1.0));
  const std::vector<double> before = levels.variances(shares);
  const std::vector<double> after = levels.variances(drawn);
  for (std::size_t level = 0; level < levels.count(); ++level) {
    CHECK(after[level] == Approx(kept[level] * kept[level] * before[level]).epsilon(1e-9));
  }
  // Shares that would be negative: 0, and the sum is as it was.
  std::vector<double> steep(64, 0.0);
  steep[0] = 1.0;
  const std::vector<double> held = levels.drawn_to_mean(steep, std::vector<double>{0.0, 1.0, 1.0, 1.0});
  CHECK(*std::min_element(held.begin(), held.end()) == 0.0);
  CHECK(std::accumulate(held.begin(), held.end(), 0.0) == Approx(1.0));
}

TEST_CASE("load levels: independent choices add what sampling() says") {
  const LoadLevels levels(32);
  RandomStream random(3, "test.load-levels");
  const std::vector<double> shares = log_normal_shares(32, 0.7, random);
  const std::vector<double> expected = levels.sampling(shares, 200.0);
  // Over all levels: Σ p(1 − p)/n.
  double all = 0.0;
  for (const double p : shares) {
    all += p * (1.0 - p) / 200.0;
  }
  CHECK(std::accumulate(expected.begin(), expected.end(), 0.0) == Approx(all).epsilon(1e-9));
  std::vector<double> found(levels.count(), 0.0);
  constexpr std::size_t kRounds = 2000;
  for (std::size_t round = 0; round < kRounds; ++round) {
    std::vector<double> difference(shares.size());
    std::transform(shares.begin(), shares.end(), difference.begin(), std::negate<>{});
    for (int draw = 0; draw < 200; ++draw) {
      double u = random.uniform();
      std::size_t e = 0;
      while (e + 1 < shares.size() && u >= shares[e]) {
        u -= shares[e++];
      }
      difference[e] += 1.0 / 200.0;
    }
    const std::vector<double> variances = levels.variances(difference);
    for (std::size_t level = 0; level < levels.count(); ++level) {
      found[level] += variances[level] / kRounds;
    }
  }
  for (std::size_t level = 0; level < levels.count(); ++level) {
    // χ² with at least 7 degrees of freedom, 2000 times: a relative deviation of √(2/14000) = 1.2 %.
    CHECK(found[level] == Approx(expected[level]).epsilon(0.05));
  }
}

TEST_CASE("fit: loads leave at each level the room that what is generated takes, in the sum over layers") {
  RandomStream random(4, "test.fit-loads");
  CountTrace counts{.layers = 12, .experts = 64, .counts = {}, .file_layers = {}, .name = "c", .k = 4};
  for (std::size_t layer = 0; layer < counts.layers; ++layer) {
    counts.file_layers.push_back(layer);
    const std::vector<double> shares = log_normal_shares(64, layer < 4 ? 0.05 : 0.5, random);
    for (const double share : shares) {
      counts.counts.push_back(std::round(share * 4000.0));
    }
  }
  const LoadLevels levels(64);
  const DesignEffects effects = {6.0, 5.0, 4.0, 3.0};
  const auto loads = fitted_loads(counts, 4, effects);
  std::vector<double> recorded(levels.count(), 0.0);
  std::vector<double> fitted(levels.count(), 0.0);
  std::vector<double> noise(levels.count(), 0.0);
  for (std::size_t layer = 0; layer < counts.layers; ++layer) {
    const auto row = counts.layer(layer);
    const double total = std::accumulate(row.begin(), row.end(), 0.0);
    std::vector<double> shares(row.begin(), row.end());
    std::vector<double> popular = loads[layer];
    for (std::size_t e = 0; e < 64; ++e) {
      shares[e] /= total;
      popular[e] /= 4.0;
    }
    const std::vector<double> v = levels.variances(shares);
    const std::vector<double> p = levels.variances(popular);
    const std::vector<double> s = levels.sampling(shares, total);
    for (std::size_t level = 0; level < levels.count(); ++level) {
      recorded[level] += v[level];
      fitted[level] += p[level];
      noise[level] += effects[level] * s[level];
    }
    if (layer < 4) {  // less uneven than chance would make it: nothing is left
      CHECK(squares_about_mean(popular) == Approx(0.0).margin(1e-9));
    }
  }
  for (std::size_t level = 0; level < levels.count(); ++level) {
    CHECK(fitted[level] + noise[level] == Approx(recorded[level]).epsilon(0.01));
  }
}

TEST_CASE("fit: the design effect of tokens that repeat is that of their chain") {
  // k = 1 of 16 alike experts on 64 points, 4 to each: nothing is left free. A token has the point before with r = 1/2:
  // d tokens apart two are on one point for certain with r^d, else by chance, so that a long sequence is
  // 1 + 2·Σ_d r^d = (1 + r)/(1 − r) = 3 times as uneven; 2·Σ d·r^d/256 = 0.016 less, as it ends after 256 tokens.
  const RoutingShape shape{.tokens = 0, .layers = 64, .k = 1, .experts = 16};
  const std::vector<double> inclusion(64 * 16, 1.0 / 16);
  const RoutingCorrelation correlation{
      .shared = 1.0, .points_per_expert = 4.0, .turnover = 1.0, .repeat = 0.5, .layout = PointLayout::kTable};
  const GeneratedSource source(shape, inclusion, correlation, {}, 1, "");
  const TaskPool pool(2);
  const DesignEffects in_sequences = design_effects(source, inclusion, sequences_of(8192, 256), pool);
  const DesignEffects independent = design_effects(source, inclusion, sequences_of(8192, 1), pool);
  REQUIRE(in_sequences.size() == 2);  // 8 blocks, 16 experts
  for (std::size_t level = 0; level < 2; ++level) {
    // Two draws of 64 layers with 7 or 8 differences each: √(2/896) = 4.7 %.
    CHECK(in_sequences[level] == Approx(2.98).epsilon(0.15));
    CHECK(independent[level] == Approx(1.0).epsilon(0.15));
  }
}

TEST_CASE("generator: tokens of sequences have their own popularity, tokens by themselves the other") {
  GeneratorParameters parameters;
  parameters.name = "p";
  parameters.experts = 4;
  parameters.experts_per_token = 1;
  parameters.spread = {0.5};
  parameters.block_spread = {0.0};
  parameters.popularity = {{0.4, 0.3, 0.2, 0.1}};
  parameters.popularity_in_sequences = {{0.3, 0.2, 0.25, 0.25}};
  parameters.sequence_tokens = 64.0;
  const GeneratorParameters back = decode_generator(Document::parse("p.json", encode_generator(parameters)));
  CHECK(back.popularity_in_sequences == parameters.popularity_in_sequences);
  CHECK(back.sequence_tokens == 64.0);
  const RoutingShape shape{.tokens = 0, .layers = 1, .k = 1, .experts = 4};
  const auto share_of_first = [&](const GeneratorParameters& some, std::size_t each) {
    const StepRouting step = generated_source(some, shape, {}, 1, "").draw(sequences_of(40'000, each), 1, TaskPool(2));
    return static_cast<double>(std::count(step.choices.begin(), step.choices.end(), ExpertIndex{0})) / 40'000.0;
  };
  // Five standard deviations of 40,000 independent choices: 5·√(0.24/40000) = 0.012.
  CHECK(share_of_first(back, 1) == Approx(0.4).margin(0.012));
  CHECK(share_of_first(back, 100) == Approx(0.3).margin(0.012));
  GeneratorParameters earlier = parameters;  // as files were before
  earlier.popularity_in_sequences.clear();
  CHECK(encode_generator(earlier).find("popularity_in_sequences") == std::string::npos);
  CHECK(share_of_first(decode_generator(Document::parse("p.json", encode_generator(earlier))), 100) ==
        Approx(0.4).margin(0.012));

  parameters.popularity_in_sequences = {{1.0}};
  CHECK(error_of([&] { decode_generator(Document::parse("p.json", encode_generator(parameters))); }) ==
        "p.json#/popularity_in_sequences/0: expected a figure for each of the 4 experts, found 1");
  parameters.popularity_in_sequences = {{0.3, 0.2, 0.25, 0.25}, {0.3, 0.2, 0.25, 0.25}};
  CHECK(error_of([&] { decode_generator(Document::parse("p.json", encode_generator(parameters))); }) ==
        "p.json#/popularity_in_sequences: expected figures for each of the 1 layers of spread, found 2");
  parameters.popularity_in_sequences.pop_back();
  parameters.popularity.clear();
  CHECK(error_of([&] { decode_generator(Document::parse("p.json", encode_generator(parameters))); }) ==
        "p.json#/popularity_in_sequences: expected popularity beside it, found none");
}

TEST_CASE("generator: pairs of a layer are kept together as often as those of two layers") {
  // All alike experts and no turnover. An expert of a point is kept with s = 0.7, by itself: two of a layer and two of
  // neighbouring layers both with s², so that both associations are s⁴ of all that n points make. Were all slots kept
  // or none, those of a layer would be s² of it, twice as much.
  const RoutingShape shape{.tokens = 0, .layers = 8, .k = 4, .experts = 64};
  const std::vector<double> inclusion(8 * 64, 4.0 / 64);
  const TaskPool pool(2);
  const auto associations = [&](double shared) {
    const RoutingCorrelation correlation{.shared = shared, .points_per_expert = 2.0, .layout = PointLayout::kTable};
    const GeneratedSource source(shape, inclusion, correlation, {}, 1, "");
    const auto layers = pair_statistics(source.draw(sequences_of(16'384, 1), 1, pool), 0, pool).layers;
    PairAssociation mean;
    for (const PairAssociation& layer : layers) {
      mean.within += layer.within / 8.0;
      mean.to_next += layer.to_next / 7.0;
    }
    return mean;
  };
  const PairAssociation all = associations(1.0);
  const PairAssociation some = associations(0.7);
  // 128 points hold 128·6 pairs of 2016 in a layer, and 128·16 of 4096 in two: a relative deviation of about
  // √(2/768) = 5 % for each layer, less for eight.
  CHECK(some.to_next / all.to_next == Approx(std::pow(0.7, 4)).epsilon(0.1));
  CHECK(some.within / all.within == Approx(std::pow(0.7, 4)).epsilon(0.1));
}

TEST_CASE("fit: pairs of a recording's only layer are generated as often", "[slow]") {
  const TaskPool pool(2);
  const TokenBatch batch = sequences_of(8192, 512);
  const StepRouting recorded = topical({.moe_layers = 1, .all_layers = 1, .k = 8, .experts = 64}, batch);
  const GeneratorParameters fitted = fit_part(counts_of(recorded), sample_of_step(recorded, 512), {.name = "x"}, pool);
  RoutingShape shape = recorded.shape;
  shape.tokens = 0;
  const auto within = [&](const StepRouting& step) { return pair_statistics(step, 0, pool).layers.at(0).within; };
  double generated = 0.0;
  for (const std::uint64_t seed : {1, 2, 3, 4}) {
    generated += within(generated_source(fitted, shape, {}, seed, "").draw(batch, seed, pool)) / 4.0;
  }
  CHECK(generated == Approx(within(recorded)).epsilon(0.35));
}

TEST_CASE("fit: ranks of generated sequences are as uneven as recorded ones, and so are independent tokens", "[slow]") {
  // Few tokens in few passages: independent tokens of the recorded popularity would be as uneven, but sequences of it
  // 10 to 15 % more so, as their passages come on top of those that the popularity was counted in.
  const TaskPool pool(2);
  const RoutingNeeds needs{.moe_layers = 26, .all_layers = 26, .k = 6, .experts = 64};
  const TokenBatch batch = sequences_of(512, 128);
  const StepRouting recorded = topical(needs, batch);
  const GeneratorParameters fitted = fit_part(counts_of(recorded), sample_of_step(recorded, 128), {.name = "x"}, pool);
  RoutingShape shape = recorded.shape;
  shape.tokens = 0;
  // Sequences shorter than the recorded ones add less, and have a popularity between the two.
  for (const std::size_t each : {1, 16, 128}) {
    std::array<double, 3> generated{};
    constexpr std::array<std::size_t, 3> kRanks = {8, 16, 32};
    constexpr std::uint64_t kSeeds = 8;
    for (std::uint64_t seed = 1; seed <= kSeeds; ++seed) {
      const StepRouting step = generated_source(fitted, shape, {}, seed, "").draw(sequences_of(512, each), seed, pool);
      for (std::size_t i = 0; i < kRanks.size(); ++i) {
        generated[i] += imbalance_over(step, kRanks[i]) / kSeeds;
      }
    }
    for (std::size_t i = 0; i < kRanks.size(); ++i) {
      INFO("sequences of " << each << ", " << kRanks[i] << " ranks");
      CHECK(generated[i] == Approx(imbalance_over(recorded, kRanks[i])).epsilon(0.05));
    }
  }
}

TEST_CASE("generator: tokens on one path, and what a run has of them, add up along the chain") {
  // Repeats only: r^d. Σ_{d < n} (1 − d/n)·r^d at n = 4 and r = ½: ¾·½ + ½·¼ + ¼·⅛ = 0.53125; from n = 1 on it rises.
  const RoutingCorrelation repeats{.shared = 1.0, .repeat = 0.5};
  CHECK(same_path(repeats, 3) == Approx(0.125));
  const std::vector<double> paths = shared_paths(repeats);
  REQUIRE(paths.size() == kLongestRun + 1);
  CHECK(paths[0] == 0.0);
  CHECK(paths[1] == 0.0);
  CHECK(paths[4] == Approx(0.53125));
  // A passage that never ends on one point, which every token takes: all on one path, Σ (1 − d/n) = (n − 1)/2.
  const RoutingCorrelation one{.shared = 1.0, .topic = 1.0, .topic_points = 1, .topic_tokens = 1e9};
  CHECK(same_path(one, 10) == Approx(1.0).epsilon(1e-6));
  CHECK(shared_paths(one)[101] == Approx(50.0).epsilon(1e-6));
}

TEST_CASE("generator: so many runs have the popularity of sequences as makes up for what they add") {
  // Tokens that repeat with r = ½, and a popularity of sequences that is even: ρ = 0. Runs of 2 add g = ½·½ = 0.25 over
  // those of 4 add 0.53125: g = 0.47059, so that w = 1 − √(1 − g) = 0.27239 of them have it.
  const RoutingShape shape{.tokens = 0, .layers = 1, .k = 1, .experts = 2};
  const RoutingCorrelation repeats{
      .shared = 0.0, .points_per_expert = 4.0, .repeat = 0.5, .layout = PointLayout::kTable};
  const std::vector<double> independent = {0.9, 0.1};
  const std::vector<double> even = {0.5, 0.5};
  const GeneratedSource source = GeneratedSource(shape, independent, repeats, {}, 1, "").with_sequences(even, 4.0);
  const auto share_of_first = [&](std::size_t each) {
    const StepRouting step = source.draw(sequences_of(80'000, each), 1, TaskPool(2));
    return static_cast<double>(std::count(step.choices.begin(), step.choices.end(), ExpertIndex{0})) / 80'000.0;
  };
  // Runs draw their experts independently here (nothing is shared): five standard deviations, and those of w.
  CHECK(share_of_first(1) == Approx(0.9).margin(0.006));
  CHECK(share_of_first(2) == Approx(0.9 - 0.4 * 0.27239).margin(0.012));
  CHECK(share_of_first(4) == Approx(0.5).margin(0.009));
  CHECK(share_of_first(100) == Approx(0.5).margin(0.009));
}
