#include <algorithm>
#include <set>

#include "tests/unit/routers/fixture.hpp"

// What holds for every router in the table, whatever its options and scores.

using namespace moesim;
using namespace moesim::test;

namespace {

constexpr std::size_t kAllExperts = 64;
constexpr std::size_t kAllTokens = 256;

/// Routers whose slots are steps of a recursion: a block may come twice.
bool repeats(std::string_view name) { return name == "routing-network"; }

}  // namespace

TEST_CASE("routers: experts are distinct and in range, rows are not overbooked, choices add up") {
  const Vocabulary vocabulary({.words = 500, .width = 4, .zipf = 1.0, .topics = 2, .topic_share = 0.5}, 3);
  RouterContext context = context_of(kAllExperts, 4);
  context.vocabulary = &vocabulary;
  context.groups = 8;
  context.groups_per_token = 4;
  std::vector<std::uint32_t> ids(kAllTokens);
  for (std::size_t t = 0; t < kAllTokens; ++t) {
    ids[t] = static_cast<std::uint32_t>(t * 37 % 500);
  }
  for (const RouterEntry& entry : router_entries()) {
    CAPTURE(entry.name);
    const auto router = entry.make(entry.default_options(), context);
    for (const RouterPhase phase : {RouterPhase::kInference, RouterPhase::kTraining}) {
      for (std::uint64_t seed = 0; seed < 3; ++seed) {
        std::vector<float> scores = random_scores(kAllTokens, kAllExperts, seed, seed == 2 ? Ties::kMany : Ties::kNone);
        for (std::size_t t = 0; t < kAllTokens && seed == 1; ++t) {
          scores[t * kAllExperts + 5] += 6.0F;  // nearly everybody's first choice
        }
        RouterInput input{.tokens = kAllTokens, .experts = kAllExperts, .scores = scores};
        input.token_ids = ids;
        input.phase = phase;
        RandomStream random(seed, "test");
        RoutedTokens routed;
        router->route(input, random, routed);
        REQUIRE(routed.experts.size() == kAllTokens * routed.slots);
        REQUIRE(routed.weights.size() == routed.experts.size());
        std::vector<std::size_t> used(kAllExperts, 0);
        std::size_t filled = 0;
        for (std::size_t t = 0; t < kAllTokens; ++t) {
          std::set<ExpertIndex> seen;
          for (std::size_t i = 0; i < routed.slots; ++i) {
            const ExpertIndex e = routed.token(t)[i];
            if (e == kNoExpert) {
              REQUIRE(routed.weights[t * routed.slots + i] == 0.0F);
              continue;
            }
            REQUIRE(e < kAllExperts);
            REQUIRE((seen.insert(e).second || repeats(entry.name)));
            REQUIRE(routed.weights[t * routed.slots + i] >= 0.0F);
            ++used[e];
            ++filled;
          }
        }
        CHECK(routed.choices == filled + routed.dropped);
        if (const auto rows = router->buffer_rows(kAllTokens, phase)) {
          CHECK(*std::max_element(used.begin(), used.end()) <= *rows);
        }
        // Without weights the choices are the same.
        RandomStream again(seed, "test");
        input.weights = GateWeights::kNotWanted;
        RoutedTokens bare;
        router->route(input, again, bare);
        CHECK(bare.experts == routed.experts);
        CHECK(bare.weights.empty());
      }
    }
  }
}

TEST_CASE("routers: group-limited choices touch no more groups than allowed") {
  for (const auto& [name, experts, groups, allowed] :
       {std::tuple{"deepseek-v3", 256, 8, 4}, std::tuple{"deepseek-v2", 160, 8, 3}}) {
    const auto router = make_router(name, "{}", context_of(static_cast<std::size_t>(experts), 6));
    const std::vector<float> scores = random_scores(2000, static_cast<std::size_t>(experts), 3);
    const RoutedTokens routed = route(*router, scores, static_cast<std::size_t>(experts));
    std::size_t most = 0;
    for (std::size_t t = 0; t < 2000; ++t) {
      std::set<int> touched;
      for (const ExpertIndex e : routed.token(t)) {
        touched.insert(e / (experts / groups));
      }
      most = std::max(most, touched.size());
    }
    CHECK(most == static_cast<std::size_t>(allowed));
  }
}

TEST_CASE("routers: what does not go with the model is an error that says so") {
  CHECK_THROWS_WITH(make_router("deepseek-v3", "{}", context_of(60, 8)),
                    "r.json: expected groups that divide the 60 experts, found 8");
  CHECK_THROWS_WITH(make_router("deepseek-v3", "{}", context_of(16, 9)),
                    "r.json: expected 4 groups of 2 experts to hold the 9 of a token, found too few");
  CHECK_THROWS_WITH(make_router("noisy-top-k", R"({"k": 9})", context_of(8, 2)),
                    "r.json: expected at most the 8 experts, found k = 9");
  CHECK_THROWS_WITH(make_router("hierarchical", R"({"branches": 3})", context_of(8, 2)),
                    "r.json: expected branches that divide the 8 experts, found 3");
}

TEST_CASE("routers: faults in options are found where they are, all at once") {
  try {
    make_router("switch", R"({"capacity_factor": 0, "jiter": 0.1})", context_of(8, 1));
    FAIL("no error");
  } catch (const ConfigError& error) {
    REQUIRE(error.diagnostics().size() == 2);
    CHECK(error.diagnostics()[0].text() ==
          "r.json#/switch/capacity_factor: expected a number, more than 0, found the number 0");
    CHECK(error.diagnostics()[1].text() ==
          "r.json#/switch: expected a known key, found \"jiter\"; did you mean \"jitter\"?");
  }
  CHECK_THROWS_WITH(router_by_name("swich", {"s.json", "/gate"}),
                    "s.json#/gate: expected a router, found \"swich\"; did you mean \"switch\"?");
}

TEST_CASE("routers: names and aliases are unique, and options come back as they went") {
  std::set<std::string_view> names;
  for (const RouterEntry& entry : router_entries()) {
    CAPTURE(entry.name);
    CHECK(names.insert(entry.name).second);
    CHECK((entry.alias.empty() || names.insert(entry.alias).second));
    CHECK_FALSE(entry.summary.empty());
    CHECK_FALSE(entry.source.empty());
    const RouterChoice choice{&entry, entry.default_options()};
    const Document document = Document::parse("r.json", Codec<RouterChoice>::encode(choice).dump());
    std::vector<Diagnostic> faults;
    RouterChoice back;
    REQUIRE(Codec<RouterChoice>::decode(Cursor(document, faults), {}, back));
    CHECK(back.entry == &entry);
    CHECK(back.options == choice.options);
  }
  CHECK(find_router("switch-top-1") == find_router("switch"));
  CHECK(find_router("nothing") == nullptr);
}
