#include "models/architecture/part_types.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <map>
#include <optional>
#include <span>
#include <string_view>

namespace moesim {

namespace {

/// A matrix of a layer, under the names that families and servers (which fuse some) give it.
using Names = std::vector<std::string>;

Names joined(std::span<const std::string_view> modules, std::span<const std::string_view> matrices) {
  Names names;
  for (const std::string_view module : modules) {
    for (const std::string_view matrix : matrices) {
      names.push_back(fmt::format("{}.{}", module, matrix));
    }
  }
  return names;
}

constexpr auto kAttention = std::to_array<std::string_view>({"self_attn"});
constexpr auto kRecurrent = std::to_array<std::string_view>({"linear_attn", "self_attn"});
constexpr auto kDense = std::to_array<std::string_view>({"mlp", "feed_forward"});
constexpr auto kShared = std::to_array<std::string_view>(
    {"mlp.shared_experts", "mlp.shared_expert", "feed_forward.shared_expert", "block_sparse_moe.shared_experts"});
constexpr auto kExperts =
    std::to_array<std::string_view>({"mlp.experts.0", "block_sparse_moe.experts.0", "feed_forward.experts.0",
                                     "mlp.experts", "block_sparse_moe.experts", "feed_forward.experts"});
constexpr auto kQuery = std::to_array<std::string_view>({"q_proj", "q_b_proj", "qkv_proj"});
constexpr auto kKey = std::to_array<std::string_view>({"k_proj", "kv_a_proj_with_mqa", "qkv_proj"});
constexpr auto kValue = std::to_array<std::string_view>({"v_proj", "kv_b_proj", "qkv_proj"});
constexpr auto kOutput = std::to_array<std::string_view>({"o_proj"});
constexpr auto kIn = std::to_array<std::string_view>({"in_proj_qkv", "in_proj_qkvz", "qkv_proj"});
constexpr auto kOut = std::to_array<std::string_view>({"out_proj"});
constexpr auto kGate = std::to_array<std::string_view>({"gate_proj", "gate_up_proj", "w1"});
constexpr auto kUp = std::to_array<std::string_view>({"up_proj", "gate_up_proj", "w3"});
constexpr auto kDown = std::to_array<std::string_view>({"down_proj", "w2"});

std::vector<Names> feed_forward_matrices(std::span<const std::string_view> modules) {
  return {joined(modules, kGate), joined(modules, kUp), joined(modules, kDown)};
}

std::vector<Names> mixer_matrices(const Mixer& mixer) {
  if (std::holds_alternative<LinearAttention>(mixer)) {
    return {joined(kRecurrent, kIn), joined(kRecurrent, kOut)};
  }
  return {joined(kAttention, kQuery), joined(kAttention, kKey), joined(kAttention, kValue),
          joined(kAttention, kOutput)};
}

/// A part of the model, how many of its matrices have which type (std::nullopt: left alone), and its parameters.
struct Part {
  std::string_view name;
  std::map<std::optional<DataType>, int> matrices = {};
  double parameters = 0.0;

  [[nodiscard]] std::optional<DataType> usual() const {
    const auto most = std::max_element(matrices.begin(), matrices.end(),
                                       [](const auto& a, const auto& b) { return a.second < b.second; });
    return most == matrices.end() ? std::nullopt : most->first;
  }
};

class PartTypes {
 public:
  explicit PartTypes(const Quantization& quantization) : quantization_(quantization) {}

  void add(const Architecture& architecture) {
    int index = 0;
    for (const LayerRun& run : architecture.layers) {
      for (int i = 0; i < run.repeat; ++i) {
        for (const std::string& name : run.pattern) {
          add(architecture.blocks.at(name), architecture.hidden, index++);
        }
      }
    }
  }

  /// Dense and shared blocks have one type here, attention and routed experts one each where they differ from it.
  void set(Architecture& architecture) {
    for (const Part* part : {&attention_, &dense_, &shared_, &experts_}) {
      remark_exceptions(*part, architecture);
    }
    const Part& wider = dense_.parameters > shared_.parameters ? dense_ : shared_;
    const bool has_either = wider.parameters > 0.0;
    if (has_either && !dense_.matrices.empty() && !shared_.matrices.empty() && dense_.usual() != shared_.usual()) {
      architecture.remarks.push_back(
          fmt::format("dense blocks are in {} and shared experts in {}; both are taken as {}", text(dense_.usual()),
                      text(shared_.usual()), text(wider.usual())));
    }
    const std::optional<DataType> attention = attention_.usual();
    const std::optional<DataType> others = has_either ? wider.usual() : attention;
    architecture.weight_type = others;
    if (attention != others) {
      architecture.attention_weight_type = attention.value_or(DataType::kBf16);
    }
    if (!experts_.matrices.empty() && experts_.usual() != others) {
      architecture.expert_weight_type = experts_.usual().value_or(DataType::kBf16);
    }
  }

 private:
  static std::string_view text(std::optional<DataType> type) { return name_of(type.value_or(DataType::kBf16)); }

  static void remark_exceptions(const Part& part, Architecture& architecture) {
    if (part.matrices.size() < 2) {
      return;
    }
    int all = 0;
    for (const auto& [type, count] : part.matrices) {
      all += count;
    }
    architecture.remarks.push_back(fmt::format("{} of {} matrices of {} are not in {}; all are taken as that",
                                               all - part.matrices.at(part.usual()), all, part.name,
                                               text(part.usual())));
  }

  void add(const Block& block, int hidden, int index) {
    add(attention_, mixer_matrices(block.mixer), mixer_parameters(block, hidden), index);
    if (const auto* moe = std::get_if<MixtureOfExperts>(&block.feed_forward)) {
      add(experts_, feed_forward_matrices(kExperts), moe->experts * expert_parameters(*moe, hidden), index);
      if (moe->shared_intermediate > 0) {
        add(shared_, feed_forward_matrices(kShared), shared_expert_parameters(*moe, hidden), index);
      }
      return;
    }
    const auto& dense = std::get<DenseFeedForward>(block.feed_forward);
    if (dense.intermediate > 0) {
      add(dense_, feed_forward_matrices(kDense), dense_parameters(dense, hidden), index);
    }
  }

  void add(Part& part, const std::vector<Names>& matrices, double parameters, int index) const {
    part.parameters += parameters;
    for (const Names& names : matrices) {
      ++part.matrices[type_of(names, index)];
    }
  }

  [[nodiscard]] std::optional<DataType> type_of(const Names& names, int index) const {
    if (named(quantization_.ignored, names, index)) {
      return std::nullopt;
    }
    for (const QuantizedGroup& group : quantization_.groups) {
      if (group.targets.empty() || named(group.targets, names, index)) {
        return group.type;
      }
    }
    return std::nullopt;
  }

  static bool named(const std::vector<ModulePattern>& patterns, const Names& names, int index) {
    constexpr auto kPrefixes =
        std::to_array<std::string_view>({"model", "language_model.model", "model.language_model"});
    for (const std::string& name : names) {
      for (const std::string_view prefix : kPrefixes) {
        const std::string module = fmt::format("{}.layers.{}.{}", prefix, index, name);
        if (std::any_of(patterns.begin(), patterns.end(),
                        [&](const ModulePattern& pattern) { return pattern.matches(module); })) {
          return true;
        }
      }
    }
    return false;
  }

  const Quantization& quantization_;
  Part attention_{.name = "attention"};
  Part dense_{.name = "dense blocks"};
  Part shared_{.name = "shared experts"};
  Part experts_{.name = "routed experts"};
};

}  // namespace

void set_part_types(const Quantization& quantization, Architecture& architecture) {
  PartTypes types(quantization);
  types.add(architecture);
  types.set(architecture);
}

}  // namespace moesim
