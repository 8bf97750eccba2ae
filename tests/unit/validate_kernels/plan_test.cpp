#include "validate/kernels/plan.hpp"

#include <catch2/catch.hpp>
#include <map>
#include <numeric>
#include <set>

#include "sim/core/error.hpp"
#include "validate/kernels/options.hpp"

namespace moesim::bench {
namespace {

TEST_CASE("the plan names each case once, the most valuable first") {
  const std::vector<Case> cases = plan();
  std::set<std::string> ids;
  for (const Case& c : cases) {
    CHECK(ids.insert(c.id).second);
  }
  for (std::size_t i = 1; i < cases.size(); ++i) {
    CHECK(cases[i].level >= cases[i - 1].level);
    if (cases[i].level == cases[i - 1].level) {
      CHECK(cases[i].group >= cases[i - 1].group);
    }
  }
  // Ceilings come before what is held against them.
  CHECK(cases[0].group == Group::kHbm);
  CHECK(ids.contains("gemm/bfloat16/m8192_n8192_k8192"));
  CHECK(ids.contains("experts/deepseek-v3/moesim_mma/fp8_block/t64_ep8_tp1_power_law_1.2"));
  CHECK(ids.contains("experts/deepseek-v3/moesim_mma/bfloat16/t64_ep8_tp1_power_law_1.01"));
}

TEST_CASE("the first level alone is enough for a fit of each kind") {
  // A fit takes at least 40 rows of 3 shapes (validate/fit/calibrate.cpp).
  std::map<std::string, std::pair<std::size_t, std::set<std::int64_t>>> kinds;
  for (const Case& c : plan()) {
    if (c.level > 0) {
      continue;
    }
    if (const auto* const gemm = std::get_if<GemmCase>(&c.shape)) {
      auto& [rows, shapes] = kinds["gemm " + std::string(name_of(gemm->type))];
      ++rows;
      shapes.insert(gemm->n * 1000000 + gemm->k);
    } else if (const auto* const experts = std::get_if<ExpertsCase>(&c.shape)) {
      auto& [rows, shapes] = kinds[std::string(name_of(experts->kernel)) + " " + std::string(name_of(experts->type))];
      ++rows;
      shapes.insert(experts->layer.hidden * 1000 + experts->layer.experts);
    } else if (const auto* const decode = std::get_if<DecodeCase>(&c.shape)) {
      auto& [rows, shapes] = kinds["decode"];
      ++rows;
      shapes.insert(decode->heads * 1000 + decode->kv_heads);
    }
  }
  CHECK(kinds.size() == 8);
  for (const auto& [name, kind] : kinds) {
    INFO(name);
    CHECK(kind.first >= 40);
    CHECK(kind.second.size() >= 3);
  }
}

TEST_CASE("needs follow the formulas of the cost model") {
  const Needs gemm = needs_of(GemmCase{NumberType::kFp8, 64, 4096, 7168});
  CHECK(gemm.flops == 2.0 * 64 * 4096 * 7168);
  CHECK(gemm.bytes == 64.0 * 7168 + 4096.0 * 7168 + 2.0 * 64 * 4096);
  // 10 rows over two of four experts, h 256, i 128: weights of two are read, of four are held.
  const LayerShape layer{"small", 256, 128, 4, 2, RouterScore::kSoftmax, 1, 1};
  const ExpertsCase experts{.layer = layer, .tokens = 5, .rows = {7, 0, 3, 0}};
  const Needs needs = needs_of(experts);
  CHECK(needs.flops == 6.0 * 10 * 256 * 128);
  const double activations = 2.0 * 10 * (256 + 128) + 2.0 * 10 * (2 * 128 + 256) + 4.0 * 10 * 128;
  CHECK(needs.bytes == 2 * 3.0 * 256 * 128 * 2 + activations);
  CHECK(needs.resident == 4 * 3.0 * 256 * 128 * 2 + activations);
  CHECK(needs_of(PrefillCase{1, 2, 3, 3, 128}).flops == 2.0 * 3 * 3 * 256);  // 3 pairs, 3 heads, widths of 256
}

TEST_CASE("patterns match anywhere, with stars for anything") {
  CHECK(matches("hbm", "hbm/read/1MiB"));
  CHECK(matches("read", "hbm/read/1MiB"));
  CHECK(matches("hbm*1MiB", "hbm/read/1MiB"));
  CHECK(matches("*", "hbm"));
  CHECK_FALSE(matches("1MiB*hbm", "hbm/read/1MiB"));
  CHECK_FALSE(matches("gemm", "hbm/read/1MiB"));
  const std::vector<Case> cases = selected(plan(), {"launch", "hbm/read/1MiB"});
  CHECK(cases.size() == 3);
  CHECK_THROWS_WITH(selected(plan(), {"hbm", "nonsense"}),
                    "--only: expected a part of some case's name (--list shows them), found \"nonsense\", which none "
                    "has");
}

TEST_CASE("a replay runs every rank of a layer, and the ranks' rows are the recording's") {
  Routing routing{.tokens = 6, .layers = 3, .k = 6, .experts = {}, .highest = 63};
  for (std::int64_t i = 0; i < routing.tokens * routing.layers * routing.k; ++i) {
    routing.experts.push_back(static_cast<std::int32_t>(i * 7 % 64));
  }
  const auto layer = layer_of(routing);
  REQUIRE(layer);
  CHECK(layer->name == "deepseek-v2-lite");
  const std::vector<Case> cases = replay_plan(routing, {.layer = *layer, .expert_parallel = {8}, .tokens = {4, 100}});
  // 3 layers × 2 batches × 8 ranks × 5 kernels.
  CHECK(cases.size() == 3 * 2 * 8 * 5);
  std::map<std::string, std::int64_t> rows;
  for (const Case& c : cases) {
    const auto& experts = std::get<ExpertsCase>(c.shape);
    CHECK(experts.rows.size() == 8);
    rows[std::to_string(experts.replayed_layer) + " " + std::to_string(experts.tokens) + " " +
         std::string(name_of(experts.kernel)) + std::string(name_of(experts.type))] +=
        std::accumulate(experts.rows.begin(), experts.rows.end(), std::int64_t{0});
  }
  CHECK(rows.size() == 3 * 2 * 5);
  for (const auto& [name, sum] : rows) {
    CHECK((sum == 4 * 6 || sum == 6 * 6));  // a batch is cut to what was recorded
  }
  CHECK_THROWS_WITH(replay_plan(routing, {.layer = find_layer("mixtral-8x7b")}),
                    "--model: expected a layer that chooses 6 of at least 64 experts, found mixtral-8x7b with 2 of 8");
  CHECK_THROWS_WITH(replay_plan(routing, {.layer = *layer, .expert_parallel = {7}}),
                    "--ep: expected ranks that share 64 experts evenly, found 7");
}

TEST_CASE("generated routing is skewed, and each token counts k times") {
  const LayerShape& layer = find_layer("deepseek-v2-lite");
  const auto cases = generated_replay_plan({.layer = layer, .expert_parallel = {1}, .tokens = {500}}, 3);
  const auto& rows = std::get<ExpertsCase>(cases.front().shape).rows;
  REQUIRE(rows.size() == 64);
  CHECK(std::accumulate(rows.begin(), rows.end(), std::int64_t{0}) == 500 * 6);
  CHECK(*std::max_element(rows.begin(), rows.end()) > 2 * 500 * 6 / 64);
  CHECK(*std::max_element(rows.begin(), rows.end()) <= 500);
}

TEST_CASE("options, and what is refused of them") {
  const Options options = parse_options({"--only", "gemm", "--only=moe", "--budget", "60", "--ep", "8,32", "--seed=5",
                                         "--out", "a/b.json", "--tokens=64"});
  CHECK(options.only == std::vector<std::string>{"gemm", "moe"});
  CHECK(options.budget == 60.0);
  CHECK(options.expert_parallel == std::vector<int>{8, 32});
  CHECK(options.seed == 5);
  CHECK(options.out == "a/b.json");
  CHECK(options.tokens == std::vector<std::int64_t>{64});
  CHECK(options.mode == Mode::kMeasure);
  CHECK(parse_options({"--dry-run"}).mode == Mode::kDryRun);
  CHECK_THROWS_WITH(parse_options({"--budget"}), "--budget: expected a value, found none");
  CHECK_THROWS_WITH(parse_options({"--budget", "soon"}), Catch::Contains("found \"soon\""));
  CHECK_THROWS_WITH(parse_options({"--ep", "8,,2"}), Catch::Contains("--ep: expected a number from 1 to 65536"));
  CHECK_THROWS_WITH(parse_options({"--fast"}), "moesim-bench: expected an option that --help names, found \"--fast\"");
  CHECK_THROWS_WITH(find_layer("mixtrall"), Catch::Contains("mixtral-8x7b") && Catch::Contains("found \"mixtrall\""));
}

}  // namespace
}  // namespace moesim::bench
