#include <catch2/catch.hpp>
#include <filesystem>

#include "models/architecture/architecture.hpp"
#include "models/architecture/module_pattern.hpp"
#include "sim/config/describe.hpp"
#include "sim/config/document.hpp"
#include "sim/core/error.hpp"
#include "sim/core/file.hpp"
#include "tests/scratch.hpp"

namespace moesim {
namespace {

const std::filesystem::path kReleases = std::filesystem::path(MOESIM_SOURCE_DIR) / "tests/unit/models/fixtures";

Json release_of(const std::string& name) { return Document::read(kReleases / (name + ".json")).root(); }

Architecture read(const std::string& model, Json quantization) {
  Json config = release_of(model);
  config["quantization_config"] = std::move(quantization);
  return read_huggingface_config(Document::parse("config.json", config.dump()));
}

std::string fault(const std::string& model, Json quantization) {
  try {
    read(model, std::move(quantization));
  } catch (const ConfigError& error) {
    REQUIRE(error.diagnostics().size() == 1);
    return error.diagnostics()[0].text();
  }
  return "";
}

bool matches(std::string_view pattern, std::string_view module) {
  const auto parsed = ModulePattern::parse(pattern);
  REQUIRE(parsed);
  return parsed->matches(module);
}

/// Kimi-K2-Thinking's and K2.5's: routed experts alone are quantised.
Json kimi() {
  return {{"quant_method", "compressed-tensors"},
          {"format", "pack-quantized"},
          {"ignore",
           {"lm_head", "re:.*self_attn.*", "re:.*shared_experts.*", R"(re:.*mlp\.(gate|up|gate_up|down)_proj.*)"}},
          {"config_groups",
           {{"group_0",
             {{"targets", {"Linear"}},
              {"input_activations", nullptr},
              {"weights",
               {{"num_bits", 4}, {"type", "int"}, {"symmetric", true}, {"strategy", "group"}, {"group_size", 32}}}}}}}};
}

/// One group for all matrices.
Json compressed(Json weights, Json activations) {
  return {
      {"quant_method", "compressed-tensors"},
      {"ignore", {"lm_head"}},
      {"config_groups",
       {{"group_0",
         {{"targets", {"Linear"}}, {"input_activations", std::move(activations)}, {"weights", std::move(weights)}}}}}};
}

using Lines = std::vector<std::string>;

}  // namespace

TEST_CASE("Patterns name whole parts of a module's name") {
  constexpr std::string_view kGate = "model.layers.3.mlp.gate_proj";
  CHECK(matches("model.layers.3.mlp.gate_proj", kGate));
  CHECK(matches("model.layers.3.mlp", kGate));
  CHECK(matches("mlp", kGate));
  CHECK_FALSE(matches("gate", kGate));  // a router, no part of an expert
  CHECK_FALSE(matches("model.layers.3.mlp", "model.layers.33.mlp.gate_proj"));
  CHECK_FALSE(matches("lm_head", kGate));
  CHECK(matches("model.layers.*.mlp", kGate));
  CHECK(matches("model.layers.3*", "model.layers.30.self_attn.q_proj"));
  CHECK(matches("self_attn*", "model.layers.30.self_attn.q_proj"));
  CHECK(matches("re:.*mlp.*", kGate));
  CHECK(matches(R"(re:model\.layers\.[0-3]\..*)", kGate));
  CHECK_FALSE(matches("re:mlp", kGate));  // from the beginning on
  CHECK_FALSE(ModulePattern::parse("re:(unclosed"));
  // What would take the matcher years is refused, what configurations have is not.
  for (const char* slow : {"re:(a*)*b", "re:((x|y)z)+", "re:(a|a)*b", "re:([a-z]+)+Z", "re:.*a.*b.*c.*d.*e.*f"}) {
    CAPTURE(slow);
    CHECK_FALSE(ModulePattern::parse(slow));
  }
  for (const char* quick : {"re:.*lm_head", "re:.*mlp.(gate|up|gate_up|down)_proj.*", "re:vision_tower.*",
                            "re:.*\\.layers\\.\\d+\\.mlp\\.experts\\.\\d+\\..*", "re:.*[+*(]_proj$", "re:(a|b)?c"}) {
    CAPTURE(quick);
    CHECK(ModulePattern::parse(quick));
  }
  CHECK_FALSE(ModulePattern::parse("re:" + std::string(1001, '(')));
  // The last * may have to take more than one try: ".up" stands twice.
  CHECK(matches("model.*.up*.up_proj", "model.layers.3.up.up_proj"));
  CHECK_FALSE(matches("model.*.up*.up_proj", "model.layers.3.up_proj"));
  CHECK(matches("*", kGate));
}

TEST_CASE("fp8 is all matrices, in blocks or not, but for those that are left out") {
  const Architecture block =
      read("deepseek-v3", {{"quant_method", "fp8"}, {"fmt", "e4m3"}, {"weight_block_size", {128, 128}}});
  CHECK(block.weight_type == DataType::kFp8Block);
  CHECK_FALSE(block.expert_weight_type);
  CHECK_FALSE(block.attention_weight_type);
  CHECK(block.remarks.empty());
  CHECK(read("deepseek-v3", {{"quant_method", "fp8"}}).weight_type == DataType::kFp8);
  // Routers are called "gate": gate_proj is none.
  const Architecture router =
      read("minimax-m2", {{"quant_method", "fp8"},
                          {"weight_block_size", {128, 128}},
                          {"modules_to_not_convert", {"gate", "e_score_correction_bias", "lm_head"}}});
  CHECK(router.weight_type == DataType::kFp8Block);
  CHECK_FALSE(router.expert_weight_type);
  CHECK(router.remarks.empty());
}

TEST_CASE("gpt-oss: mxfp4 is the routed experts") {
  const Architecture read = read_huggingface_config(Document::read(kReleases / "gpt-oss-20b.json"));
  CHECK_FALSE(read.weight_type);
  CHECK(read.expert_weight_type == DataType::kMxFp4);
  CHECK_FALSE(read.attention_weight_type);
  CHECK(read.remarks.empty());
}

TEST_CASE("Kimi-K2-Thinking: 4-bit integers of the routed experts, all others in 16 bits") {
  const Architecture thinking = read("kimi-k2", kimi());
  CHECK_FALSE(thinking.weight_type);
  CHECK(thinking.expert_weight_type == DataType::kInt4);
  CHECK_FALSE(thinking.attention_weight_type);
  CHECK(thinking.remarks.empty());
  // The same with the language model of Kimi-K2.5, nested and under longer names.
  Json text = release_of("kimi-k2");
  text["quantization_config"] = kimi();
  const Json nested = {{"model_type", "kimi_k25"}, {"text_config", text}, {"vision_config", Json::object()}};
  CHECK(read_huggingface_config(Document::parse("config.json", nested.dump())).expert_weight_type == DataType::kInt4);
}

TEST_CASE("Groups of other lengths than ours are told") {
  const auto four_bits = [](int group, bool symmetric) {
    Json quantization = kimi();
    Json& weights = quantization["config_groups"]["group_0"]["weights"];
    weights["group_size"] = group;
    weights["symmetric"] = symmetric;
    return read("kimi-k2", quantization).remarks;
  };
  // 4 + 16/128 bits; with a zero point 4 + (16 + 4)/128.
  CHECK(four_bits(128, true) ==
        Lines{"4-bit integers of 4.12 bits a weight with their scales are taken as int4, of 4.5"});
  CHECK(four_bits(128, false) ==
        Lines{"4-bit integers of 4.16 bits a weight with their scales are taken as int4, of 4.5"});
  CHECK(read("qwen3-235b-a22b", {{"quant_method", "awq"}, {"bits", 4}, {"group_size", 128}, {"zero_point", true}})
            .remarks == four_bits(128, false));
}

TEST_CASE("vLLM's checkpoints: 8 bits by tensor, channel or block") {
  const Json dynamic = {{"num_bits", 8}, {"type", "float"}, {"dynamic", true}};
  const auto type = [&](Json weights) { return read("qwen3-235b-a22b", compressed(std::move(weights), dynamic)); };
  CHECK(type({{"num_bits", 8}, {"type", "float"}, {"strategy", "channel"}}).weight_type == DataType::kFp8);
  CHECK(type({{"num_bits", 8}, {"type", "float"}, {"strategy", "block"}}).weight_type == DataType::kFp8Block);
  CHECK(type({{"num_bits", 8}, {"type", "int"}, {"strategy", "channel"}}).weight_type == DataType::kInt8);
  CHECK(type({{"num_bits", 8}, {"type", "int"}, {"strategy", "channel"}}).remarks.empty());
  CHECK(read("qwen3-235b-a22b", compressed({{"num_bits", 8}, {"type", "int"}}, nullptr)).remarks ==
        Lines{"weights alone have 8 bits; as int8, products run at the rate of 8-bit inputs"});
  CHECK(type({{"num_bits", 4}, {"type", "float"}, {"group_size", 16}}).weight_type == DataType::kNvFp4);
  CHECK(type({{"num_bits", 4}, {"type", "float"}, {"group_size", 32}}).weight_type == DataType::kMxFp4);
}

TEST_CASE("Groups that name their modules go before those of a class") {
  Json mixed =
      compressed({{"num_bits", 8}, {"type", "float"}, {"strategy", "block"}}, {{"num_bits", 8}, {"type", "float"}});
  mixed["config_groups"]["group_1"] = {{"targets", {R"(re:.*mlp\.experts.*_proj$)"}},
                                       {"input_activations", {{"num_bits", 4}}},
                                       {"weights", {{"num_bits", 4}, {"type", "float"}, {"group_size", 16}}}};
  const Architecture both = read("qwen3-235b-a22b", mixed);
  CHECK(both.weight_type == DataType::kFp8Block);
  CHECK(both.expert_weight_type == DataType::kNvFp4);
  CHECK_FALSE(both.attention_weight_type);
}

TEST_CASE("ModelOpt's checkpoints: attention may be left in 16 bits, layer by layer") {
  Json excluded = {"lm_head", "model.embed_tokens"};
  for (int layer = 0; layer < 61; ++layer) {
    excluded.push_back("model.layers." + std::to_string(layer) + ".self_attn*");
    excluded.push_back("model.layers." + std::to_string(layer) + ".mlp.gate");
  }
  const Json quantization = {
      {"producer", {{"name", "modelopt"}}},
      {"quantization", {{"quant_algo", "NVFP4"}, {"group_size", 16}, {"exclude_modules", excluded}}}};
  // In a file of its own, as nvidia/DeepSeek-V3-0324-NVFP4 has it.
  Json config = release_of("deepseek-v3");
  config.erase("quantization_config");
  const auto beside = [&](const Json& file) {
    return read_huggingface_config(Document::parse("config.json", config.dump()),
                                   Document::parse("hf_quant_config.json", file.dump()));
  };
  const Architecture v3 = beside(quantization);
  CHECK(v3.weight_type == DataType::kNvFp4);
  CHECK(v3.attention_weight_type == DataType::kBf16);
  CHECK_FALSE(v3.expert_weight_type);
  CHECK(v3.remarks.empty());
  // With one layer's attention quantised after all: four of its matrices out of 61 · 4.
  Json but_one = quantization;
  but_one["quantization"]["exclude_modules"].erase(2);
  CHECK(beside(but_one).remarks == Lines{"4 of 244 matrices of attention are not in bf16; all are taken as that"});
  CHECK(beside(but_one).attention_weight_type == DataType::kBf16);
}

TEST_CASE("ModelOpt's mixed checkpoints name a type by module") {
  Json layers = Json::object();
  for (int layer = 0; layer < 94; ++layer) {
    const std::string prefix = "model.layers." + std::to_string(layer);
    layers[prefix + ".mlp.experts"] = {{"quant_algo", "NVFP4"}, {"group_size", 16}};
    for (const char* name : {".self_attn.q_proj", ".self_attn.k_proj", ".self_attn.v_proj", ".self_attn.o_proj"}) {
      layers[prefix + name] = {{"quant_algo", "FP8"}};
    }
  }
  const Architecture mixed =
      read("qwen3-235b-a22b",
           {{"quant_method", "modelopt"}, {"quant_algo", "MIXED_PRECISION"}, {"quantized_layers", layers}});
  CHECK(mixed.weight_type == DataType::kFp8);
  CHECK(mixed.expert_weight_type == DataType::kNvFp4);
  CHECK(mixed.remarks.empty());
}

TEST_CASE("GPTQ leaves out what its dynamic rules name") {
  const Architecture left = read("qwen3-235b-a22b", {{"quant_method", "gptq"},
                                                     {"bits", 4},
                                                     {"group_size", 32},
                                                     {"sym", true},
                                                     {"dynamic", {{"-:.*self_attn.*", Json::object()}}}});
  CHECK_FALSE(left.weight_type);
  CHECK(left.expert_weight_type == DataType::kInt4);
  CHECK(left.remarks.empty());
}

TEST_CASE("What no type stands for is refused") {
  CHECK_THAT(
      fault("qwen3-235b-a22b", {{"quant_method", "bitsandbytes"}, {"load_in_4bit", true}}),
      Catch::StartsWith("config.json#/quantization_config/quant_method: expected one of awq, compressed-tensors, ") &&
          Catch::Contains("found \"bitsandbytes\""));
  CHECK(fault("qwen3-235b-a22b", {{"quant_method", "gptq"}, {"bits", 3}}) ==
        "config.json#/quantization_config/bits: expected weights of 4 or 8 bits, found 3");
  CHECK_THAT(fault("qwen3-235b-a22b", {{"quant_method", "modelopt"}, {"quant_algo", "NVFP44"}}),
             Catch::Contains("found \"NVFP44\"; did you mean \"NVFP4\"?"));
  CHECK(fault("qwen3-235b-a22b", compressed({{"num_bits", 6}, {"type", "float"}}, nullptr)) ==
        "config.json#/quantization_config/config_groups/group_0/weights/num_bits: expected integers of 4 or 8 bits, "
        "floats of 8, or of 4 in groups of 16 or 32, found float of 6 bits in groups of 0");
  CHECK(fault("qwen3-235b-a22b", {{"quant_method", "fp8"}, {"ignore", {"re:(unclosed"}}}) ==
        "config.json#/quantization_config/ignore: expected a regular expression of few repeats, none inside another, "
        "after re:, found \"re:(unclosed\"");
  CHECK(fault("qwen3-235b-a22b",
              {{"quant_method", "modelopt"}, {"quantized_layers", {{"re:(unclosed", {{"quant_algo", "FP8"}}}}}}) ==
        "config.json#/quantization_config/quantized_layers: expected a regular expression of few repeats, none inside "
        "another, after re:, found \"re:(unclosed\"");
}

TEST_CASE("hf_quant_config.json beside a configuration counts where that says nothing itself") {
  const std::filesystem::path folder = moesim::test::scratch_path("moesim-quantization-test");
  std::filesystem::create_directories(folder);
  const std::filesystem::path config = folder / "config.json";
  Json plain = release_of("qwen3-235b-a22b");
  write_file(config, plain.dump());
  CHECK_FALSE(quantization_file_beside(config));
  write_file(folder / "hf_quant_config.json",
             R"({"quantization": {"quant_algo": "FP8", "exclude_modules": ["lm_head"]}})");
  CHECK(quantization_file_beside(config) == folder / "hf_quant_config.json");
  CHECK(load_model(HuggingFaceConfig{{config.string(), config.string()}}, {"test", ""}).architecture().weight_type ==
        DataType::kFp8);
  plain["quantization_config"] = kimi();
  write_file(config, plain.dump());
  CHECK_FALSE(quantization_file_beside(config));
  std::filesystem::remove_all(folder);
}

}  // namespace moesim
