#include "workloads/routing/fit.hpp"

#include <cmath>
#include <set>

#include "tests/unit/routing/fixture.hpp"
#include "workloads/routing/correlation.hpp"
#include "workloads/routing/drawn_source.hpp"
#include "workloads/routing/routers/router_routing.hpp"
#include "workloads/routing/statistics.hpp"
#include "workloads/routing/write_trace.hpp"

using namespace moesim;

namespace {

/// Max/mean over `ranks` contiguous blocks of experts, in the mean over layers.
double imbalance(const CountTrace& counts, std::size_t ranks) {
  double sum = 0.0;
  for (std::size_t layer = 0; layer < counts.layers; ++layer) {
    sum += max_over_mean(rank_loads(counts.layer(layer), ranks));
  }
  return sum / static_cast<double>(counts.layers);
}

/// Routing drawn from parameters, as `trace generate` does.
TokenTrace drawn(const GeneratorParameters& parameters, RoutingShape shape, const TokenBatch& batch, std::uint64_t seed,
                 std::string& file) {
  shape.tokens = 0;
  const GeneratedSource source(shape, draw_inclusion(parameters, shape, seed), parameters.correlation, {}, seed, "");
  file = npy_bytes(source.draw(batch, seed, TaskPool(2)));
  return TokenTrace::from_bytes(bytes_of(file), "drawn.npy");
}

/// `trace fit`, then `trace generate` of as many independent tokens: EP imbalance within 5 % of the recording's.
void check_fit_generates_alike(const TokenTrace& recorded) {
  const GeneratorParameters fitted =
      decode_generator(Document::parse("p.json", encode_generator(fit_tokens(recorded, {.name = "x"}, TaskPool(2)))));
  std::string file;
  const CountTrace generated = count(drawn(fitted, recorded.shape(), decode_batch(recorded.shape().tokens), 1, file));
  const CountTrace counts = count(recorded);
  for (const std::size_t ranks : {8, 16, 32, 64}) {
    if (counts.experts % ranks == 0) {
      INFO(recorded.name() << ": " << ranks << " ranks");
      CHECK(imbalance(generated, ranks) == Approx(imbalance(counts, ranks)).epsilon(0.05));
    }
  }
}

}  // namespace

TEST_CASE("point table: every expert is as likely as asked for, and a token never has one twice") {
  const std::size_t k = 3;
  const std::size_t points = 40;
  const std::vector<double> loads = {40, 30, 20, 10, 8, 7, 6, 5, 4, 3, 2, 1, 1, 1, 0.5, 0};
  const std::vector<double> inclusion = inclusion_from_loads(loads, k);
  RandomStream random(1, "test.point-table");
  const PointTable table(inclusion, k, points, 1.0, random);
  const ExpertSampler sampler(inclusion, k, {});
  // At most one slot in n·k for each expert is left free by rounding down.
  CHECK(table.free_share() <= 16.0 / 120.0);
  CHECK(table.free_share() > 0.0);
  HalfWords words(random);
  std::vector<double> found(loads.size(), 0.0);
  std::vector<ExpertIndex> out(k);
  const std::size_t draws = 2000;
  for (std::size_t point = 0; point < points; ++point) {
    for (std::size_t i = 0; i < draws; ++i) {
      table.choose(point, sampler, words, out);
      REQUIRE(std::set<ExpertIndex>(out.begin(), out.end()).size() == k);
      for (const ExpertIndex expert : out) {
        found[expert] += 1.0 / static_cast<double>(points * draws);
      }
    }
  }
  for (std::size_t e = 0; e < loads.size(); ++e) {
    // Less than one of 40 points' worth of π_e is drawn at random, 80,000 times in all: a standard deviation below
    // √(1/40 / 80000) = 0.0006. Excluding what a point has already shifts it by a few percent of that part, 1/40.
    INFO("expert " << e);
    CHECK(found[e] == Approx(inclusion[e]).margin(0.004));
  }
}

TEST_CASE("point table: slots that do not follow their point are drawn from the same law") {
  const std::vector<double> inclusion = inclusion_from_loads(std::vector<double>(32, 1.0), 4);
  RandomStream random(2, "test.point-table");
  const PointTable table(inclusion, 4, 64, 0.5, random);
  const ExpertSampler sampler(inclusion, 4, {});
  HalfWords words(random);
  std::vector<ExpertIndex> first(4);
  std::vector<ExpertIndex> second(4);
  double common = 0.0;
  const int draws = 4000;
  for (int i = 0; i < draws; ++i) {
    table.choose(7, sampler, words, first);
    table.choose(7, sampler, words, second);
    for (const ExpertIndex expert : first) {
      common += ExpertSampler::contains(second, expert) ? 1.0 / draws : 0.0;
    }
  }
  // All m_e = 8 are whole: no slot is free. A point's expert is in a draw if it is kept (½), or drawn anew: b slots of
  // four are, b binomial with mean 2, by draws without replacement from the 28 + b that are not kept. To first order
  // each of the point's four is in with p = ½ + ½·2/30, each of the other 28 with q = 2·(28/30)/28: in common are
  // 4p² + 28q² = 1.14 + 0.12. Second-order terms are below a tenth of that.
  CHECK(common == Approx(1.26).epsilon(0.1));
}

TEST_CASE("generator: popularity stands in the file and is kept, for a model of that shape") {
  GeneratorParameters parameters;
  parameters.name = "p";
  parameters.experts = 4;
  parameters.experts_per_token = 2;
  parameters.spread = {0.5, 0.5};
  parameters.block_spread = {0.0, 0.0};
  parameters.popularity = {{0.8, 0.6, 0.4, 0.2}, {0.5, 0.5, 0.5, 0.5}};
  const GeneratorParameters back = decode_generator(Document::parse("p.json", encode_generator(parameters)));
  CHECK(back.popularity == parameters.popularity);
  const RoutingShape same{.tokens = 0, .layers = 2, .k = 2, .experts = 4};
  const std::vector<double> inclusion = draw_inclusion(back, same, 1);
  CHECK(inclusion[0] == Approx(0.8));
  CHECK(draw_inclusion(back, same, 2) == inclusion);
  // Another number of layers: an imaginary model by the law, which a seed changes.
  const RoutingShape other{.tokens = 0, .layers = 3, .k = 2, .experts = 4};
  CHECK(draw_inclusion(back, other, 1) != draw_inclusion(back, other, 2));
  parameters.popularity.pop_back();
  CHECK(error_of([&] { decode_generator(Document::parse("p.json", encode_generator(parameters))); }) ==
        "p.json#/popularity: expected figures for each of the 2 layers of spread, found 1");
  parameters.popularity = {{1.0}, {1.0}};
  CHECK(error_of([&] { decode_generator(Document::parse("p.json", encode_generator(parameters))); }) ==
        "p.json#/popularity/0: expected a figure for each of the 4 experts, found 1");
}

TEST_CASE("fit: each expert's load is drawn to the mean by as much as sampling spread it") {
  // Loads all alike but for sampling: Poisson-like counts 90 and 110 about 100 have variance 100, which is their noise;
  // nothing is left of it. Counts a hundred times as far apart keep all but 1 in 10,000 of their variance.
  const auto popularity = [](const std::vector<double>& counts) {
    const CountTrace trace{.layers = 1, .experts = 4, .counts = counts, .file_layers = {0}, .name = "c"};
    FitOptions options{.name = "x"};
    options.k = 1;
    return fit_counts(trace, options).popularity.at(0);
  };
  // p = 1/4 ± 0.025: variance 6.25e-4; noise p(1 − p)/400 = 4.67e-4 in the mean: √(1 − 0.747) = 0.503 is kept.
  const std::vector<double> few = popularity({90, 110, 90, 110});
  CHECK(few[0] == Approx(0.25 - 0.503 * 0.025).epsilon(0.001));
  const std::vector<double> many = popularity({900'000, 1'100'000, 900'000, 1'100'000});
  CHECK(many[0] == Approx(0.225).epsilon(0.001));
}

TEST_CASE("fit: generated loads are the recording's to within 5 percent, whatever its shape", "[slow]") {
  struct Shape {
    std::size_t tokens;
    std::size_t layers;
    std::size_t k;
    std::size_t experts;
    double spread;
    double block_spread;
  };
  // Few tokens, one layer, much and little skew, k = 1 and large k.
  for (const Shape& s :
       {Shape{4000, 8, 4, 64, 0.7, 0.3}, Shape{2000, 12, 8, 128, 1.2, 0.6}, Shape{6000, 4, 1, 64, 0.5, 0.0},
        Shape{1000, 16, 6, 160, 0.4, 0.2}, Shape{3000, 1, 2, 8, 0.3, 0.0}}) {
    GeneratorParameters truth;
    truth.name = "truth";
    truth.experts = s.experts;
    truth.experts_per_token = s.k;
    truth.spread = std::vector<double>(s.layers, s.spread);
    truth.block_spread = std::vector<double>(s.layers, s.block_spread);
    truth.blocks = 8;
    truth.correlation = {
        .shared = 0.9, .points_per_expert = 2.0, .turnover = 0.02, .repeat = 0.1, .topic = 0.3, .topic_tokens = 16.0};
    TokenBatch batch;
    for (std::uint32_t sequence = 0; sequence < 8; ++sequence) {
      append_run(batch, sequence, static_cast<std::uint32_t>(s.tokens / 8));
    }
    std::string file;
    const RoutingShape shape{.tokens = 0, .layers = s.layers, .k = s.k, .experts = s.experts};
    INFO(s.tokens << " tokens, " << s.layers << " layers, top-" << s.k << " of " << s.experts);
    check_fit_generates_alike(drawn(truth, shape, batch, 5, file));
  }
}

TEST_CASE("point table: experts are as popular as asked for, whatever share of tokens follows its points") {
  // 16 experts, k = 4, half of them hardly used and one chosen by nine tokens in ten.
  std::vector<double> inclusion(16, 0.05);
  inclusion[0] = 0.9;
  for (std::size_t e = 1; e < 8; ++e) {
    inclusion[e] = (4.0 - 0.9 - 8 * 0.05) / 7.0;
  }
  constexpr std::size_t kK = 4;
  constexpr std::size_t kPoints = 64;
  constexpr std::size_t kTokens = 200'000;
  const ExpertSampler sampler(inclusion, kK, {});
  for (const double shared : {0.0, 0.5, 1.0}) {
    INFO("shared " << shared);
    RandomStream random(1, "test.point-table");
    const PointTable table(inclusion, kK, kPoints, shared, random);
    HalfWords words(random);
    std::vector<double> counts(16, 0.0);
    std::vector<ExpertIndex> row(kK);
    for (std::size_t token = 0; token < kTokens; ++token) {
      table.choose(token % kPoints, sampler, words, row);
      for (const ExpertIndex expert : row) {
        counts[expert] += 1.0 / kTokens;
      }
    }
    for (std::size_t e = 0; e < 16; ++e) {
      // Five standard deviations of a share of independent tokens: √(0.25/200,000) = 0.0011.
      CHECK(counts[e] == Approx(inclusion[e]).margin(0.006));
    }
  }
}

TEST_CASE("fit: tokens and layers that have nothing in common are generated so") {
  // Skewed loads, k = 1 and more: a fit once took the least that its points could make for what was recorded.
  for (const std::size_t k : {1, 2, 6}) {
    INFO("k " << k);
    GeneratorParameters truth;
    truth.name = "truth";
    truth.experts = 64;
    truth.experts_per_token = k;
    truth.spread = std::vector<double>(5, 0.8);
    truth.block_spread = std::vector<double>(5, 0.0);
    std::string file;
    const RoutingShape shape{.tokens = 0, .layers = 5, .k = k, .experts = 64};
    const TokenTrace recorded = drawn(truth, shape, decode_batch(3000), 3, file);
    const GeneratorParameters fitted = fit_tokens(recorded, {.name = "x"}, TaskPool(2));
    CHECK(fitted.correlation.shared == 0.0);
    CHECK(fitted.correlation.repeat == 0.0);
    CHECK(fitted.correlation.topic == 0.0);
    std::string generated_file;
    const TokenTrace generated = drawn(fitted, shape, decode_batch(3000), 1, generated_file);
    const auto association = [](const TokenTrace& trace) {
      return correlation_statistics(whole_trace(trace), {}).association.front().value;
    };
    // Three standard deviations of chance: 3·√2·63/(3000·k²), for one pair of layers.
    CHECK(association(generated) == Approx(association(recorded)).margin(0.09 / static_cast<double>(k * k)));
  }
}

TEST_CASE("fit: tokens that hang together weakly or for long, and layers less and less, are generated so", "[slow]") {
  // Text through routers, which knows neither points nor passages: of a few lasting topics, and of wandering contexts,
  // where tokens share some experts in some layers.
  RouterRouting topical;
  topical.tokens.topic = 0.6;
  topical.tokens.word = 0.2;
  topical.tokens.context = 0.1;
  topical.tokens.topics = 16;
  RouterRouting wandering;
  wandering.tokens.context = 0.8;
  wandering.tokens.word = 0.1;
  wandering.tokens.topic = 0.05;
  wandering.tokens.context_memory = 0.97;
  constexpr std::size_t kLayers = 9;
  constexpr std::size_t kSequences = 16;
  constexpr std::size_t kEach = 256;
  const TaskPool pool(2);
  TokenBatch batch;
  std::vector<std::size_t> starts;
  for (std::uint32_t sequence = 0; sequence < kSequences; ++sequence) {
    starts.push_back(batch.tokens.size());
    append_run(batch, sequence, kEach);
  }
  for (RouterRouting* config : {&topical, &wandering}) {
    INFO((config == &topical ? "topical" : "wandering"));
    config->gate = router_by_name("qwen3-moe", {});
    const RoutingNeeds needs{.moe_layers = kLayers, .all_layers = kLayers, .k = 4, .experts = 64};
    const TraceSample sample{make_router(*config, needs, {}, pool).source->draw(batch, 1, pool), starts};
    std::vector<double> inclusion;
    for (std::size_t layer = 0; layer < kLayers; ++layer) {
      std::vector<double> counts(64, 0.0);
      for (const ExpertIndex expert : sample.routing.layer(layer)) {
        counts[expert] += 1.0;
      }
      const std::vector<double> row = inclusion_from_loads(counts, 4);
      inclusion.insert(inclusion.end(), row.begin(), row.end());
    }
    const RoutingCorrelation fitted = fit_correlation(sample, inclusion, pool);
    const CorrelationStatistics recorded = correlation_statistics(sample.routing, starts);
    // In the mean over models: layers far apart have in common what the few passages of one happen to bring.
    const std::vector<std::uint64_t> seeds = {5, 6, 7, 8};
    CorrelationStatistics generated = recorded;
    const auto mean_into = [&](auto& means, const auto& entries, bool first) {
      for (std::size_t i = 0; i < means.size(); ++i) {
        means[i].value = (first ? 0.0 : means[i].value) + entries[i].value / static_cast<double>(seeds.size());
      }
    };
    for (const std::uint64_t seed : seeds) {
      const GeneratedSource source(sample.routing.shape, inclusion, fitted, {}, seed, "");
      const CorrelationStatistics one = correlation_statistics(source.draw(batch, seed, pool), starts);
      mean_into(generated.overlap, one.overlap, seed == seeds.front());
      mean_into(generated.association, one.association, seed == seeds.front());
    }
    for (const std::size_t lag : {0, 3}) {  // 1 and 8 tokens
      INFO(recorded.overlap.at(lag).distance << " tokens");
      CHECK(generated.overlap.at(lag).value == Approx(recorded.overlap.at(lag).value).epsilon(0.2));
    }
    for (std::size_t i = 0; i < recorded.association.size(); ++i) {  // 1 … 8 layers
      INFO(recorded.association[i].distance << " layers");
      CHECK(generated.association.at(i).value ==
            Approx(recorded.association[i].value).epsilon(0.3).margin(0.15 * recorded.association[0].value));
    }
  }
}

TEST_CASE("fit: generated loads are those of recorded tokens and counts to within 5 percent", "[slow]") {
  MOESIM_NEEDS_RECORDINGS();
  check_fit_generates_alike(TokenTrace::open(recordings() / "deepseek-v2-lite/intent_T8222_L26_K6_E64.u8"));
  check_fit_generates_alike(TokenTrace::open(recordings() / "deepseek-v2-lite/law_T8327_L26_K6_E64.u8"));

  const Recording counts = open_recording(recordings() / "deepseek-v3/decode_in1000out1000.json");
  FitOptions options{.name = "v3"};
  options.k = 8;
  const GeneratorParameters fitted = fit(counts, options, TaskPool(2));
  std::string file;
  const RoutingShape shape{.tokens = 0, .layers = 58, .k = 8, .experts = 256};
  const CountTrace generated = count(drawn(fitted, shape, decode_batch(4096), 1, file));
  for (const std::size_t ranks : {8, 16, 32, 64}) {
    CHECK(imbalance(generated, ranks) == Approx(imbalance(counts_of(counts), ranks)).epsilon(0.05));
  }
}

TEST_CASE("fit: what was held back is compared with, from the other half", "[slow]") {
  // The later half of the tokens goes to other experts than the earlier one, which no fit of the earlier half can know:
  // experts 0 .. 7 first, 8 .. 15 then. With 8 ranks of two experts, generated is as the fitted part is.
  std::vector<long long> ids;
  RandomStream random(1, "test.held-back");
  for (long long token = 0; token < 2000; ++token) {
    const auto first = static_cast<long long>(random.below(8));
    ids.push_back(first + (token < 1000 ? 0 : 8));
    ids.push_back((first + 1 + static_cast<long long>(random.below(7))) % 8 + (token < 1000 ? 0 : 8));
  }
  const Folder folder("held-back");
  const auto path = folder.write("t.npy", npy_with_header(npy_header("|u1", "2000, 1, 2"), raw<std::uint8_t>(ids)));
  const Recording recording = open_recording(path);
  const auto checks = check_held_back(recording, {.name = "x"}, HoldBack::kTime, TaskPool(1));
  const auto find = [&](std::string_view quantity) {
    for (const FitCheck& check : checks) {
      if (check.quantity == quantity) {
        return check;
      }
    }
    FAIL("no such quantity");
    return FitCheck{};
  };
  const FitCheck ranks = find("max/mean over 8 ranks, mean over layers");
  // Four of eight ranks have all the tokens in either half.
  CHECK(ranks.recorded == Approx(2.0).epsilon(0.1));
  CHECK(*ranks.fitted_part == Approx(2.0).epsilon(0.1));
  CHECK(ranks.generated == Approx(2.0).epsilon(0.1));
  CHECK(error_of([&] { check_held_back(recording, {.name = "x"}, HoldBack::kSequences, TaskPool(1)); }) ==
        path.string() + ": expected at least two tokens, or sequences, to hold one back; found one");
  const auto json = folder.write("c.json", R"({"logical_count": [[3, 1, 2, 2]]})");
  FitOptions options{.name = "x"};
  options.k = 1;
  CHECK(error_of([&] { check_held_back(open_recording(json), options, HoldBack::kTime, TaskPool(1)); }) ==
        json.string() + ": expected counts of at least two steps, to hold some back, found their sum only");
}
