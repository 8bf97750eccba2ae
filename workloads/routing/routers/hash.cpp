#include <algorithm>
#include <numeric>
#include <queue>

#include "workloads/routing/routers/catalogue.hpp"
#include "workloads/routing/routers/entry.hpp"
#include "workloads/routing/routers/vocabulary.hpp"

namespace moesim {

namespace {

enum class HashTable { kRandom, kBalanced, kClustered };

}  // namespace

template <>
struct EnumNames<HashTable> {
  static constexpr auto names = std::to_array<std::pair<HashTable, std::string_view>>(
      {{HashTable::kRandom, "random"}, {HashTable::kBalanced, "balanced"}, {HashTable::kClustered, "clustered"}});
};

namespace {

struct HashOptions {
  HashTable table = HashTable::kRandom;

  template <class F>
  static void describe(F& f) {
    f.optional("table", &HashOptions::table,
               "random; balanced: the most frequent token to the emptiest expert; clustered: k-means of embeddings");
  }
};

std::vector<ExpertIndex> random_table(const Vocabulary& vocabulary, std::size_t experts, std::uint64_t seed) {
  RandomStream random(seed, "router.hash");
  std::vector<ExpertIndex> table(vocabulary.size());
  for (ExpertIndex& expert : table) {
    expert = static_cast<ExpertIndex>(random.below(experts));
  }
  return table;
}

std::vector<ExpertIndex> balanced_table(const Vocabulary& vocabulary, std::size_t experts) {
  std::vector<std::size_t> order(vocabulary.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](std::size_t a, std::size_t b) { return vocabulary.frequency(a) > vocabulary.frequency(b); });
  using Load = std::pair<double, std::size_t>;
  std::priority_queue<Load, std::vector<Load>, std::greater<>> emptiest;
  for (std::size_t e = 0; e < experts; ++e) {
    emptiest.emplace(0.0, e);
  }
  std::vector<ExpertIndex> table(vocabulary.size());
  for (const std::size_t id : order) {
    const auto [load, expert] = emptiest.top();
    emptiest.pop();
    table[id] = static_cast<ExpertIndex>(expert);
    emptiest.emplace(load + vocabulary.frequency(id), expert);
  }
  return table;
}

/// Lloyd's algorithm from distinct random words; a cluster that loses all of its words keeps its centre.
std::vector<ExpertIndex> clustered_table(const Vocabulary& vocabulary, std::size_t experts, std::uint64_t seed) {
  constexpr int kRounds = 10;
  const std::size_t width = vocabulary.width();
  RandomStream random(seed, "router.clusters");
  std::vector<std::size_t> order(vocabulary.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  random.shuffle(std::span(order));
  std::vector<float> centres;
  for (std::size_t e = 0; e < experts; ++e) {
    const auto word = vocabulary.embedding(order[e % order.size()]);
    centres.insert(centres.end(), word.begin(), word.end());
  }
  std::vector<ExpertIndex> table(vocabulary.size());
  for (int round = 0; round < kRounds; ++round) {
    std::vector<double> sum(experts * width, 0.0);
    std::vector<std::size_t> count(experts, 0);
    for (std::size_t id = 0; id < vocabulary.size(); ++id) {
      const auto word = vocabulary.embedding(id);
      float nearest = std::numeric_limits<float>::infinity();
      for (std::size_t e = 0; e < experts; ++e) {
        float distance = 0.0F;
        for (std::size_t j = 0; j < width; ++j) {
          const float difference = word[j] - centres[e * width + j];
          distance += difference * difference;
        }
        if (distance < nearest) {
          nearest = distance;
          table[id] = static_cast<ExpertIndex>(e);
        }
      }
      ++count[table[id]];
      for (std::size_t j = 0; j < width; ++j) {
        sum[table[id] * width + j] += word[j];
      }
    }
    for (std::size_t i = 0; i < centres.size(); ++i) {
      if (count[i / width] > 0) {
        centres[i] = static_cast<float>(sum[i] / static_cast<double>(count[i / width]));
      }
    }
  }
  return table;
}

/// A fixed table token id → expert, the same in all layers; nothing is learnt and scores do not matter.
class HashRouter final : public TokenRouter {
 public:
  HashRouter(const HashOptions& options, const RouterContext& context) {
    expect_router(context.vocabulary != nullptr, context,
                  "expected tokens whose ids are known, which hash routing goes by; found scores alone");
    switch (options.table) {
      case HashTable::kRandom:
        table_ = random_table(*context.vocabulary, context.experts, context.seed);
        break;
      case HashTable::kBalanced:
        table_ = balanced_table(*context.vocabulary, context.experts);
        break;
      case HashTable::kClustered:
        table_ = clustered_table(*context.vocabulary, context.experts, context.seed);
        break;
    }
  }

  void route(const RouterInput& input, RandomStream&, RoutedTokens& out) const override {
    ensure(input.token_ids.size() == input.tokens, "hash routing knows the tokens' ids");
    out.reset(input, 1);
    out.choices = input.tokens;
    for (std::size_t t = 0; t < input.tokens; ++t) {
      out.experts[t] = table_.at(input.token_ids[t]);
    }
    std::fill(out.weights.begin(), out.weights.end(), 1.0F);
  }

 private:
  std::vector<ExpertIndex> table_;
};

}  // namespace

RouterEntry hash_router() {
  return router_entry<HashOptions, HashRouter>(
      "hash", "", "a fixed table from token to expert",
      "Roller et al. 2021, arXiv 2106.04426; ParlAI, projects/params_vs_compute");
}

}  // namespace moesim
