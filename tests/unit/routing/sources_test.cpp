#include <algorithm>
#include <cmath>
#include <map>
#include <set>
#include <span>

#include "sim/core/random.hpp"
#include "tests/unit/routing/fixture.hpp"
#include "workloads/routing/drawn_source.hpp"
#include "workloads/routing/recorded_source.hpp"
#include "workloads/routing/statistics.hpp"

using namespace moesim;

namespace {

/// `tokens` tokens whose only choice in the only layer is their own number.
std::string numbered(long long tokens) {
  std::vector<long long> ids;
  for (long long i = 0; i < tokens; ++i) {
    ids.push_back(i);
  }
  return npy_with_header(npy_header("<u2", std::to_string(tokens) + ", 1, 1"), raw<std::uint16_t>(ids));
}

CountTrace skewed_counts(std::size_t layers, std::size_t experts, double spread) {
  RandomStream random(11, "sources-test");
  CountTrace counts{.layers = layers, .experts = experts, .counts = {}, .file_layers = {}, .name = "c.json"};
  for (std::size_t layer = 0; layer < layers; ++layer) {
    counts.file_layers.push_back(layer);
    for (std::size_t e = 0; e < experts; ++e) {
      counts.counts.push_back(std::exp(spread * random.normal()));
    }
  }
  return counts;
}

void check_distinct(const StepRouting& step) {
  for (std::size_t layer = 0; layer < step.shape.layers; ++layer) {
    for (std::size_t token = 0; token < step.shape.tokens; ++token) {
      const auto row = step.token(layer, token);
      const std::set<ExpertIndex> experts(row.begin(), row.end());
      REQUIRE(experts.size() == step.shape.k);
      REQUIRE(*experts.rbegin() < step.shape.experts);
    }
  }
}

std::size_t most_groups(const StepRouting& step, std::size_t group_size) {
  std::size_t most = 0;
  for (std::size_t layer = 0; layer < step.shape.layers; ++layer) {
    for (std::size_t token = 0; token < step.shape.tokens; ++token) {
      std::set<std::size_t> groups;
      for (const ExpertIndex expert : step.token(layer, token)) {
        groups.insert(expert / group_size);
      }
      most = std::max(most, groups.size());
    }
  }
  return most;
}

/// Σ z² / experts over experts of a layer: 1 when counts are binomial with the probabilities asked for.
double chi_squared_per_expert(const StepRouting& step, std::span<const double> counts, std::size_t layer) {
  std::vector<double> drawn(step.shape.experts, 0.0);
  for (const ExpertIndex expert : step.layer(layer)) {
    drawn[expert] += 1.0;
  }
  double total = 0.0;
  for (const double count : counts) {
    total += count;
  }
  const auto tokens = static_cast<double>(step.shape.tokens);
  double sum = 0.0;
  for (std::size_t e = 0; e < counts.size(); ++e) {
    const double p = static_cast<double>(step.shape.k) * counts[e] / total;
    const double z = (drawn[e] - tokens * p) / std::sqrt(tokens * p * (1.0 - p));
    sum += z * z / static_cast<double>(counts.size());
  }
  return sum;
}

}  // namespace

TEST_CASE("recorded: as many decode tokens as there are take each recorded token once") {
  const std::string file = numbered(1000);
  const RecordedSource source(TokenTrace::from_bytes(bytes_of(file), "t.npy"));
  for (const std::uint64_t seed : {1U, 2U, 3U}) {
    std::vector<std::size_t> chosen = source.choose(decode_batch(1000), seed);
    std::sort(chosen.begin(), chosen.end());
    for (std::size_t i = 0; i < chosen.size(); ++i) {
      REQUIRE(chosen[i] == i);
    }
  }
}

TEST_CASE("recorded: decode tokens are spread evenly over the recording") {
  // 1000 recorded, 8 asked: neighbours are ⌊(i+1)·125⌋ − ⌊i·125⌋ = 125 apart, around the end too.
  const std::string file = numbered(1000);
  const RecordedSource source(TokenTrace::from_bytes(bytes_of(file), "t.npy"));
  const std::vector<std::size_t> chosen = source.choose(decode_batch(8), 4);
  for (std::size_t i = 1; i < chosen.size(); ++i) {
    CHECK((chosen[i] + 1000 - chosen[i - 1]) % 1000 == 125);
  }
  CHECK(source.choose(decode_batch(8), 5) != chosen);
}

TEST_CASE("recorded: prefill takes runs, each from the beginning of a recorded sequence") {
  const Folder folder("runs");
  const auto path = folder.write("t.npy", numbered(100));
  TraceOptions options;
  options.sequence_lengths = folder.write("l.json", "[30, 20, 50]");
  const RecordedSource source(TokenTrace::open(path, options));
  TokenBatch batch;
  append_run(batch, 0, 10);
  append_run(batch, 1, 25);
  append_run(batch, 2, 10);
  for (std::uint64_t seed = 0; seed < 10; ++seed) {
    const std::vector<std::size_t> chosen = source.choose(batch, seed);
    const std::set<std::size_t> starts = {0, 30, 50};
    for (const auto& [first, count] : {std::pair{0, 10}, std::pair{10, 25}, std::pair{35, 10}}) {
      CHECK(starts.count(chosen[static_cast<std::size_t>(first)]) == 1);
      for (int i = 1; i < count; ++i) {
        const auto at = static_cast<std::size_t>(first + i);
        CHECK(chosen[at] == (chosen[at - 1] + 1) % 100);
      }
    }
  }
}

TEST_CASE("recorded: without sequences, prefill of all tokens takes each once and in order") {
  const std::string file = numbered(64);
  const RecordedSource source(TokenTrace::from_bytes(bytes_of(file), "t.npy"));
  TokenBatch batch;
  append_run(batch, 0, 40);
  append_run(batch, 1, 24);
  const std::vector<std::size_t> chosen = source.choose(batch, 7);
  for (std::size_t i = 1; i < chosen.size(); ++i) {
    CHECK(chosen[i] == (chosen[i - 1] + 1) % 64);
  }
}

TEST_CASE("recorded: the choices are those of the file, reuse is said") {
  const std::string file = numbered(10);
  const RecordedSource source(TokenTrace::from_bytes(bytes_of(file), "t.npy"));
  const TaskPool pool(1);
  const StepRouting step = source.draw(decode_batch(10), 1, pool);
  CHECK(step.warnings.empty());
  const std::vector<std::size_t> chosen = source.choose(decode_batch(10), 1);
  for (std::size_t i = 0; i < 10; ++i) {
    CHECK(step.token(0, i)[0] == chosen[i]);
  }
  // 25 tokens from 10 recorded: every one twice, half of them three times.
  const StepRouting more = source.draw(decode_batch(25), 1, pool);
  REQUIRE(more.warnings.size() == 1);
  CHECK(more.warnings[0] ==
        "t.npy: the step has 25 tokens and the recording 10; a recorded token is used up to 3 times");
  CHECK(source.provenance() == "recorded choices of 10 tokens in t.npy");
}

TEST_CASE("counts: a million tokens meet the recorded shares to within sampling noise") {
  const CountTrace counts = skewed_counts(1, 64, 0.9);
  const TaskPool pool(2);
  for (const GroupLimit limit : {GroupLimit{}, GroupLimit{8, 4}}) {
    const auto source = DrawnSource::from_counts(counts, 6, limit);
    const StepRouting step = source->draw(decode_batch(1000000), 5, pool);
    CHECK(step.warnings.empty());
    // Σz²/64 has mean 1 − (a little: counts add up) and standard deviation √(2/64) = 0.18. A bias of 0.5 % in every
    // share would add 10⁶·π·0.005² ≈ 2.
    const double per_expert = chi_squared_per_expert(step, counts.layer(0), 0);
    CHECK(per_expert < 1.0 + 5.0 * 0.18);
    CHECK(per_expert > 1.0 - 5.0 * 0.18);
    if (limit.limits()) {
      CHECK(most_groups(step, 8) == 4);
    }
  }
}

TEST_CASE("counts: a share that no k experts per token can give is an error") {
  const CountTrace counts{.layers = 1, .experts = 4, .counts = {70, 10, 10, 10}, .file_layers = {3}, .name = "c.json"};
  CHECK(error_of([&] { DrawnSource::from_counts(counts, 2, {}); }) ==
        "c.json: in layer 3 expert 0 received 70 % of all choices, but with 2 experts per token no expert can receive "
        "more than 50 %: are these counts of another model?");
  // Half of all choices is an expert that every token visits.
  const CountTrace edge{.layers = 1, .experts = 4, .counts = {3, 1, 1, 1}, .file_layers = {3}, .name = "c.json"};
  const StepRouting step = DrawnSource::from_counts(edge, 2, {})->draw(decode_batch(2000), 1, TaskPool(1));
  std::size_t zeros = 0;
  for (const ExpertIndex expert : step.choices) {
    zeros += expert == 0 ? 1 : 0;
  }
  CHECK(zeros == 2000);
}

TEST_CASE("drawn: distinct experts, the same bytes on any number of threads, other bytes for another seed") {
  const auto source = DrawnSource::from_counts(skewed_counts(5, 32, 1.0), 4, {});
  const StepRouting one = source->draw(decode_batch(300), 9, TaskPool(1));
  const StepRouting four = source->draw(decode_batch(300), 9, TaskPool(4));
  check_distinct(one);
  CHECK(one.choices == four.choices);
  CHECK(one.choices != source->draw(decode_batch(300), 10, TaskPool(1)).choices);
  REQUIRE(source->recorded_counts());
  CHECK(source->recorded_counts()->layers == 5);
}

TEST_CASE("uniform: every expert as likely, and all of them when k is all") {
  const RoutingShape shape{.tokens = 0, .layers = 2, .k = 4, .experts = 16};
  const auto source = DrawnSource::uniform(shape, {});
  const StepRouting step = source->draw(decode_batch(50000), 3, TaskPool(1));
  check_distinct(step);
  const std::vector<double> alike(16, 1.0);
  CHECK(chi_squared_per_expert(step, alike, 1) < 1.0 + 5.0 * std::sqrt(2.0 / 16.0));
  CHECK_FALSE(source->recorded_counts());
  const auto everything = DrawnSource::uniform({.tokens = 0, .layers = 1, .k = 8, .experts = 8}, {});
  check_distinct(everything->draw(decode_batch(100), 3, TaskPool(1)));
}

TEST_CASE("balanced: after any number of tokens no expert is more than one ahead") {
  const TaskPool pool(1);
  for (const auto& [experts, k] : {std::pair{256U, 8U}, std::pair{60U, 4U}, std::pair{7U, 3U}, std::pair{5U, 5U}}) {
    const BalancedSource source({.tokens = 0, .layers = 2, .k = k, .experts = experts}, {});
    for (const std::size_t tokens : {1U, 13U, 64U, 1000U}) {
      const StepRouting step = source.draw(decode_batch(tokens), 2, pool);
      check_distinct(step);
      for (std::size_t layer = 0; layer < 2; ++layer) {
        std::vector<int> load(experts, 0);
        for (const ExpertIndex expert : step.layer(layer)) {
          ++load[expert];
        }
        const auto [least, most] = std::minmax_element(load.begin(), load.end());
        CHECK(*most - *least <= 1);
      }
    }
  }
}

TEST_CASE("balanced: a group limit is kept, at most two ahead") {
  const BalancedSource source({.tokens = 0, .layers = 1, .k = 8, .experts = 256}, {8, 4});
  const StepRouting step = source.draw(decode_batch(1000), 2, TaskPool(1));
  check_distinct(step);
  CHECK(most_groups(step, 32) == 4);
  std::vector<int> load(256, 0);
  for (const ExpertIndex expert : step.choices) {
    ++load[expert];
  }
  const auto [least, most] = std::minmax_element(load.begin(), load.end());
  CHECK(*most - *least <= 2);
}

TEST_CASE("power law: the loads follow the distribution function") {
  // u = (x^(1−α) − xmin^(1−α))/(xmax^(1−α) − xmin^(1−α)) is uniform: mean ½ ± 5/√(12·n).
  constexpr std::size_t kCount = 20000;
  for (const double alpha : {0.5, 1.01, 1.2, 2.0}) {
    RandomStream random(3, "power-law-test");
    const std::vector<double> loads = power_law_loads(alpha, 1.0, 3276.8, kCount, random);
    const double low = 1.0;
    const double high = std::pow(3276.8, 1.0 - alpha);
    double mean = 0.0;
    for (const double load : loads) {
      REQUIRE(load >= 1.0 - 1e-9);
      REQUIRE(load <= 3276.8 * (1.0 + 1e-9));
      mean += (std::pow(load, 1.0 - alpha) - low) / (high - low) / kCount;
    }
    CHECK(mean == Approx(0.5).margin(5.0 / std::sqrt(12.0 * kCount)));
  }
  RandomStream one(3, "power-law-test");
  RandomStream near(3, "power-law-test");
  const std::vector<double> limit = power_law_loads(1.0, 1.0, 100.0, 10, one);
  const std::vector<double> beside = power_law_loads(1.0 + 1e-6, 1.0, 100.0, 10, near);
  for (std::size_t i = 0; i < 10; ++i) {
    CHECK(limit[i] == Approx(beside[i]).epsilon(1e-4));
  }
}
