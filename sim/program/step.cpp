#include "sim/program/step.hpp"

#include <algorithm>
#include <numeric>
#include <optional>

#include "sim/core/error.hpp"

namespace moesim {

namespace {

double bytes_of(std::int64_t elements, DataType type) {
  return (static_cast<double>(elements) * activation_element_size(type)).base();
}

/// Appends instructions to the ranks' streams while walking through the layers.
class StepBuilder {
 public:
  StepBuilder(const StepPlan& plan, const TaskPool& pool)
      : plan_(plan),
        pool_(pool),
        context_{plan.model->architecture().hidden, plan.tensor_parallel, plan.precision,
                 plan.precision.expert_weights(plan.model->architecture().expert_weight_type)},
        first_token_(token_offsets(plan.ranks, plan.tensor_parallel, plan.batch.tokens())) {
    program_.ranks.resize(plan.ranks);
  }

  StepProgram build() {
    count_all_traffic();
    all_run({embedding_kernel(context_, plan_.batch.tokens())});
    group_collective(StepOperator::kReduceScatter);  // each rank of a group has a part of the vocabulary
    group_collective(StepOperator::kAllGather);
    bool generates = false;
    for (const Layer& layer : plan_.model->layers()) {
      ++stage_;
      if (runs(layer)) {
        add_layer(layer);
        generates = layer.stack == Stack::kDecoder;
      } else if (layer.block->cross_attention && plan_.batch.phase == StepPhase::kPrefill) {
        all_run(cross_cache_kernels(context_, *layer.block->cross_attention, plan_.batch.tokens()));
      }
    }
    ++stage_;
    if (generates) {
      add_head();
    }
    program_.stages = stage_ + 1;
    return {std::move(program_), std::move(traffic_), std::move(moe_layers_)};
  }

 private:
  [[nodiscard]] bool runs(const Layer& layer) const { return layer_runs(*plan_.model, layer, plan_.batch.phase); }
  [[nodiscard]] std::int64_t tokens_of(std::size_t rank) const {
    return static_cast<std::int64_t>(first_token_[rank + 1] - first_token_[rank]);
  }

  void add_head() {
    const int vocabulary = plan_.model->architecture().vocabulary;
    KernelList head = head_kernels(context_, vocabulary, plan_.batch.sequences);
    if (head.empty()) {
      return;
    }
    OperatorKernel sampling = std::move(head.back());
    head.pop_back();
    all_run(std::move(head));
    if (plan_.tensor_parallel > 1) {
      const double logits = bytes_of(plan_.batch.sequences * vocabulary, DataType::kFp32);
      all_exchange(group_exchange(StepOperator::kAllGather, plan_.ranks,
                                  static_cast<std::size_t>(plan_.tensor_parallel), logits));
    }
    all_run({std::move(sampling)});
  }

  void count_all_traffic() {
    if (plan_.routing == nullptr) {
      return;
    }
    for (const Layer& layer : plan_.model->layers()) {
      if (layer.moe_index && runs(layer)) {
        moe_layers_.push_back(*layer.moe_index);
      }
    }
    std::vector<std::optional<LayerTraffic>> counted(moe_layers_.size());
    pool_.for_each_index(moe_layers_.size(), [&](std::size_t i) {
      const std::size_t layer = moe_layers_[i];
      counted[i] = count_traffic(plan_.placement->layers[layer], *plan_.cluster, plan_.routing->layer(layer),
                                 plan_.routing->shape.k, first_token_);
    });
    for (auto& traffic : counted) {
      traffic_.push_back(std::move(*traffic));
    }
  }

  /// Adds a list of kernels that all ranks run with the same shapes, or one rank with its own.
  std::vector<RunKernel> store(KernelList kernels) {
    std::vector<RunKernel> runs;
    for (OperatorKernel& item : kernels) {
      runs.push_back({static_cast<std::uint32_t>(program_.kernels.size()), item.op, stage_, item.repeat});
      program_.kernels.push_back(std::move(item.kernel));
    }
    return runs;
  }
  void run(std::size_t rank, const std::vector<RunKernel>& kernels) {
    auto& stream = program_.ranks[rank];
    stream.insert(stream.end(), kernels.begin(), kernels.end());
  }
  void all_run(KernelList kernels) {
    const auto stored = store(std::move(kernels));
    for (std::size_t rank = 0; rank < plan_.ranks; ++rank) {
      run(rank, stored);
    }
  }
  /// Kernels over each rank's own tokens; ranks with as many tokens share them.
  template <class MakeKernels>
  void all_run_own_tokens(MakeKernels make) {
    std::vector<std::pair<std::int64_t, std::vector<RunKernel>>> known;
    for (std::size_t rank = 0; rank < plan_.ranks; ++rank) {
      const std::int64_t tokens = tokens_of(rank);
      auto found = std::find_if(known.begin(), known.end(), [&](const auto& entry) { return entry.first == tokens; });
      if (found == known.end()) {
        known.emplace_back(tokens, tokens > 0 ? store(make(tokens)) : std::vector<RunKernel>{});
        found = known.end() - 1;
      }
      run(rank, found->second);
    }
  }

  std::uint32_t store(Exchange exchange) {
    exchange.stage = stage_;
    program_.exchanges.push_back(std::move(exchange));
    return static_cast<std::uint32_t>(program_.exchanges.size() - 1);
  }
  template <class I>
  void all_do(I instruction) {
    for (auto& stream : program_.ranks) {
      stream.emplace_back(instruction);
    }
  }
  void all_exchange(Exchange exchange) {
    const std::uint32_t index = store(std::move(exchange));
    all_do(Send{index});
    all_do(Receive{index});
  }
  void group_collective(StepOperator op) {
    if (plan_.tensor_parallel > 1) {
      const double size = bytes_of(plan_.batch.tokens() * context_.hidden, plan_.precision.activations);
      all_exchange(group_exchange(op, plan_.ranks, static_cast<std::size_t>(plan_.tensor_parallel), size));
    }
  }

  void add_layer(const Layer& layer) {
    const std::int64_t tokens = plan_.batch.tokens();
    all_run({norm_kernel(context_, tokens)});
    BatchShape batch = plan_.batch;
    batch.mask = layer.stack == Stack::kEncoder ? Mask::kFull : Mask::kCausal;
    all_run(mixer_kernels(context_, layer.block->mixer, batch));
    if (layer.block->cross_attention) {
      group_collective(StepOperator::kReduceScatter);
      group_collective(StepOperator::kAllGather);
      all_run({norm_kernel(context_, tokens)});
      all_run(cross_attention_kernels(context_, *layer.block->cross_attention, plan_.batch));
    }
    group_collective(StepOperator::kReduceScatter);
    const auto* dense = std::get_if<DenseFeedForward>(&layer.block->feed_forward);
    if (dense != nullptr && dense->intermediate == 0) {
      // A layer that only mixes, such as the second LSTM of Shazeer et al. 2017.
    } else if (dense != nullptr) {
      group_collective(StepOperator::kAllGather);
      all_run({norm_kernel(context_, tokens)});
      all_run(dense_kernels(context_, *dense, tokens));
      group_collective(StepOperator::kReduceScatter);
    } else {
      add_experts(layer);
    }
    group_collective(StepOperator::kAllGather);
  }

  void add_experts(const Layer& layer) {
    const MixtureOfExperts& moe = *layer.moe();
    ensure(plan_.routing != nullptr, "a MoE layer runs without routing");
    const LayerTraffic& traffic = traffic_.at(next_moe_++);
    all_run_own_tokens([&](std::int64_t tokens) {
      KernelList kernels{norm_kernel(context_, tokens)};
      for (auto& kernel : router_kernels(context_, moe, tokens)) {
        kernels.push_back(std::move(kernel));
      }
      return kernels;
    });
    const auto run_shared = [&] {
      all_run_own_tokens([&](std::int64_t tokens) { return shared_expert_kernels(context_, moe, tokens); });
    };
    if (plan_.shared_experts == SharedExpertSchedule::kSerial) {
      run_shared();
    }
    const Precision& precision = plan_.precision;
    const bool delivers_rows = plan_.ranks > 1 && plan_.dispatch == DispatchProtocol::kDeepEpLowLatency;
    std::uint32_t dispatch = 0;
    if (plan_.ranks > 1) {
      if (!delivers_rows) {  // low-latency kernels quantise as they send
        all_run_own_tokens([&](std::int64_t tokens) { return quantise_kernels(context_, tokens, precision.dispatch); });
      }
      dispatch = store(
          dispatch_exchange(traffic, *plan_.cluster, plan_.dispatch, bytes_of(context_.hidden, precision.dispatch)));
      all_do(Send{dispatch});
    }
    if (plan_.shared_experts == SharedExpertSchedule::kOverlapped) {
      run_shared();
    }
    if (plan_.ranks > 1) {
      all_do(Receive{dispatch});
    }
    const DataType arrived = plan_.ranks > 1 ? precision.dispatch : precision.activations;
    const DataType sent = plan_.ranks > 1 ? precision.combine : precision.activations;
    for (std::size_t rank = 0; rank < plan_.ranks; ++rank) {
      const auto& rows = traffic.rows[rank];
      const std::int64_t copies = std::accumulate(rows.begin(), rows.end(), std::int64_t{0});
      const std::int64_t tokens = delivers_rows ? 0 : traffic.tokens_at(rank);
      KernelList kernels;
      if (tokens > 0) {
        kernels.push_back(permute_kernel(context_, tokens, copies, arrived));
      }
      for (OperatorKernel& kernel : expert_kernels(context_, moe, rows)) {
        kernels.push_back(std::move(kernel));
      }
      if (tokens > 0) {
        kernels.push_back(unpermute_kernel(context_, tokens, copies, sent));
      }
      run(rank, store(std::move(kernels)));
    }
    if (plan_.ranks > 1) {
      all_exchange(
          combine_exchange(traffic, *plan_.cluster, plan_.dispatch, bytes_of(context_.hidden, precision.combine)));
    }
  }

  const StepPlan& plan_;
  const TaskPool& pool_;
  OperatorContext context_;
  std::vector<std::size_t> first_token_;
  std::vector<LayerTraffic> traffic_;
  std::vector<std::size_t> moe_layers_;  // of traffic_, by index among the model's MoE layers
  std::size_t next_moe_ = 0;
  Program program_;
  std::uint32_t stage_ = 0;
};

}  // namespace

bool layer_runs(const Model& model, const Layer& layer, StepPhase phase) {
  if (layer.stack == Stack::kEncoder) {
    return phase == StepPhase::kPrefill;
  }
  const auto& layers = model.layers();
  const bool has_encoder =
      std::any_of(layers.begin(), layers.end(), [](const Layer& other) { return other.stack == Stack::kEncoder; });
  return phase == StepPhase::kDecode || !has_encoder;
}

std::vector<std::size_t> token_offsets(std::size_t ranks, int tensor_parallel, std::int64_t tokens_per_group) {
  const auto group = static_cast<std::size_t>(tensor_parallel);
  const auto tokens = static_cast<std::size_t>(tokens_per_group);
  std::vector<std::size_t> offsets{0};
  for (std::size_t rank = 0; rank < ranks; ++rank) {
    const std::size_t in_group = rank % group;
    offsets.push_back(offsets.back() + tokens / group + (in_group < tokens % group ? 1 : 0));
  }
  return offsets;
}

StepProgram build_step(const StepPlan& plan, const TaskPool& pool) { return StepBuilder(plan, pool).build(); }

}  // namespace moesim
