#include "sim/program/step.hpp"

#include <algorithm>
#include <iterator>
#include <numeric>
#include <optional>
#include <variant>

#include "sim/core/error.hpp"
#include "sim/placement/replica_choice.hpp"
#include "sim/program/kernel_index.hpp"

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
        context_{plan.model->architecture().hidden,
                 plan.tensor_parallel,
                 plan.precision,
                 plan.precision.matrix_weights(plan.model->architecture().released()),
                 plan.precision.expert_weights(plan.model->architecture().released()),
                 plan.cluster->accelerator().compute_capability.value_or(0)},
        mixer_context_(context_),
        first_token_(token_offsets(expert_groups(),
                                   in_place() ? static_cast<int>(expert_groups()) : plan.tensor_parallel,
                                   plan.batch.tokens())) {
    program_.ranks.resize(plan.ranks);
    mixer_context_.weights = plan.precision.attention_weights(plan.model->architecture().released());
  }

  StepProgram build() {
    count_all_traffic();
    all_run({embedding_kernel(context_, plan_.batch.tokens())});
    sum_over_group();  // each rank of a group has a part of the vocabulary
    bool generates = false;
    for (const Layer& layer : plan_.model->layers()) {
      ++stage_;
      if (runs(layer)) {
        add_layer(layer);
        generates = layer.stack == Stack::kDecoder;
      } else if (layer.block->cross_attention && plan_.batch.phase == StepPhase::kPrefill) {
        all_run(cross_cache_kernels(mixer_context_, *layer.block->cross_attention, plan_.batch.tokens()));
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
  [[nodiscard]] bool in_place() const { return stays_in_place(plan_.dispatch); }
  /// Groups of ranks with experts of their own: as many as ranks, unless experts are split too.
  [[nodiscard]] std::size_t expert_groups() const {
    return plan_.ranks / static_cast<std::size_t>(plan_.expert_tensor_parallel);
  }
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
      all_phases(
          in_groups(Collective::kAllGather, bytes_of(plan_.batch.sequences * vocabulary, plan_.precision.activations)));
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
    RowPadding padding{.tile = plan_.expert_row_tile};
    if (plan_.routing->router && plan_.routing->router->buffers) {
      padding.buffers = &*plan_.routing->router->buffers;
    }
    std::vector<std::optional<LayerTraffic>> counted(moe_layers_.size());
    pool_.for_each_index(moe_layers_.size(), [&](std::size_t i) {
      const std::size_t layer = moe_layers_[i];
      const LayerPlacement& placement = plan_.placement->layers[layer];
      const auto choices = plan_.routing->layer(layer);
      const std::size_t k = plan_.routing->shape.k;
      std::vector<std::uint32_t> taken;
      if (plan_.replica_choice != ReplicaChoice::kInTurn) {
        taken = choose_replicas(placement, {choices, k, first_token_, plan_.cluster->gpus_per_node()},
                                plan_.replica_choice, plan_.seed + layer);
      }
      counted[i] = count_traffic(placement, *plan_.cluster, choices, k, first_token_, taken, padding);
    });
    for (auto& traffic : counted) {
      traffic_.push_back(std::move(*traffic));
    }
  }

  /// Adds a list of kernels that all ranks run with the same shapes, or one rank with its own.
  std::vector<RunKernel> store(KernelList kernels) {
    std::vector<RunKernel> runs;
    for (OperatorKernel& item : kernels) {
      runs.push_back({kernels_.place(std::move(item.kernel)), item.op, stage_, item.repeat});
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
  /// Runs phases one after the other; `beside` between the first one's Send and Receive.
  template <class Beside>
  void all_phases(CollectivePhases phases, Beside beside) {
    for (std::size_t i = 0; i < phases.size(); ++i) {
      if (auto* exchange = std::get_if<Exchange>(&phases[i])) {
        const std::uint32_t index = store(std::move(*exchange));
        all_do(Send{index});
        if (i == 0) {
          beside();
        }
        all_do(Receive{index});
        continue;
      }
      auto& kernels = std::get<std::vector<Kernel>>(phases[i]);
      for (std::size_t rank = 0; rank < plan_.ranks; ++rank) {
        run(rank, store(KernelList{{StepOperator::kPermute, std::move(kernels[rank])}}));
      }
    }
  }
  void all_phases(CollectivePhases phases) {
    all_phases(std::move(phases), [] {});
  }

  [[nodiscard]] CollectiveGroups groups() const {
    return {plan_.cluster, plan_.ranks, static_cast<std::size_t>(plan_.tensor_parallel)};
  }
  [[nodiscard]] double group_bytes() const {
    return bytes_of(plan_.batch.tokens() * context_.hidden, plan_.precision.activations);
  }
  [[nodiscard]] CollectivePhases in_groups(Collective collective, double size) const {
    return usual_algorithm(collective, groups()).build(groups(), size);
  }
  /// Hidden states [tokens, hidden], of which every rank of a group has a term of the sum, and then each an equal part
  /// of the tokens (kReduceScatter), or the other way round (kAllGather).
  void reduce_scatter() {
    if (plan_.tensor_parallel > 1) {
      all_phases(in_groups(Collective::kReduceScatter, group_bytes()));
    }
  }
  void all_gather() {
    if (plan_.tensor_parallel > 1) {
      all_phases(in_groups(Collective::kAllGather, group_bytes()));
    }
  }
  /// The sum at every rank of the group.
  void sum_over_group() {
    if (plan_.all_reduce == nullptr) {
      reduce_scatter();
      all_gather();
    } else if (plan_.tensor_parallel > 1) {
      all_phases(plan_.all_reduce->build(groups(), group_bytes()));
    }
  }
  /// A norm over the queries or keys of all heads wants the sums of squares of all of the group's ranks, [tokens, 2] in
  /// fp32 (vLLM, MiniMaxText01RMSNormTP). When within a layer makes no difference.
  void sum_squares(const Mixer& mixer) {
    const auto* attention = std::get_if<GroupedQueryAttention>(&mixer);
    if (plan_.tensor_parallel == 1 || attention == nullptr || !attention->qk_norm ||
        attention->qk_norm_width != NormWidth::kAllHeads) {
      return;
    }
    const double size = bytes_of(2 * plan_.batch.tokens(), DataType::kFp32);
    all_phases(plan_.all_reduce == nullptr ? in_groups(Collective::kAllReduce, size)
                                           : plan_.all_reduce->build(groups(), size));
  }

  void add_layer(const Layer& layer) {
    const std::int64_t tokens = plan_.batch.tokens();
    all_run({norm_kernel(context_, tokens)});
    BatchShape batch = plan_.batch;
    batch.mask = layer.stack == Stack::kEncoder ? Mask::kFull : Mask::kCausal;
    sum_squares(layer.block->mixer);
    all_run(mixer_kernels(mixer_context_, layer.block->mixer, batch));
    if (layer.block->cross_attention) {
      sum_over_group();
      all_run({norm_kernel(context_, tokens)});
      all_run(cross_attention_kernels(mixer_context_, *layer.block->cross_attention, plan_.batch));
    }
    const auto* dense = std::get_if<DenseFeedForward>(&layer.block->feed_forward);
    if (dense != nullptr) {
      sum_over_group();
      if (dense->intermediate > 0) {  // else a layer that only mixes, as the second LSTM of Shazeer et al. 2017
        all_run({norm_kernel(context_, tokens)});
        all_run(dense_kernels(context_, *dense, tokens));
        sum_over_group();
      }
      return;
    }
    if (in_place()) {
      sum_over_group();
      add_experts_in_place(layer);
      sum_over_group();
      return;
    }
    reduce_scatter();
    add_experts(layer);
    all_gather();
  }

  /// Every rank has all tokens, and its experts take their own.
  void add_experts_in_place(const Layer& layer) {
    const MixtureOfExperts& moe = *layer.moe();
    const std::int64_t tokens = plan_.batch.tokens();
    KernelList common{norm_kernel(context_, tokens)};
    for (KernelList part :
         {router_kernels(context_, moe, tokens), shared_expert_kernels(context_, moe, tokens, plan_.tensor_parallel)}) {
      std::move(part.begin(), part.end(), std::back_inserter(common));
    }
    all_run(std::move(common));
    const LayerTraffic& traffic = next_traffic();
    const auto group = static_cast<std::size_t>(plan_.expert_tensor_parallel);
    for (std::size_t first = 0; first < plan_.ranks; first += group) {
      const DataType type = plan_.precision.activations;
      const std::size_t at = first / group;
      const ExpertArrival arrival{ExpertLayout::kSorted, traffic.tokens_at(at)};
      const auto stored = store(permuted_experts(moe, traffic.computed[at], arrival, type, type));
      for (std::size_t rank = first; rank < first + group; ++rank) {
        run(rank, stored);
      }
    }
  }

  /// Tokens that a rank's experts' results are summed for: where all tokens were gathered, all of them, since the sum
  /// over ranks wants the same ones of each.
  [[nodiscard]] std::int64_t summed_tokens(std::int64_t arrived) const {
    const bool gathered = plan_.ranks > 1 && plan_.dispatch == DispatchProtocol::kAllGather;
    return gathered ? static_cast<std::int64_t>(first_token_.back()) : arrived;
  }

  /// The experts' kernels over `rows`, between those that bring the tokens into their order and back, where there are
  /// such.
  KernelList permuted_experts(const MixtureOfExperts& moe, const std::vector<std::int64_t>& rows,
                              const ExpertArrival& arrival, DataType arrived, DataType sent) {
    const std::int64_t copies = std::accumulate(rows.begin(), rows.end(), std::int64_t{0});
    const std::int64_t tokens = arrival.tokens;
    const bool permutes =
        tokens > 0 && arrival.layout != ExpertLayout::kMasked && plan_.permutation == Permutation::kApart;
    KernelList kernels;
    if (permutes) {
      kernels.push_back(permute_kernel(context_, tokens, copies, arrived));
    }
    for (OperatorKernel& kernel : expert_kernels(context_, moe, rows, arrival, plan_.expert_tensor_parallel)) {
      kernels.push_back(std::move(kernel));
    }
    if (permutes) {
      kernels.push_back(unpermute_kernel(context_, summed_tokens(tokens), copies, sent));
    }
    return kernels;
  }

  const LayerTraffic& next_traffic() {
    ensure(plan_.routing != nullptr, "a MoE layer runs without routing");
    return traffic_.at(next_moe_++);
  }

  void add_experts(const Layer& layer) {
    const MixtureOfExperts& moe = *layer.moe();
    const LayerTraffic& traffic = next_traffic();
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
    const bool copies_sent = plan_.ranks > 1 && sends_copies(plan_.dispatch);
    const std::int64_t k = moe.experts_per_token;
    const bool rows_arrive = plan_.ranks > 1 && delivers_rows(plan_.dispatch);
    const bool overlapped = plan_.shared_experts == SharedExpertSchedule::kOverlapped;
    DispatchPlan dispatch{plan_.cluster, plan_.dispatch, plan_.communication_units,
                          bytes_of(context_.hidden, precision.dispatch)};
    if (plan_.ranks > 1) {
      if (!rows_arrive) {  // low-latency kernels quantise as they send
        all_run_own_tokens([&](std::int64_t tokens) { return quantise_kernels(context_, tokens, precision.dispatch); });
      }
      if (copies_sent) {
        all_run_own_tokens([&](std::int64_t tokens) {
          return tokens == 0 ? KernelList{}
                             : KernelList{permute_kernel(context_, tokens, tokens * k, precision.activations)};
        });
      }
      all_phases(dispatch_phases(traffic, dispatch), [&] {
        if (overlapped) {
          run_shared();
        }
      });
    } else if (overlapped) {
      run_shared();
    }
    const DataType arrived = plan_.ranks > 1 ? precision.dispatch : precision.activations;
    const DataType sent = plan_.ranks > 1 ? precision.combine : precision.activations;
    const ExpertLayout layout = plan_.ranks > 1 ? layout_of(plan_.dispatch) : ExpertLayout::kSorted;
    for (std::size_t rank = 0; rank < plan_.ranks; ++rank) {
      const auto& rows = traffic.rows[rank];
      const std::int64_t copies = std::accumulate(rows.begin(), rows.end(), std::int64_t{0});
      const ExpertArrival arrival{layout, copies_sent ? copies : traffic.tokens_at(rank)};
      run(rank, store(permuted_experts(moe, traffic.computed[rank], arrival, arrived, sent)));
    }
    if (plan_.ranks > 1) {
      dispatch.token_bytes = bytes_of(context_.hidden, precision.combine);
      all_phases(combine_phases(traffic, dispatch));
      if (copies_sent) {
        all_run_own_tokens([&](std::int64_t tokens) {
          return tokens == 0 ? KernelList{}
                             : KernelList{unpermute_kernel(context_, tokens, tokens * k, precision.activations)};
        });
      }
    }
  }

  const StepPlan& plan_;
  const TaskPool& pool_;
  OperatorContext context_;
  OperatorContext mixer_context_;  ///< attention and recurrences may have weights of another type
  std::vector<std::size_t> first_token_;
  std::vector<LayerTraffic> traffic_;
  std::vector<std::size_t> moe_layers_;  // of traffic_, by index among the model's MoE layers
  std::size_t next_moe_ = 0;
  Program program_;
  KernelIndex kernels_{program_.kernels};
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
