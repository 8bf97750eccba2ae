#include <catch2/catch.hpp>

#include "models/architecture/architecture.hpp"

namespace moesim {
namespace {

Model model_of(std::string_view name) { return find_model(name, {"test", ""}); }

}  // namespace

TEST_CASE("Mixtral-8x7B has as many parameters as its checkpoint") {
  const Model mixtral = model_of("mixtral-8x7b");
  const ParameterCount count = total_parameters(mixtral);
  CHECK(count.experts == 32.0 * 8 * 3 * 4096 * 14336);               // 45,097,156,608
  CHECK(count.mixer == 32.0 * (2 * 4096 * 4096 + 2 * 4096 * 1024));  //  1,342,177,280
  CHECK(count.embedding == 2.0 * 32000 * 4096);                      //    262,144,000
  CHECK(count.router == 32.0 * 4096 * 8);                            //      1,048,576
  CHECK(count.norms == 65.0 * 4096);                                 //        266,240
  CHECK(count.dense_feed_forward + count.shared_experts + count.extra == 0.0);
  CHECK(count.total() == 46'702'792'704.0);
  // One token runs 2 of 8 experts and the head: the rest without 6/8 of the experts and one embedding matrix.
  CHECK(active_parameters(mixtral).total() == 46'702'792'704.0 - 0.75 * 45'097'156'608.0 - 131'072'000.0);
}

TEST_CASE("DeepSeek-V3: one layer by hand, the main model as published") {
  const Model model = model_of("deepseek-v3");
  const Block& dense = *model.layers().front().block;
  const Block& sparse = *model.layers().back().block;
  // Latent attention, hidden 7168, 128 heads of 128 + 64 (rotary), values 128, ranks 1536 and 512:
  //   queries  7168·1536 + 1536 (norm) + 1536·128·(128+64)           =  11,010,048 + 1,536 + 37,748,736
  //   keys     7168·(512+64) + 512 (norm) + 512·128·(128+128)        =   4,128,768 +   512 + 16,777,216
  //   output   128·128·7168                                          = 117,440,512
  const double attention = 187'107'328.0;
  CHECK(mixer_parameters(dense, 7168) == attention);
  CHECK(mixer_parameters(sparse, 7168) == attention);
  CHECK(dense_parameters(std::get<DenseFeedForward>(dense.feed_forward), 7168) == 3.0 * 7168 * 18432);
  const auto& moe = std::get<MixtureOfExperts>(sparse.feed_forward);
  const double expert = 44'040'192.0;  // 3·7168·2048
  CHECK(expert_parameters(moe, 7168) == expert);
  CHECK(shared_expert_parameters(moe, 7168) == expert);
  CHECK(router_parameters(moe, 7168) == 7168.0 * 256 + 256);  // with the bias for selection
  // 3 dense and 58 MoE layers with two norms each, two embeddings, a last norm: 671,026,419,200.
  const double dense_layer = attention + 396'361'728.0 + 2 * 7168;
  const double moe_layer = attention + 257 * expert + 1'835'264.0 + 2 * 7168;
  const double by_hand = 3 * dense_layer + 58 * moe_layer + 2.0 * 129280 * 7168 + 7168;
  CHECK(by_hand == 671'026'419'200.0);
  CHECK(total_parameters(model).total() == by_hand);
}

// README_WEIGHTS.md of DeepSeek-V3: a module has 11.5 B parameters of its own. The layer of 58 others, 7168·2·7168 and
// norms of both inputs, of its output, and of its two parts.
TEST_CASE("DeepSeek-V3's module of multi-token prediction has a layer of the model's last kind, and a projection") {
  const Model model = model_of("deepseek-v3");
  const Layer* layer = draft_layer(model);
  REQUIRE(layer != nullptr);
  REQUIRE(layer->moe() != nullptr);
  CHECK(draft_input_parameters(model) == 2.0 * 7168 * 7168 + 5.0 * 7168);
  const double module = mixer_parameters(*layer->block, 7168) + router_parameters(*layer->moe(), 7168) +
                        256 * expert_parameters(*layer->moe(), 7168) + shared_expert_parameters(*layer->moe(), 7168) +
                        draft_input_parameters(model);
  CHECK(module == Approx(11.5e9).epsilon(0.01));
  CHECK(draft_layer(model_of("kimi-k2")) == nullptr);
  // Qwen3-Next's has full attention.
  CHECK(std::holds_alternative<GroupedQueryAttention>(draft_layer(model_of("qwen3-next-80b-a3b"))->block->mixer));
}

TEST_CASE("DeepSeek-V3.2 is DeepSeek-V3 with an indexer in every layer") {
  // Queries of 64 heads of 128 from 1536, a key of 128 with its LayerNorm and 64 weights from 7168.
  const double indexer = 1536.0 * 64 * 128 + 7168.0 * 128 + 7168.0 * 64 + 2 * 128;
  CHECK(total_parameters(model_of("deepseek-v3.2")).total() ==
        total_parameters(model_of("deepseek-v3")).total() + 61 * indexer);
  // GLM-5: 32 heads, from 2048 and 6144.
  const Model glm = model_of("glm-5");
  const auto& latent = std::get<LatentAttention>(glm.architecture().blocks.at("moe").mixer);
  CHECK(indexer_parameters(*latent.indexer, 2048, 6144) == 2048.0 * 32 * 128 + 6144.0 * 128 + 6144.0 * 32 + 2 * 128);
}

TEST_CASE("Qwen3-Next: linear attention, gated attention and shared expert make the published count exactly") {
  const Model model = model_of("qwen3-next-80b-a3b");
  // Gated DeltaNet, keys 16·128 = 2048, values 32·128 = 4096: projections q, k, v, gate 2048·(2·2048 + 2·4096);
  // decay and write strength 2048·64 + 64; convolution 4·8192; norm 128; output 4096·2048.
  CHECK(mixer_parameters(*model.layers()[0].block, 2048) == 25'165'824.0 + 131'072 + 64 + 32'768 + 128 + 8'388'608);
  // Attention of 16 heads of 256 with a gate: 2048·2·4096; 2 key and value heads: 2·2048·512; two norms of 256.
  CHECK(mixer_parameters(*model.layers()[3].block, 2048) == 16'777'216.0 + 2'097'152 + 8'388'608 + 512);
  CHECK(total_parameters(model).total() == 79'674'391'296.0);
  // The published active count has both embeddings, ours the head only.
  CHECK(active_parameters(model).total() + 151936.0 * 2048 == 3'874'929'408.0);
}

TEST_CASE("gpt-oss-20b: biases and sinks are counted") {
  // Attention: q 2880·4096 + 4096, k and v 2·(2880·512 + 512), o 4096·2880 + 2880            =  26,550,080
  // Experts: 32·(3·2880·2880 + 2·2880 + 2880); router 2880·32 + 32; sinks 64; norms 2·2880
  const double layer = 26'550'080.0 + 32 * 24'891'840.0 + 92'192 + 64 + 5'760;
  const double by_hand = 24 * layer + 2.0 * 201'088 * 2880 + 2880;
  CHECK(by_hand == 20'914'757'184.0);
  CHECK(total_parameters(model_of("gpt-oss-20b")).total() == by_hand);
  CHECK(total_parameters(model_of("gpt-oss-20b")).extra == 24.0 * 64);
}

TEST_CASE("Phi-3.5-MoE: LayerNorms have two vectors, the head a bias") {
  // Attention 41,943,040 + biases 2·4096 + 2·1024; experts 16·3·4096·6400; router 4096·16; norms 2·2·4096.
  const double layer = 41'953'280.0 + 1'258'291'200.0 + 65'536 + 16'384;
  const double by_hand = 32 * layer + 2.0 * 32064 * 4096 + 2 * 4096 + 32064;
  CHECK(by_hand == 41'873'153'344.0);
  CHECK(total_parameters(model_of("phi-3.5-moe")).total() == by_hand);
}

TEST_CASE("OLMoE: norms over queries and keys are as wide as all heads") {
  const double layer = 4.0 * 2048 * 2048 + 2 * 2048 + 64.0 * 3 * 2048 * 1024 + 2048.0 * 64 + 2 * 2048;
  CHECK(total_parameters(model_of("olmoe-1b-7b")).total() == 16 * layer + 2.0 * 50304 * 2048 + 2048);
}

TEST_CASE("Shazeer 2017: the published count without embedding and softmax") {
  // 4096 experts of 2·512·1024, two LSTM layers of 4·(1024·512 + 512), gate and noise 2·512·4096, first level
  // 2·512·16: 4303.38M, published as 4303.4M.
  const Model model = model_of("moe-4096-h");
  const ParameterCount count = total_parameters(model);
  const double by_hand = 4096.0 * 2 * 512 * 1024 + 2 * 4 * (1024.0 * 512 + 512) + 2.0 * 512 * 4096 + 2.0 * 512 * 16;
  CHECK(count.total() - count.embedding == by_hand);
  CHECK(by_hand == Approx(4303.4e6).epsilon(0.05 / 4303.4));
  CHECK(count.norms == 0.0);
}

TEST_CASE("V-MoE-15B: the shapes make the published count to all its digits") {
  CHECK(total_parameters(model_of("v-moe-15b")).total() == Approx(14705.1e6).epsilon(0.05 / 14705.1));
}

TEST_CASE("Encoder-decoder: the decoder attends twice and each stack ends in a norm") {
  const Model model = model_of("switch-base-128");
  const double attention = 4.0 * 768 * 768;
  CHECK(mixer_parameters(*model.layers().front().block, 768) == attention);
  CHECK(mixer_parameters(*model.layers().back().block, 768) == 2 * attention);
  // 12 encoder layers with two norms, 12 decoder layers with three, two last ones.
  CHECK(total_parameters(model).norms == (12 * 2 + 12 * 3 + 2) * 768.0);
  CHECK(model.moe_layers() == 12);
  CHECK(model.layers()[11].stack == Stack::kEncoder);
  CHECK(model.layers()[12].stack == Stack::kDecoder);
}

}  // namespace moesim
