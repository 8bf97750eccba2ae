#include <catch2/catch.hpp>
#include <filesystem>
#include <fstream>

#include "models/architecture/architecture.hpp"
#include "sim/config/describe.hpp"
#include "sim/config/document.hpp"
#include "sim/core/error.hpp"
#include "tests/scratch.hpp"

namespace moesim {
namespace {

/// A small model: 2 dense layers, then 4 with 8 experts.
Architecture small() {
  const GroupedQueryAttention attention{.heads = 8, .kv_heads = 2, .head_dim = 16};
  Architecture architecture;
  architecture.name = "small";
  architecture.hidden = 128;
  architecture.vocabulary = 1000;
  architecture.blocks["dense"] = {.mixer = attention, .feed_forward = DenseFeedForward{.intermediate = 256}};
  architecture.blocks["moe"] = {
      .mixer = attention, .feed_forward = MixtureOfExperts{.experts = 8, .experts_per_token = 2, .intermediate = 64}};
  architecture.layers = {{.pattern = {"dense"}, .repeat = 2}, {.pattern = {"moe"}, .repeat = 4}};
  return architecture;
}

MixtureOfExperts& moe_of(Architecture& architecture) {
  return std::get<MixtureOfExperts>(architecture.blocks["moe"].feed_forward);
}

/// What the user reads, a line a fault.
std::vector<std::string> faults_of(Architecture architecture) {
  try {
    Model model(std::move(architecture), {"s.json", "/model"});
  } catch (const ConfigError& error) {
    std::vector<std::string> lines;
    for (const Diagnostic& diagnostic : error.diagnostics()) {
      lines.push_back(diagnostic.text());
    }
    return lines;
  }
  return {};
}

using Lines = std::vector<std::string>;

}  // namespace

TEST_CASE("Layers are spelled out in order, MoE layers counted on their own") {
  Architecture architecture = small();
  architecture.layers = {{.pattern = {"dense", "moe"}, .repeat = 3}};
  Model moved(std::move(architecture), {"s.json", ""});
  const Model model = std::move(moved);  // layers go on pointing at blocks
  REQUIRE(model.layers().size() == 6);
  CHECK(model.moe_layers() == 3);
  for (std::size_t i = 0; i < 6; ++i) {
    CHECK(model.layers()[i].index == i);
    CHECK(model.layers()[i].block == &model.architecture().blocks.at(i % 2 == 0 ? "dense" : "moe"));
    CHECK(model.layers()[i].moe_index == (i % 2 == 0 ? std::nullopt : std::optional<std::size_t>(i / 2)));
  }
  CHECK(model.moe()->experts == 8);
}

TEST_CASE("A dense model has no MoE") {
  Architecture architecture = small();
  architecture.layers.pop_back();
  architecture.blocks.erase("moe");
  const Model model(std::move(architecture), {"s.json", ""});
  CHECK(model.moe() == nullptr);
  CHECK(model.moe_layers() == 0);
}

TEST_CASE("All faults of a model are found at once") {
  Architecture architecture = small();
  std::get<GroupedQueryAttention>(architecture.blocks["dense"].mixer).kv_heads = 3;
  moe_of(architecture).experts_per_token = 9;
  moe_of(architecture).shared_gate = true;
  architecture.layers.push_back({.pattern = {"moo"}});
  CHECK(
      faults_of(std::move(architecture)) ==
      Lines{"s.json#/model/blocks/dense/mixer/grouped_query/kv_heads: expected a divisor of the 8 query heads, found 3",
            "s.json#/model/blocks/moe/feed_forward/moe/experts_per_token: expected at most 8 (the experts there are), "
            "found 9",
            "s.json#/model/blocks/moe/feed_forward/moe/shared_gate: expected false without shared experts, found true",
            "s.json#/model/layers/2/pattern/0: expected the name of a block, found \"moo\"; did you mean \"moe\"?"});
}

TEST_CASE("Groups divide the experts and hold the chosen ones") {
  Architecture architecture = small();
  moe_of(architecture).groups = 3;
  CHECK(faults_of(std::move(architecture)) ==
        Lines{"s.json#/model/blocks/moe/feed_forward/moe/groups: expected a divisor of the 8 experts, found 3"});
  architecture = small();
  moe_of(architecture).groups = 4;
  moe_of(architecture).groups_per_token = 5;
  CHECK(faults_of(std::move(architecture)) ==
        Lines{"s.json#/model/blocks/moe/feed_forward/moe/groups_per_token: expected at most 4 (the groups there are), "
              "found 5"});
  architecture = small();
  moe_of(architecture).groups = 8;  // of one expert each: one group cannot hold two
  CHECK(faults_of(std::move(architecture)) ==
        Lines{"s.json#/model/blocks/moe/feed_forward/moe/experts_per_token: expected at most 1 (the experts of a "
              "token's groups), found 2"});
}

TEST_CASE("MoE layers are alike in experts and k; blocks are used; recurrences keep the width") {
  Architecture architecture = small();
  architecture.blocks["wide"] = architecture.blocks["moe"];
  std::get<MixtureOfExperts>(architecture.blocks["wide"].feed_forward).experts = 16;
  architecture.blocks["wide"].mixer = Lstm{.units = 64, .projection = 0};
  CHECK(faults_of(std::move(architecture)) ==
        Lines{"s.json#/model/blocks/wide/mixer/lstm/units: expected an output as wide as the residual stream, 128, "
              "found 64",
              "s.json#/model/blocks/wide: expected a block that a layer names, found one that none does",
              "s.json#/model/blocks/wide/feed_forward/moe/experts: expected 8 as in block \"moe\", found 16"});
}

TEST_CASE("An indexer's queries come from the query latent") {
  Architecture architecture = small();
  LatentAttention latent{.heads = 8,
                         .q_lora_rank = 32,
                         .kv_lora_rank = 16,
                         .qk_nope_head_dim = 8,
                         .qk_rope_head_dim = 8,
                         .v_head_dim = 8,
                         .indexer = SparseIndexer{.heads = 2, .head_dim = 16, .selected = 64}};
  architecture.blocks["moe"].mixer = latent;
  CHECK(faults_of(architecture).empty());
  latent.q_lora_rank = 0;
  architecture.blocks["moe"].mixer = latent;
  CHECK(faults_of(architecture) ==
        Lines{"s.json#/model/blocks/moe/mixer/latent/indexer: expected none where there is no query latent to make its "
              "queries from, found one"});
}

TEST_CASE("Cross-attention needs an encoder, and the encoder comes first") {
  Architecture architecture = small();
  architecture.blocks["moe"].cross_attention = GroupedQueryAttention{.heads = 8, .kv_heads = 8, .head_dim = 16};
  CHECK(faults_of(architecture) ==
        Lines{"s.json#/model/layers/1/pattern/0: expected a block without cross-attention outside a decoder behind an "
              "encoder, found \"moe\""});
  architecture.layers[0].stack = Stack::kEncoder;
  CHECK(faults_of(architecture).empty());
  architecture.layers.push_back({.pattern = {"dense"}, .stack = Stack::kEncoder});
  CHECK(faults_of(architecture) ==
        Lines{"s.json#/model/layers/2/stack: expected the encoder in front of the decoder, found it behind"});
}

TEST_CASE("Layers and embeddings have limits") {
  Architecture architecture = small();
  architecture.vocabulary = 0;
  architecture.tied_embeddings = true;
  architecture.layers[0].repeat = 9996;
  CHECK(faults_of(architecture) == Lines{"s.json#/model/tied_embeddings: expected false in a model without vocabulary, "
                                         "found true"});
  architecture.tied_embeddings = false;
  architecture.layers[0].repeat = 9997;
  CHECK(faults_of(architecture) == Lines{"s.json#/model/layers: expected at most 10000 layers in all, found 10001"});
}

TEST_CASE("A model file is read, and its faults carry its name") {
  const std::filesystem::path path = moesim::test::scratch_path("moesim_model_test.json");
  Json json = Codec<Architecture>::encode(small());
  std::ofstream(path) << json;
  const ModelFile file{{path.string(), path}};
  CHECK(load_model(file, {"s.json", "/model"}).layers().size() == 6);
  json["blocks"]["moe"]["feed_forward"]["moe"]["experts"] = 1;
  std::ofstream(path) << json;
  CHECK_THROWS_WITH(load_model(file, {"s.json", "/model"}),
                    Catch::Contains(path.string() + "#/blocks/moe/feed_forward/moe/experts_per_token"));
  std::filesystem::remove(path);
  CHECK_THROWS_AS(load_model(file, {"s.json", "/model"}), ConfigError);
}

}  // namespace moesim
