#include <catch2/catch.hpp>
#include <filesystem>

#include "comparisons.hpp"
#include "sim/core/file.hpp"
#include "sim/placement/formats/expert_map.hpp"
#include "tests/scratch.hpp"

using namespace moesim;
using namespace moesim::test;

TEST_CASE("the search is no slower than any other strategy in any layer, nor in the step") {
  for (const char* protocol : {"deepep-low-latency", "deepep-normal"}) {
    INFO(protocol);
    const auto config = comparison(kSmall, {std::string("/dispatch/protocol=\"") + protocol + "\""});
    const PlacementComparison result = compare_placements(config, {"place.json", {}}, TaskPool(2));
    REQUIRE(result.rows.size() == placement_strategies().size());
    const PlacementRow& search = row_of(result, "search", "power_law");
    CHECK(result.step_time_bound.front() <= search.step_time);
    CHECK(result.step_time_bound.front() > 0.3 * search.step_time);  // and says something
    for (const PlacementRow& row : result.rows) {
      INFO(row.strategy);
      CHECK(search.step_time <= row.step_time);
      CHECK(row.bound_gap >= -1e-9);  // nothing beats the bound
      for (std::size_t layer = 0; layer < row.layers.size(); ++layer) {
        CHECK(search.layers[layer].time <= row.layers[layer].time);
      }
    }
    CHECK(search.step_time < row_of(result, "contiguous", "power_law").step_time);
  }
}

TEST_CASE("the same on any number of threads, other with another seed") {
  const auto config = comparison(kSmall);
  const PlacementComparison one = compare_placements(config, {"place.json", {}}, TaskPool(1));
  const PlacementComparison three = compare_placements(config, {"place.json", {}}, TaskPool(3));
  REQUIRE(one.rows.size() == three.rows.size());
  for (std::size_t i = 0; i < one.rows.size(); ++i) {
    CHECK(one.rows[i].strategy == three.rows[i].strategy);
    CHECK(one.rows[i].step_time == three.rows[i].step_time);
    INFO(one.rows[i].strategy);
    const bool same = write_expert_map(one.rows[i].placement, one.problem, ExpertMapFormat::kEplb) ==
                      write_expert_map(three.rows[i].placement, three.problem, ExpertMapFormat::kEplb);
    CHECK(same);
  }
  const PlacementComparison other =
      compare_placements(comparison(kSmall, {"/seed=2"}), {"place.json", {}}, TaskPool(2));
  CHECK(row_of(one, "random", "power_law").step_time != row_of(other, "random", "power_law").step_time);
}

// The sum of layers that start together leaves out only that a rank that is through early may go on early.
TEST_CASE("the step time is that of the whole step within a few percent, and the written map is read back") {
  const auto config = comparison(kSmall, {R"(/strategies=["contiguous", "eplb-global"])"});
  const PlacementComparison result = compare_placements(config, {"place.json", {}}, TaskPool(2));
  const auto folder = moesim::test::scratch_path("moesim-place-map");
  for (const char* strategy : {"contiguous", "eplb-global"}) {
    INFO(strategy);
    const PlacementRow& row = row_of(result, strategy, "power_law");
    write_file(folder / "map.json", write_expert_map(row.placement, result.problem, ExpertMapFormat::kSglang));
    Scenario scenario = scenario_of(config, 0, {"place.json", {}});
    scenario.placement.file = FilePath{"map.json", folder / "map.json"};
    const StepResult run = run_step(scenario, {"scenario", {}}, TaskPool(1));
    CHECK(run.execution.end.duration().base() == Approx(row.step_time).epsilon(0.05));
    CHECK(run.execution.bytes_inter_node == Approx(row.bytes_inter_node).epsilon(1e-9));
    REQUIRE(run.imbalance.size() == row.layers.size());
    for (std::size_t layer = 0; layer < row.layers.size(); ++layer) {
      CHECK(run.imbalance[layer].step == Approx(row.layers[layer].load_imbalance).epsilon(1e-12));
    }
    CHECK(run.inputs.size() == 1);
  }
  std::filesystem::remove_all(folder);
}

TEST_CASE("a scenario's own strategy by load is the comparison's") {
  const auto config = comparison(kSmall, {R"(/strategies=["eplb-global"])"});
  const PlacementComparison result = compare_placements(config, {"place.json", {}}, TaskPool(1));
  Scenario scenario = scenario_of(config, 0, {"place.json", {}});
  scenario.placement.strategy = "eplb-global";
  const PreparedStep step = prepare_step(scenario, {"scenario", {}});
  CHECK(write_expert_map(step.placement, result.problem, ExpertMapFormat::kEplb) ==
        write_expert_map(result.rows[0].placement, result.problem, ExpertMapFormat::kEplb));
}

TEST_CASE("busiest links alone: quicker to work out, and near the flows") {
  const auto flow = compare_placements(comparison(kSmall, {R"(/strategies=["contiguous", "greedy"])"}),
                                       {"place.json", {}}, TaskPool(2));
  const auto bound =
      compare_placements(comparison(kSmall, {R"(/strategies=["contiguous", "greedy"])", "/fidelity=\"bound\""}),
                         {"place.json", {}}, TaskPool(2));
  for (const char* strategy : {"contiguous", "greedy"}) {
    const double ratio = row_of(bound, strategy, "power_law").step_time / row_of(flow, strategy, "power_law").step_time;
    INFO(strategy << ": " << ratio);
    CHECK(ratio > 0.8);
    CHECK(ratio < 1.1);
    CHECK(row_of(bound, strategy, "power_law").bytes_inter_node ==
          Approx(row_of(flow, strategy, "power_law").bytes_inter_node).epsilon(1e-9));
  }
}

TEST_CASE("copies near the token cross the network less, balanced copies leave less imbalance") {
  const auto with = [](const char* choice) {
    return compare_placements(comparison(kSmall, {std::string("/replica_choice=\"") + choice + "\"",
                                                  R"(/strategies=["eplb-global"])"}),
                              {"place.json", {}}, TaskPool(2))
        .rows[0];
  };
  const PlacementRow in_turn = with("in-turn");
  CHECK(with("nearest").bytes_inter_node < in_turn.bytes_inter_node);
  CHECK(with("balanced").imbalance_mean < in_turn.imbalance_mean);
}
