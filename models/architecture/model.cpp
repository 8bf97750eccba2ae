#include <fmt/format.h>

#include <algorithm>
#include <set>
#include <span>
#include <variant>

#include "models/architecture/architecture.hpp"
#include "sim/core/error.hpp"
#include "sim/core/suggest.hpp"

namespace moesim {

namespace {

constexpr std::size_t kMaxLayers = 10000;

/// "/blocks/a~1b" for a block named "a/b" (RFC 6901).
std::string block_pointer(std::string_view name) {
  std::string pointer = "/blocks/";
  for (const char c : name) {
    pointer += c == '~' ? "~0" : c == '/' ? "~1" : std::string(1, c);
  }
  return pointer;
}

class Checker {
 public:
  Checker(const Architecture& architecture, const Place& place) : architecture_(architecture), place_(place) {}

  std::vector<Diagnostic> run() {
    check_embeddings();
    for (const auto& [name, block] : architecture_.blocks) {
      check_block(block_pointer(name), block);
    }
    check_layers();
    check_use();
    check_moe_alike();
    return std::move(faults_);
  }

 private:
  void fail(const std::string& pointer, std::string message) {
    faults_.push_back({{place_.file, place_.pointer + pointer}, std::move(message)});
  }
  void expect_divisor(const std::string& pointer, int value, int whole, std::string_view of) {
    if (value > 0 && whole % value != 0) {
      fail(pointer, fmt::format("expected a divisor of the {} {}, found {}", whole, of, value));
    }
  }
  void expect_at_most(const std::string& pointer, int value, int limit, std::string_view what) {
    if (value > limit) {
      fail(pointer, fmt::format("expected at most {} ({}), found {}", limit, what, value));
    }
  }

  void check_embeddings() {
    if (architecture_.tied_embeddings && architecture_.vocabulary == 0) {
      fail("/tied_embeddings", "expected false in a model without vocabulary, found true");
    }
  }

  void check_mixer(const std::string& pointer, const GroupedQueryAttention& attention) {
    expect_divisor(pointer + "/kv_heads", attention.kv_heads, attention.heads, "query heads");
  }
  void check_mixer(const std::string& pointer, const LatentAttention& attention) {
    if (attention.indexer && attention.q_lora_rank == 0) {
      fail(pointer + "/indexer", "expected none where there is no query latent to make its queries from, found one");
    }
  }
  void check_mixer(const std::string& pointer, const LinearAttention& attention) {
    expect_divisor(pointer + "/key_heads", attention.key_heads, attention.value_heads, "value heads");
  }
  /// The residual connection adds output to input.
  void check_mixer(const std::string& pointer, const Lstm& lstm) {
    const bool projected = lstm.projection > 0;
    const int width = projected ? lstm.projection : lstm.units;
    if (width != architecture_.hidden) {
      fail(pointer + (projected ? "/projection" : "/units"),
           fmt::format("expected an output as wide as the residual stream, {}, found {}", architecture_.hidden, width));
    }
  }

  void check_block(const std::string& pointer, const Block& block) {
    std::visit([&]<class M>(const M& mixer) { check_mixer(fmt::format("{}/mixer/{}", pointer, M::kTag), mixer); },
               block.mixer);
    if (block.cross_attention) {
      check_mixer(pointer + "/cross_attention", *block.cross_attention);
    }
    if (const auto* moe = std::get_if<MixtureOfExperts>(&block.feed_forward)) {
      check_moe(pointer + "/feed_forward/moe", *moe);
    }
  }

  void check_moe(const std::string& pointer, const MixtureOfExperts& moe) {
    expect_at_most(pointer + "/experts_per_token", moe.experts_per_token, moe.experts, "the experts there are");
    expect_divisor(pointer + "/groups", moe.groups, moe.experts, "experts");
    expect_at_most(pointer + "/groups_per_token", moe.groups_per_token, moe.groups, "the groups there are");
    if (moe.groups > 1 && moe.experts % moe.groups == 0 && moe.groups_per_token <= moe.groups &&
        moe.experts_per_token <= moe.experts) {
      expect_at_most(pointer + "/experts_per_token", moe.experts_per_token,
                     moe.groups_per_token * (moe.experts / moe.groups), "the experts of a token's groups");
    }
    if (moe.shared_gate && moe.shared_intermediate == 0) {
      fail(pointer + "/shared_gate", "expected false without shared experts, found true");
    }
  }

  void check_layers() {
    std::vector<std::string_view> known;
    for (const auto& [name, block] : architecture_.blocks) {
      known.push_back(name);
    }
    std::size_t layers = 0;
    bool encoder = false;
    bool decoder = false;
    for (std::size_t i = 0; i < architecture_.layers.size(); ++i) {
      const LayerRun& run = architecture_.layers[i];
      layers += run.pattern.size() * static_cast<std::size_t>(run.repeat);
      if (run.stack == Stack::kEncoder && decoder) {
        fail(fmt::format("/layers/{}/stack", i), "expected the encoder in front of the decoder, found it behind");
      }
      (run.stack == Stack::kEncoder ? encoder : decoder) = true;
      for (std::size_t j = 0; j < run.pattern.size(); ++j) {
        check_layer(fmt::format("/layers/{}/pattern/{}", i, j), run.pattern[j], known,
                    run.stack == Stack::kDecoder && encoder);
      }
    }
    if (layers > kMaxLayers) {
      fail("/layers", fmt::format("expected at most {} layers in all, found {}", kMaxLayers, layers));
    }
  }

  void check_layer(const std::string& pointer, const std::string& name, std::span<const std::string_view> known,
                   bool may_attend_across) {
    const auto block = architecture_.blocks.find(name);
    if (block == architecture_.blocks.end()) {
      fail(pointer, fmt::format("expected the name of a block, found \"{}\"{}", name, suggestion(name, known)));
      return;
    }
    used_.insert(name);
    if (block->second.cross_attention && !may_attend_across) {
      fail(pointer,
           fmt::format("expected a block without cross-attention outside a decoder behind an encoder, found \"{}\"",
                       name));
    }
  }

  void check_use() {
    for (const auto& [name, block] : architecture_.blocks) {
      if (!used_.contains(name)) {
        fail(block_pointer(name), "expected a block that a layer names, found one that none does");
      }
    }
  }

  void check_moe_alike() {
    const std::string* first_name = nullptr;
    const MixtureOfExperts* first = nullptr;
    for (const auto& [name, block] : architecture_.blocks) {
      const auto* moe = std::get_if<MixtureOfExperts>(&block.feed_forward);
      if (moe == nullptr) {
        continue;
      }
      if (first == nullptr) {
        first_name = &name;
        first = moe;
        continue;
      }
      const auto alike = [&](std::string_view key, int value, int of_first) {
        if (value != of_first) {
          fail(fmt::format("{}/feed_forward/moe/{}", block_pointer(name), key),
               fmt::format("expected {} as in block \"{}\", found {}", of_first, *first_name, value));
        }
      };
      alike("experts", moe->experts, first->experts);
      alike("experts_per_token", moe->experts_per_token, first->experts_per_token);
    }
  }

  const Architecture& architecture_;
  const Place& place_;
  std::set<std::string> used_;
  std::vector<Diagnostic> faults_;
};

}  // namespace

Model::Model(Architecture architecture, const Place& place) : architecture_(std::move(architecture)) {
  std::vector<Diagnostic> faults = Checker(architecture_, place).run();
  if (!faults.empty()) {
    throw ConfigError(std::move(faults));
  }
  for (const LayerRun& run : architecture_.layers) {
    for (int i = 0; i < run.repeat; ++i) {
      for (const std::string& name : run.pattern) {
        Layer layer{
            .block = &architecture_.blocks.at(name), .stack = run.stack, .index = layers_.size(), .moe_index = {}};
        if (layer.moe() != nullptr) {
          layer.moe_index = moe_layers_++;
        }
        layers_.push_back(layer);
      }
    }
  }
}

const Layer* draft_layer(const Model& model) {
  return model.architecture().multi_token_prediction_layers > 0 ? &model.layers().back() : nullptr;
}

const MixtureOfExperts* Model::moe() const {
  const auto layer =
      std::find_if(layers_.begin(), layers_.end(), [](const Layer& l) { return l.moe_index.has_value(); });
  return layer == layers_.end() ? nullptr : layer->moe();
}

}  // namespace moesim
