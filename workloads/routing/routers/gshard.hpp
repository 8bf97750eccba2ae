#pragma once

#include <optional>

#include "workloads/routing/routers/registry.hpp"
#include "workloads/routing/routers/top_two.hpp"

namespace moesim {

/// Rows of an expert for a group of S tokens and a factor CF: ⌊CF·S/E⌋ (mesh-tensorflow), CF·⌈S/E⌉ (fairseq), or
/// ⌈CF·2·S/E⌉, so that CF is over choices (DeepSpeed).
enum class CapacityRule { kMesh, kFairseq, kDeepSpeed };
template <>
struct EnumNames<CapacityRule> {
  static constexpr auto names = std::to_array<std::pair<CapacityRule, std::string_view>>(
      {{CapacityRule::kMesh, "mesh"}, {CapacityRule::kFairseq, "fairseq"}, {CapacityRule::kDeepSpeed, "deepspeed"}});
};

struct GshardOptions {
  std::optional<double> capacity_factor = std::nullopt;
  double training_capacity_factor = 1.25;
  CapacityRule rule = CapacityRule::kMesh;
  std::optional<double> inference_share = std::nullopt;
  std::size_t least_rows = 4;
  std::size_t rows_multiple = 1;
  std::size_t group_tokens = 1024;
  SecondExpert second = SecondExpert::kGshard;
  double threshold = 0.2;
  double expert_dropout = 0.0;
  bool padded = true;
  double balance_loss = 0.01;

  template <class F>
  static void describe(F& f) {
    f.optional("capacity_factor", &GshardOptions::capacity_factor,
               "Rows of an expert over group_tokens/experts, at inference; absent: the model's, else 2",
               Rules::above_zero());
    f.optional("training_capacity_factor", &GshardOptions::training_capacity_factor, "The same in training",
               Rules::above_zero());
    f.optional("rule", &GshardOptions::rule,
               "Whose count of rows: floor(factor*S/E), factor*ceil(S/E), ceil(factor*2*S/E) for S tokens");
    f.optional("inference_share", &GshardOptions::inference_share,
               "At inference an expert takes up to this share of the group instead, without padding; absent: by factor",
               Rules{.maximum = 1, .positive = true});
    f.optional("least_rows", &GshardOptions::least_rows, "Rows of an expert at least", Rules::between(1, 1 << 20));
    f.optional("rows_multiple", &GshardOptions::rows_multiple, "Rows are rounded up to a multiple of it",
               Rules::between(1, 1 << 20));
    f.optional("group_tokens", &GshardOptions::group_tokens, "Tokens of one group, each with capacity of its own",
               Rules::between(2, 1 << 24));
    f.optional("second", &GshardOptions::second, "When the second expert is used");
    f.optional("threshold", &GshardOptions::threshold, "Of the second gate, for threshold and random",
               Rules::above_zero());
    f.optional("expert_dropout", &GshardOptions::expert_dropout,
               "Share of choices whose output is masked in training; they are computed all the same",
               Rules::between(0, 1));
    f.optional("padded", &GshardOptions::padded, "Buffers are sent and computed whole, full or not");
    f.optional("balance_loss", &GshardOptions::balance_loss, "Published weight of the balance loss",
               Rules::at_least(0));
  }
};

RouterEntry gshard_entry(std::string_view name, std::string_view alias, std::string_view summary,
                         std::string_view source, const GshardOptions& preset);

}  // namespace moesim
