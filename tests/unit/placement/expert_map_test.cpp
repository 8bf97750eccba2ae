#include "sim/placement/formats/expert_map.hpp"

#include <catch2/catch.hpp>
#include <filesystem>

#include "sim/core/error.hpp"
#include "sim/core/file.hpp"
#include "tests/scratch.hpp"

using namespace moesim;

namespace {

class Scratch {
 public:
  Scratch() : path_(moesim::test::scratch_path("moesim-expert-maps")) {
    std::filesystem::remove_all(path_);
    std::filesystem::create_directories(path_);
  }
  ~Scratch() { std::filesystem::remove_all(path_); }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
  std::filesystem::path write(const std::string& name, const std::string& text) const {
    write_file(path_ / name, text);
    return path_ / name;
  }

 private:
  std::filesystem::path path_;
};

/// Two MoE layers, 1 and 2 of three, with 4 experts in 6 slots on 2 ranks.
PlacementProblem problem() {
  PlacementProblem problem{.layers = 2, .experts = 4, .ranks = 2, .redundant = 2};
  problem.model_layers = {1, 2};
  problem.all_layers = 3;
  return problem;
}

Placement placement() {
  return {{layer_of_slots(4, 2, std::vector<std::uint16_t>{3, 0, 1, 2, 0, 3}),
           layer_of_slots(4, 2, std::vector<std::uint16_t>{2, 2, 1, 0, 3, 1})}};
}

std::vector<std::uint16_t> slots(const LayerPlacement& layer) {
  std::vector<std::uint16_t> all;
  for (std::size_t rank = 0; rank < layer.ranks(); ++rank) {
    const auto row = layer.slots_of(RankId(rank));
    all.insert(all.end(), row.begin(), row.end());
  }
  return all;
}

std::string message(const std::filesystem::path& path) {
  try {
    static_cast<void>(read_expert_map(path, problem()));
  } catch (const ConfigError& error) {
    return error.what();
  }
  return "no error";
}

}  // namespace

TEST_CASE("maps are read back as they were written, in every format") {
  const Scratch scratch;
  for (const auto& [format, name] : EnumNames<ExpertMapFormat>::names) {
    INFO(name);
    const std::string file = format == ExpertMapFormat::kTensorRtLlm ? "map.yaml" : std::string(name) + ".json";
    const auto path = scratch.write(file, write_expert_map(placement(), problem(), format));
    const Placement read = read_expert_map(path, problem());
    REQUIRE(read.layers.size() == 2);
    CHECK(slots(read.layers[0]) == slots(placement().layers[0]));
    CHECK(slots(read.layers[1]) == slots(placement().layers[1]));
  }
}

TEST_CASE("maps as the systems' documents show them") {
  CHECK(write_expert_map(placement(), problem(), ExpertMapFormat::kTensorRtLlm) ==
        "num_slots: 6\nlayer_updates_per_iter: 0\ninitial_global_assignments:\n  1: [3, 0, 1, 2, 0, 3]\n"
        "  2: [2, 2, 1, 0, 3, 1]\n");
  // SGLang has a row for the dense layer 0 too.
  CHECK(write_expert_map(placement(), problem(), ExpertMapFormat::kSglang) ==
        "{\"physical_to_logical_map\":[[0,1,2,3,0,1],[3,0,1,2,0,3],[2,2,1,0,3,1]]}\n");
  CHECK(write_expert_map({{placement().layers[0]}}, problem(), ExpertMapFormat::kVllmAscend) ==
        "{\"moe_layer_count\":1,\"layer_list\":[{\"layer_id\":0,\"device_count\":2,\"device_list\":[{\"device_id\":0,"
        "\"device_expert\":[3,0,1]},{\"device_id\":1,\"device_expert\":[2,0,3]}]}]}\n");
  CHECK(write_expert_map({{placement().layers[0]}}, problem(), ExpertMapFormat::kEplb) ==
        "{\"phy2log\":[[3,0,1,2,0,3]],\"log2phy\":[[[1,4],[2,-1],[3,-1],[0,5]]],\"logcnt\":[[2,1,1,2]]}\n");
}

TEST_CASE("a YAML list may go on over lines, with comments and other keys around") {
  const Scratch scratch;
  const auto path = scratch.write("map.yaml",
                                  "# balanced\nnum_slots: 6\ninitial_global_assignments:\n  2: [2, 2, 1,\n"
                                  "      0, 3, 1]  # the last\n  1: [3, 0, 1, 2, 0, 3]\nlayer_updates_per_iter: 2\n");
  const Placement read = read_expert_map(path, problem());
  CHECK(slots(read.layers[0]) == slots(placement().layers[0]));
  CHECK(slots(read.layers[1]) == slots(placement().layers[1]));
}

TEST_CASE("maps that do not fit are errors that say why") {
  const Scratch scratch;
  const auto text = [&](const std::string& name, const std::string& content) {
    const auto path = scratch.write(name, content);
    std::string found = message(path);
    const std::size_t at = found.find(path.string());
    return at == std::string::npos ? found : found.erase(at, path.string().size());
  };
  CHECK(text("a.json", "{\"phy2log\": [[0,1,2,0,1,2],[0,1,2,3,0,1]]}") ==
        "#/phy2log/0: expected a slot for each of the 4 experts, found none for expert 3");
  CHECK(text("b.json", "{\"phy2log\": [[0,1,2,3,0,4],[0,1,2,3,0,1]]}") ==
        "#/phy2log/0: expected experts from 0 to 3, found 4");
  CHECK(text("c.json", "{\"phy2log\": [[0,1,2,3,0],[0,1,2,3,0]]}") ==
        "#/phy2log/0: expected a number of slots that the 2 ranks divide, found 5 slots");
  CHECK(text("d.json", "{\"phy2log\": [[0,1,2,3]]}") ==
        ": expected 2 layers, one for each MoE layer, or all 3 of the model, found 1");
  CHECK(text("e.json", "{\"experts\": []}") ==
        ": expected a map of experts with \"physical_to_logical_map\" (SGLang), \"phy2log\" (EPLB) or \"layer_list\" "
        "(vllm-ascend), or a .yaml of TensorRT-LLM, found the keys \"experts\"");
  CHECK(text("f.yaml", "num_slots: 6\n") ==
        ": expected the key initial_global_assignments of TensorRT-LLM, found none");
  CHECK(text("g.yaml", "initial_global_assignments:\n  1: [0, x]\n") ==
        ": line 2: expected the number of an expert, found \"x\"");
  CHECK(text("h.json",
             "{\"moe_layer_count\":2,\"layer_list\":[{\"layer_id\":0,\"device_count\":1,\"device_list\":[]},"
             "{\"layer_id\":1,\"device_count\":1,\"device_list\":[]}]}") ==
        "#/layer_list/0: expected 2 devices, one for each rank, found 0");
}
