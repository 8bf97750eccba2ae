#include <algorithm>
#include <catch2/catch.hpp>
#include <filesystem>

#include "models/architecture/architecture.hpp"
#include "sim/config/describe.hpp"
#include "sim/config/document.hpp"
#include "sim/core/error.hpp"

namespace moesim {
namespace {

const std::filesystem::path kFixtures = std::filesystem::path(MOESIM_SOURCE_DIR) / "tests/unit/models/fixtures";

Model fixture(const std::string& name) {
  return Model(read_huggingface_config(Document::read(kFixtures / (name + ".json"))), {name, ""});
}

/// A layer as JSON, without what a configuration does not say: the capacity at inference.
Json shape_of(const Layer& layer) {
  Json json = Codec<Block>::encode(*layer.block);
  if (layer.moe() != nullptr) {
    json["feed_forward"]["moe"].erase("capacity_factor");
  }
  return json;
}

Json config_of(const std::string& name) { return Document::read(kFixtures / (name + ".json")).root(); }

std::vector<std::string> faults_of(const Json& config) {
  try {
    read_huggingface_config(Document::parse("config.json", config.dump()));
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

TEST_CASE("A Hugging Face configuration gives the layers of the catalogue's entry") {
  const auto name = GENERATE(as<std::string>(), "arctic-480b", "dbrx", "deepseek-v2", "deepseek-v2-lite", "deepseek-v3",
                             "deepseek-v3.2", "glm-4.5", "gpt-oss-20b", "gpt-oss-120b", "kimi-k2",
                             "llama4-maverick-17b-128e", "llama4-scout-17b-16e", "minimax-m1", "minimax-m2",
                             "mixtral-8x7b", "olmoe-1b-7b", "phi-3.5-moe", "qwen1.5-moe-a2.7b", "qwen3-235b-a22b",
                             "qwen3-next-80b-a3b", "glm-5", "glm-4.7-flash", "kimi-k2-thinking", "qwen3.5-397b-a17b");
  INFO(name);
  const Model read = fixture(name);
  const Model known = find_model(name, {"test", ""});
  REQUIRE(read.layers().size() == known.layers().size());
  for (std::size_t i = 0; i < known.layers().size(); ++i) {
    INFO("layer " << i);
    REQUIRE(shape_of(read.layers()[i]) == shape_of(known.layers()[i]));
  }
  CHECK(read.architecture().layers.size() <= 2);
  CHECK(total_parameters(read).total() == total_parameters(known).total());
  CHECK(active_parameters(read).total() == active_parameters(known).total());
  CHECK(read.architecture().multi_token_prediction_layers == known.architecture().multi_token_prediction_layers);
  CHECK(read.architecture().expert_weight_type == known.architecture().expert_weight_type);
  CHECK(read.architecture().remarks.empty());
}

TEST_CASE("Dense models have as many parameters as their checkpoints") {
  // Per layer: attention h·(heads + 2·kv_heads)·d + heads·d·h, three matrices h·f, two norms h; twice the vocabulary
  // times h; a last norm.
  // Llama: 41,943,040 + 176,160,768 + 8,192, 32 layers; 2·128256·4096 + 4096.
  CHECK(total_parameters(fixture("llama-3-8b")).total() == 8'030'261'248.0);
  // Mistral: the same layers; 2·32000·4096 + 4096. Every layer has the window.
  const Model mistral = fixture("mistral-7b");
  CHECK(total_parameters(mistral).total() == 7'241'732'096.0);
  CHECK(std::get<GroupedQueryAttention>(mistral.layers()[0].block->mixer).window == 4096);
  // Qwen2: 29,360,128 + biases 3584 + 2·512 + 203,685,888 + 7,168, 28 layers; 2·152064·3584 + 3584.
  const Model qwen2 = fixture("qwen2-7b");
  CHECK(total_parameters(qwen2).total() == 7'615'616'512.0);
  CHECK_FALSE(std::get<GroupedQueryAttention>(qwen2.layers()[0].block->mixer).window);
  // Qwen3: 41,943,040 + norms 2·128 + 150,994,944 + 8,192, 36 layers; 2·151936·4096 + 4096.
  CHECK(total_parameters(fixture("qwen3-8b")).total() == 8'190'735'360.0);
}

TEST_CASE("Tied embeddings are counted once") {
  Json config = config_of("llama-3-8b");
  config["tie_word_embeddings"] = true;
  const Model tied(read_huggingface_config(Document::parse("config.json", config.dump())), {"config.json", ""});
  CHECK(total_parameters(tied).total() == 8'030'261'248.0 - 128256.0 * 4096);
}

TEST_CASE("Layers without experts: mlp_only_layers and decoder_sparse_step") {
  Json config = config_of("qwen3-235b-a22b");
  config["num_hidden_layers"] = 6;
  config["decoder_sparse_step"] = 2;  // experts in layers 1, 3, 5
  config["mlp_only_layers"] = {3};    // and not in 3
  config["intermediate_size"] = 12288;
  const Model model(read_huggingface_config(Document::parse("config.json", config.dump())), {"config.json", ""});
  std::string sparse;
  for (const Layer& layer : model.layers()) {
    sparse += layer.moe() != nullptr ? 'E' : '-';
  }
  CHECK(sparse == "-E---E");
  config.erase("intermediate_size");
  CHECK(faults_of(config) == Lines{"config.json: expected the key \"intermediate_size\", found none"});
}

TEST_CASE("Needed keys are strict, and all faults are found at once") {
  Json config = config_of("deepseek-v3");
  config.erase("n_routed_experts");
  config["hidden_size"] = "7168";
  config["kv_lora_rank"] = 512.0;
  config["tie_word_embeddings"] = 0;
  const Lines faults = faults_of(config);
  const auto has = [&](const std::string& line) {
    return std::find(faults.begin(), faults.end(), line) != faults.end();
  };
  CHECK(has("config.json: expected the key \"n_routed_experts\", found none"));
  CHECK(has("config.json#/hidden_size: expected a whole number, found \"7168\""));
  CHECK(has("config.json#/kv_lora_rank: expected a whole number, found the number 512.0"));
  CHECK(has("config.json#/tie_word_embeddings: expected true or false, found the number 0"));
  CHECK(faults.size() == 4);
}

TEST_CASE("Lists for each layer have one entry a layer, of a known kind") {
  Json config = config_of("gpt-oss-20b");
  config["layer_types"].erase(0);
  CHECK(faults_of(config) == Lines{"config.json#/layer_types: expected one kind for each of 24 layers, found 23"});
  config = config_of("gpt-oss-20b");
  config["layer_types"][2] = "sliding_attentoin";
  CHECK(faults_of(config) == Lines{"config.json#/layer_types/2: expected one of sliding_attention, full_attention, "
                                   "found \"sliding_attentoin\"; did you mean \"sliding_attention\"?"});
  config = config_of("minimax-m1");
  config.erase("attn_type_list");
  CHECK(faults_of(config) ==
        Lines{"config.json: expected the key \"attn_type_list\" or \"layer_types\", found neither"});
}

TEST_CASE("Layers that read what another layer's indexer selected are refused") {
  Json config = config_of("glm-5");
  config["index_topk_freq"] = 4;
  config["indexer_types"] = {"full", "shared"};
  CHECK(faults_of(config) ==
        Lines{"config.json#/index_topk_freq: expected 1: layers that use the selection of another are not modelled",
              "config.json#/indexer_types: expected no \"shared\": layers that use the selection of another are not "
              "modelled"});
}

TEST_CASE("A nested configuration is named in faults") {
  Json config = config_of("llama4-scout-17b-16e");
  config["text_config"]["num_local_experts"] = -1;
  CHECK(
      faults_of(config) ==
      Lines{
          "config.json#/text_config/num_local_experts: expected a whole number, 1 to 1073741824, found the number -1"});
}

TEST_CASE("An unknown model_type lists the known ones") {
  CHECK_THAT(faults_of({{"model_type", "mixtrall"}}).at(0),
             Catch::StartsWith("config.json#/model_type: expected one of arctic, dbrx, ") &&
                 Catch::Contains("found \"mixtrall\"; did you mean \"mixtral\"?"));
  CHECK(faults_of(Json::object()) == Lines{"config.json: expected the key \"model_type\", found none"});
  CHECK(faults_of(Json::array()) == Lines{"config.json: expected an object, found an array of 0"});
}

}  // namespace moesim
