#include "workloads/routing/statistics.hpp"

#include <cmath>
#include <numbers>

#include "tests/unit/routing/fixture.hpp"
#include "workloads/routing/pairs.hpp"
#include "workloads/routing/trace_sample.hpp"

using namespace moesim;

namespace {

CountTrace counts_of(const std::string& json) { return parse_counts("c.json", "{\"logical_count\": " + json + "}"); }

StepRouting routing(std::size_t tokens, std::size_t layers, std::size_t k, std::size_t experts) {
  StepRouting step;
  step.shape = {.tokens = tokens, .layers = layers, .k = k, .experts = experts};
  step.choices.resize(tokens * layers * k);
  return step;
}

void set(StepRouting& step, std::size_t layer, std::size_t token, const std::vector<ExpertIndex>& experts) {
  std::copy(experts.begin(), experts.end(),
            step.choices.begin() + static_cast<std::ptrdiff_t>((layer * step.shape.tokens + token) * step.shape.k));
}

}  // namespace

TEST_CASE("statistics: coefficient of variation, MaxVio and unused experts") {
  // Loads 6, 2, 0, 0: mean 2, variance (16 + 0 + 4 + 4)/4 = 6, MaxVio (6 − 2)/2.
  const LayerStatistics layer = statistics(counts_of("[[6, 2, 0, 0]]")).layers.front();
  CHECK(layer.cv == Approx(std::sqrt(6.0) / 2.0));
  CHECK(layer.max_violation == Approx(2.0));
  CHECK(layer.unused == 2);
}

TEST_CASE("statistics: drift is the share of choices that lie elsewhere") {
  // Two steps, two experts. Step 0: all 4 on the first; step 1: all 4 on the second. Whole: one half each, so in either
  // step half of the choices would have to move. By chance, with n_w = 4 and n = 8: each of the two experts adds
  // ½·√(2/π · ¼ · (1/4 − 1/8)).
  const TraceStatistics result = statistics(counts_of("[[[4, 0]], [[0, 4]]]"));
  REQUIRE(result.steps.size() == 2);
  CHECK(result.steps[0].distance == Approx(0.5));
  CHECK(result.steps[1].distance == Approx(0.5));
  CHECK(result.steps[0].by_chance == Approx(std::sqrt(2.0 / std::numbers::pi / 32.0)));
  CHECK(result.steps[0].choices == 4.0);
  CHECK(result.steps[0].max_over_mean == Approx(2.0));
  CHECK(result.layers[0].drift == Approx(0.5));
  // Summed over steps the layer is balanced.
  CHECK(result.layers[0].max_over_mean == Approx(1.0));
  CHECK(statistics(counts_of("[[4, 4]]")).steps.empty());
}

TEST_CASE("statistics: choices above the capacity are dropped, step by step") {
  // Step 0: loads 7, 1, 0, 0, mean 2; step 1: 2, 2, 2, 2. Factor 1: capacity 2, step 0 drops 5 of all 16; factor 2:
  // capacity 4, 3 of 16; factor 4: capacity 8, none. Padding at factor 1: capacities 16 in all, 11 rows kept: 5/16.
  const TraceStatistics result = statistics(counts_of("[[[7, 1, 0, 0]], [[2, 2, 2, 2]]]"), 2);
  const auto at = [&](double factor) {
    for (const CapacityStatistics& entry : result.capacity) {
      if (entry.capacity_factor == factor) {
        return entry;
      }
    }
    FAIL("a factor that is there");
    return CapacityStatistics{};
  };
  CHECK(at(1.0).dropped_mean == Approx(5.0 / 16.0));
  CHECK(at(1.0).padding == Approx(5.0 / 16.0));
  CHECK(at(2.0).dropped_mean == Approx(3.0 / 16.0));
  CHECK(at(4.0).dropped_mean == 0.0);
  CHECK(at(4.0).padding == Approx(3.0));
  // Capacities are whole: 1.25 · 2 = 2.5 is 3, and 4 are dropped.
  CHECK(at(1.25).dropped_mean == Approx(4.0 / 16.0));
  CHECK(result.tokens_per_step == Approx(4.0));
}

TEST_CASE("statistics: the worst layer drops most") {
  const TraceStatistics result = statistics(counts_of("[[4, 0], [2, 2]]"));
  CHECK(result.capacity.front().capacity_factor == 1.0);
  CHECK(result.capacity.front().dropped_mean == Approx(0.25));
  CHECK(result.capacity.front().dropped_worst == Approx(0.5));
}

TEST_CASE("statistics: capacities of batches see what a whole recording evens out") {
  // Tokens 0, 1 go to expert 0, tokens 2, 3 to expert 1: balanced in all, but each batch of two drops one of its two.
  const std::string file = npy_with_header(npy_header("|u1", "4, 1, 1"), raw<std::uint8_t>({0, 0, 1, 1}));
  const TokenTrace trace = TokenTrace::from_bytes(bytes_of(file), "t.npy");
  const TaskPool pool(2);
  CHECK(capacity_of_batches(trace, 2, pool).front().dropped_mean == Approx(0.5));
  CHECK(capacity_of_batches(trace, 4, pool).front().dropped_mean == 0.0);
  // More tokens than there are: one batch of all.
  CHECK(capacity_of_batches(trace, 100, pool).front().dropped_mean == 0.0);
}

TEST_CASE("pairs: experts that are always chosen together, and the layer after") {
  // Experts 0 and 1 together in half of 8 tokens, 2 and 3 in the other half; the next layer sends the first half to
  // 2 and 3. Each n_e is 4. In a layer: Σ N = 8 over the 6 pairs, all n_e·n_f alike, so x = 8/6 for each; N = 4 for
  // two pairs: lift 3; Σ(N − x)²/x = 2·(8/3)²/(4/3) + 4·(4/3) = 16; chance 6 − 4 = 2; Φ = 14/8.
  StepRouting step = routing(8, 2, 2, 4);
  for (std::size_t token = 0; token < 8; ++token) {
    const bool first = token < 4;
    set(step, 0, token, first ? std::vector<ExpertIndex>{1, 0} : std::vector<ExpertIndex>{2, 3});
    set(step, 1, token, first ? std::vector<ExpertIndex>{3, 2} : std::vector<ExpertIndex>{0, 1});
  }
  const PairStatistics pairs = pair_statistics(step, 3, TaskPool(2));
  CHECK(pairs.tokens == 8);
  REQUIRE(pairs.layers.size() == 2);
  CHECK(pairs.layers[0].within == Approx(14.0 / 8.0));
  // Between layers: Σ N = 8·4 = 32 over 16 cells, x = 4·4/8 = 2; N is 4 in eight of them and 0 in the others:
  // Σ = 16·4/2 = 32; chance 9; Φ = 23/32.
  CHECK(pairs.layers[0].to_next == Approx(23.0 / 32.0));
  CHECK(pairs.layers[1].to_next == 0.0);
  REQUIRE(pairs.within.size() == 3);
  CHECK(pairs.within[0].layer == 0);
  CHECK(pairs.within[0].expert == 0);
  CHECK(pairs.within[0].other == 1);
  CHECK(pairs.within[0].tokens == 4.0);
  CHECK(pairs.within[0].lift == Approx(3.0));
  CHECK(pairs.to_next[0].expert == 0);
  CHECK(pairs.to_next[0].other == 2);
  CHECK(pairs.to_next[0].lift == Approx(2.0));
}

TEST_CASE("pairs: one expert per token has none in a layer") {
  StepRouting step = routing(4, 1, 1, 4);
  const PairStatistics pairs = pair_statistics(step, 3, TaskPool(1));
  CHECK(pairs.layers[0].within == 0.0);
  CHECK(pairs.within.empty());
}

TEST_CASE("pairs: more experts than a table of pairs can have are refused") {
  CHECK(error_of([] { pair_statistics(routing(1, 1, 1, 5000), 1, TaskPool(1)); }) ==
        "pairs of experts are looked at for up to 4096 experts, found 5000");
}

TEST_CASE("trace sample: stretches keep sequences together and say where they begin") {
  // 5000 tokens of one expert each: token t chooses t mod 7. A sample of 2048 is two stretches of 1024 tokens, from
  // 0 and from 2500.
  std::vector<long long> ids;
  for (long long token = 0; token < 5000; ++token) {
    ids.push_back(token % 7);
  }
  const std::string file = npy_with_header(npy_header("|u1", "5000, 1, 1"), raw<std::uint8_t>(ids));
  const TokenTrace trace = TokenTrace::from_bytes(bytes_of(file), "t.npy");
  const TraceSample sample = sample_of(trace, 2048);
  REQUIRE(sample.routing.shape.tokens == 2048);
  CHECK(sample.starts == std::vector<std::size_t>{0, 1024});
  CHECK(sample.routing.choices[1] == 1);
  CHECK(sample.routing.choices[1024] == 2500 % 7);
  CHECK(sample.routing.choices[2047] == 3523 % 7);

  const std::vector<TokenRange> ranges = {{10, 12}, {20, 23}};
  const TraceSample parts = sample_of(trace, ranges, 100);
  REQUIRE(parts.routing.shape.tokens == 5);
  CHECK(parts.starts == std::vector<std::size_t>{0, 2});
  CHECK(parts.routing.choices == std::vector<ExpertIndex>{3, 4, 6, 0, 1});
}
