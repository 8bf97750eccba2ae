#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "models/architecture/mixers.hpp"
#include "models/architecture/released_types.hpp"
#include "models/hardware/data_type.hpp"
#include "sim/config/catalogue.hpp"
#include "sim/config/describe.hpp"
#include "sim/core/error.hpp"

namespace moesim {

/// A feed-forward block that every token runs. Gated (SwiGLU, GEGLU): three matrices, else two.
struct DenseFeedForward {
  static constexpr std::string_view kTag = "dense";
  int intermediate = 0;  ///< 0: none, the layer is its mixer alone
  bool gated = true;
  bool bias = false;  ///< biases on the matrices

  template <class F>
  static void describe(F& f) {
    f.required("intermediate", &DenseFeedForward::intermediate, "Inner width; 0 for no feed-forward",
               Rules::between(0, 1 << 24));
    f.optional("gated", &DenseFeedForward::gated, "Three matrices (SwiGLU, GEGLU) instead of two");
    f.optional("bias", &DenseFeedForward::bias, "Biases on the matrices");
  }
};

/// A sparsely activated feed-forward block: `experts` blocks of inner width `intermediate`, of which a router picks
/// `experts_per_token` for each token, beside what every token runs (shared experts, or a dense residual).
struct MixtureOfExperts {
  static constexpr std::string_view kTag = "moe";
  int experts = 0;
  int experts_per_token = 0;
  int intermediate = 0;  ///< inner width of one expert
  bool gated = true;
  bool bias = false;            ///< biases on the experts' matrices (gpt-oss)
  int shared_intermediate = 0;  ///< inner width of all shared experts, or of the dense residual, together; 0: none
  bool shared_gate = false;     ///< a scalar sigmoid gate on the shared experts (Qwen)
  int groups = 1;               ///< experts come in groups of experts/groups
  int groups_per_token = 1;     ///< groups a token's experts may come from
  std::string router = "softmax-top-k";  ///< `moesim list routers`
  bool router_bias = false;              ///< a bias per expert, on the logits or (DeepSeek-V3) for the selection only
  std::optional<double> capacity_factor = std::nullopt;  ///< at inference; absent: no token is dropped

  template <class F>
  static void describe(F& f) {
    f.required("experts", &MixtureOfExperts::experts, "Routed experts", Rules::between(1, 65536));
    f.required("experts_per_token", &MixtureOfExperts::experts_per_token, "Experts that a token visits (top-k)",
               Rules::between(1, 65536));
    f.required("intermediate", &MixtureOfExperts::intermediate, "Inner width of one expert",
               Rules::between(1, 1 << 24));
    f.optional("gated", &MixtureOfExperts::gated, "Three matrices (SwiGLU, GEGLU) instead of two");
    f.optional("bias", &MixtureOfExperts::bias, "Biases on the experts' matrices");
    f.optional("shared_intermediate", &MixtureOfExperts::shared_intermediate,
               "Inner width of the shared experts (or dense residual) together; 0 for none",
               Rules::between(0, 1 << 24));
    f.optional("shared_gate", &MixtureOfExperts::shared_gate, "Scalar sigmoid gate on the shared experts");
    f.optional("groups", &MixtureOfExperts::groups, "Groups of experts for group-limited routing",
               Rules::between(1, 65536));
    f.optional("groups_per_token", &MixtureOfExperts::groups_per_token, "Groups a token may visit",
               Rules::between(1, 65536));
    f.optional("router", &MixtureOfExperts::router, "Routing algorithm");
    f.optional("router_bias", &MixtureOfExperts::router_bias,
               "A bias per expert, on the logits or for the selection only");
    f.optional("capacity_factor", &MixtureOfExperts::capacity_factor, "Expert capacity at inference; absent: dropless",
               Rules::above_zero());
  }
};

using FeedForward = std::variant<DenseFeedForward, MixtureOfExperts>;

/// One layer: mixer, then feed-forward, each behind a norm and with a residual connection around it.
struct Block {
  Mixer mixer;
  std::optional<GroupedQueryAttention> cross_attention = std::nullopt;  ///< decoder layers of encoder-decoder models
  FeedForward feed_forward;

  template <class F>
  static void describe(F& f) {
    f.required("mixer", &Block::mixer, "What mixes tokens: attention or recurrence");
    f.optional("cross_attention", &Block::cross_attention, "Attention to the encoder's output");
    f.required("feed_forward", &Block::feed_forward, "Dense or mixture of experts");
  }
};
extern template struct DescribedCodec<Block>;

/// Norms in front of mixers and feed-forwards and behind the last layer. RMSNorm learns one vector, LayerNorm two.
enum class Norm { kRms, kLayer, kNone };
template <>
struct EnumNames<Norm> {
  static constexpr auto names = std::to_array<std::pair<Norm, std::string_view>>(
      {{Norm::kRms, "rms"}, {Norm::kLayer, "layer"}, {Norm::kNone, "none"}});
};

enum class Stack { kDecoder, kEncoder };
template <>
struct EnumNames<Stack> {
  static constexpr auto names =
      std::to_array<std::pair<Stack, std::string_view>>({{Stack::kDecoder, "decoder"}, {Stack::kEncoder, "encoder"}});
};

/// A run of layers: the named blocks in order, `repeat` times.
struct LayerRun {
  std::vector<std::string> pattern;
  int repeat = 1;
  Stack stack = Stack::kDecoder;

  template <class F>
  static void describe(F& f) {
    f.required("pattern", &LayerRun::pattern, "Names of blocks, in order", Rules::not_empty());
    f.optional("repeat", &LayerRun::repeat, "How often the pattern is repeated", Rules::between(1, 10000));
    f.optional("stack", &LayerRun::stack, "Encoder or decoder");
  }
};

/// Parameter counts that the authors published.
struct PublishedParameters {
  double total = 0.0;
  std::optional<double> active;  ///< per token
  std::string source;
  bool verified = false;

  template <class F>
  static void describe(F& f) {
    f.required("total", &PublishedParameters::total, "Parameters in all", Rules::above_zero());
    f.optional("active", &PublishedParameters::active, "Parameters that one token uses", Rules::above_zero());
    f.required("source", &PublishedParameters::source, "Where the figures were read");
    f.optional("verified", &PublishedParameters::verified, "Read in the source, not remembered");
  }
};

/// The shape of a model.
struct Architecture {
  std::string name;
  int hidden = 0;
  int vocabulary = 0;            ///< 0: no token embedding (vision models)
  bool tied_embeddings = false;  ///< the LM head is the embedding
  Norm norm = Norm::kRms;
  std::map<std::string, Block> blocks;
  std::vector<LayerRun> layers;
  std::int64_t extra_parameters = 0;  ///< what the shapes do not say: patch and position embeddings, classifier head
  int multi_token_prediction_layers = 0;  ///< depth of MTP modules that ship with the model, not counted in `layers`
  std::optional<DataType> weight_type;    ///< of matrices, as released; absent: bf16 or not known
  std::optional<DataType> expert_weight_type;     ///< of routed experts, where it differs
  std::optional<DataType> attention_weight_type;  ///< of attention and recurrences, where it differs
  std::optional<PublishedParameters> published;
  std::map<std::string, std::string> sources;
  std::vector<std::string> unverified;
  /// What a reader of another format had to take otherwise than it is; for warnings, no part of the file.
  std::vector<std::string> remarks;

  [[nodiscard]] ReleasedTypes released() const { return {weight_type, expert_weight_type, attention_weight_type}; }

  static constexpr std::string_view kDoc = "The shape of a model";
  template <class F>
  static void describe(F& f) {
    f.tag("schema", "moesim.model/1");
    f.required("name", &Architecture::name, "As its authors call it", Rules::not_empty());
    f.required("hidden", &Architecture::hidden, "Width of the residual stream", Rules::between(1, 1 << 20));
    f.required("vocabulary", &Architecture::vocabulary, "Tokens known; 0 where there is no token embedding",
               Rules::between(0, 1 << 26));
    f.optional("tied_embeddings", &Architecture::tied_embeddings, "The LM head shares the embedding's weights");
    f.optional("norm", &Architecture::norm, "Norms between the layers' parts: one vector, two or none");
    f.required("blocks", &Architecture::blocks, "The kinds of layer, by name");
    f.required("layers", &Architecture::layers, "The layers, in order", Rules::not_empty());
    f.optional("extra_parameters", &Architecture::extra_parameters, "Parameters outside the described shapes",
               Rules::at_least(0));
    f.optional("multi_token_prediction_layers", &Architecture::multi_token_prediction_layers,
               "MTP modules that ship with the model, not counted in layers", Rules::between(0, 64));
    f.optional("weight_type", &Architecture::weight_type, "Type in which the matrices are released");
    f.optional("expert_weight_type", &Architecture::expert_weight_type,
               "Type in which the routed experts' are released, where it differs");
    f.optional("attention_weight_type", &Architecture::attention_weight_type,
               "Type in which attention's and recurrences' are released, where it differs");
    f.optional("published", &Architecture::published, "Parameter counts that the authors published");
    f.optional("sources", &Architecture::sources, "Field → source of its figure; \"*\" for all others");
    f.optional("unverified", &Architecture::unverified, "Fields whose figure was not read in a source");
  }
};
extern template struct DescribedCodec<Architecture>;

/// One layer of a model with its place in it.
struct Layer {
  const Block* block;
  Stack stack;
  std::size_t index;                     ///< among all layers
  std::optional<std::size_t> moe_index;  ///< among the MoE layers
  [[nodiscard]] const MixtureOfExperts* moe() const { return std::get_if<MixtureOfExperts>(&block->feed_forward); }
};

/// A validated model with its layers spelled out. Blocks are owned; layers refer to them.
class Model {
 public:
  /// Checks what the schema cannot: blocks that are named exist and are used, k ≤ experts, kv_heads divide heads,
  /// groups divide experts and hold k of them, all MoE layers have the same experts and k (routing is [tokens, layers,
  /// k]), the encoder comes first. Throws ConfigError with all faults; pointers are appended to place.pointer.
  Model(Architecture architecture, const Place& place);
  Model(Model&&) = default;
  Model& operator=(Model&&) = default;

  [[nodiscard]] const Architecture& architecture() const { return architecture_; }
  [[nodiscard]] const std::vector<Layer>& layers() const { return layers_; }
  [[nodiscard]] std::size_t moe_layers() const { return moe_layers_; }
  /// The first MoE layer's shape; absent in a dense model.
  [[nodiscard]] const MixtureOfExperts* moe() const;

 private:
  Architecture architecture_;
  std::vector<Layer> layers_;
  std::size_t moe_layers_ = 0;
};

/// Parameters by part, summed over all layers.
struct ParameterCount {
  double embedding = 0;  ///< token embedding and, unless tied, LM head
  double mixer = 0;      ///< attention with its biases and norms over heads, or recurrence
  double dense_feed_forward = 0;
  double router = 0;
  double experts = 0;
  double shared_experts = 0;
  double norms = 0;  ///< between the layers' parts
  double extra = 0;
  [[nodiscard]] double total() const {
    return embedding + mixer + dense_feed_forward + router + experts + shared_experts + norms + extra;
  }
};

/// Of the model itself, modules of multi-token prediction not counted.
ParameterCount total_parameters(const Model& model);
/// What one token multiplies with: k experts of each MoE layer; the embedding look-up is not counted, the LM head is.
/// In an encoder-decoder model: what a source token and a target token use together.
ParameterCount active_parameters(const Model& model);
/// Weights of one layer's mixer (cross-attention and indexer included), of an indexer, of one expert, of the shared
/// experts, of the router.
double mixer_parameters(const Block& block, int hidden);
double indexer_parameters(const SparseIndexer& indexer, double q_rank, double hidden);
double expert_parameters(const MixtureOfExperts& moe, int hidden);
double shared_expert_parameters(const MixtureOfExperts& moe, int hidden);
double router_parameters(const MixtureOfExperts& moe, int hidden);
double dense_parameters(const DenseFeedForward& dense, int hidden);
/// What a module of multi-token prediction has beside a layer's blocks (DeepSeek-V3 report, arXiv 2412.19437, section
/// 2.2): a projection [2·hidden, hidden], and norms on both of its inputs, in front of the layer's two parts and behind
/// it. Embedding and head are the model's.
double draft_input_parameters(const Model& model);
/// The layer that such a module has, one of the model's last kind; nullptr where the model has no module. DeepSeek-V3
/// and GLM: attention and experts as ever (SGLang, models/deepseek_nextn.py, one DeepseekV2DecoderLayer); Qwen3-Next
/// and Qwen3.5: full attention, the last of each four layers' (qwen3_5_mtp.py, full_attention_interval = 1).
const Layer* draft_layer(const Model& model);

const Catalogue& model_catalogue();
/// Decodes and checks one catalogue entry. Throws ConfigError at `place` when there is none of that name.
Model find_model(std::string_view name, const Place& place);

struct HuggingFaceConfig {
  static constexpr std::string_view kTag = "huggingface";
  static constexpr bool kWrapper = true;
  FilePath value;
};
struct ModelFile {
  static constexpr std::string_view kTag = "file";
  static constexpr bool kWrapper = true;
  FilePath value;
};
struct ModelName {
  static constexpr std::string_view kTag = {};
  static constexpr bool kWrapper = true;
  std::string value;
};
/// How a scenario says which model: "deepseek-v3", {"file": "mine.json"} or {"huggingface": "config.json"}.
using ModelChoice = std::variant<ModelName, ModelFile, HuggingFaceConfig>;

/// Throws ConfigError: unknown name, bad file, an architecture the reader does not know.
Model load_model(const ModelChoice& choice, const Place& place);
/// Reads a Hugging Face config.json: the keys that say the shape, strictly; keys that do not matter here are ignored.
/// Throws ConfigError: unknown model_type, key missing or of the wrong type, a way of quantising that no type stands
/// for.
Architecture read_huggingface_config(const Document& document);
/// The same with a checkpoint whose ways of quantising stand in a file of their own, ModelOpt's hf_quant_config.json.
Architecture read_huggingface_config(const Document& document, const Document& quantization);
/// That file beside a config.json which says nothing of quantising; std::nullopt where there is none.
std::optional<std::filesystem::path> quantization_file_beside(const std::filesystem::path& config);

}  // namespace moesim
