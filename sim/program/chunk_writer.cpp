#include "sim/program/chunk_writer.hpp"

#include <numeric>
#include <span>
#include <utility>

#include "sim/core/error.hpp"
#include "sim/program/operator_parts.hpp"

namespace moesim {

namespace {

/// Types that a model was released in say nothing of how it is trained.
constexpr ReleasedTypes kNotReleased{};

Precision trained_in(Precision precision) {
  precision.kv = precision.activations;
  return precision;
}

}  // namespace

ChunkWriter::ChunkWriter(ChunkPlan plan, ProgramWriter& out, const TaskPool& pool, ExchangeKernels kernels,
                         std::uint32_t first_stage)
    : plan_(std::move(plan)),
      out_(out),
      pool_(pool),
      kernels_(kernels),
      first_stage_(first_stage),
      context_{plan_.model->architecture().hidden,
               plan_.tensor_parallel,
               trained_in(plan_.precision),
               plan_.precision.matrix_weights(kNotReleased),
               plan_.precision.expert_weights(kNotReleased),
               plan_.cluster->accelerator().compute_capability.value_or(0)},
      mixer_context_(context_),
      first_token_(token_offsets(plan_.ranks, plan_.tensor_parallel, plan_.tokens())),
      put_off_(plan_.ranks) {
  mixer_context_.weights = plan_.precision.attention_weights(kNotReleased);
  ensure(chunk_obstacle(plan_).empty(), "a chunk that cannot be laid out");
  count_traffic_of_layers();
}

void ChunkWriter::count_traffic_of_layers() {
  std::vector<std::size_t> moe_layers;
  for (std::size_t i = 0; i < plan_.last_layer - plan_.first_layer; ++i) {
    if (layer(i).moe_index) {
      moe_layers.push_back(*layer(i).moe_index);
    }
  }
  if (moe_layers.empty()) {
    return;
  }
  ensure(plan_.routing != nullptr && plan_.placement != nullptr, "a MoE layer runs without routing");
  ensure(!plan_.routing->router || !plan_.routing->router->buffers, "passes have no buffers of fixed size");
  const RowPadding padding{.tile = plan_.expert_row_tile};
  std::vector<std::optional<LayerTraffic>> counted(moe_layers.size());
  pool_.for_each_index(moe_layers.size(), [&](std::size_t i) {
    counted[i] = count_traffic(plan_.placement->layers[moe_layers[i]], *plan_.cluster,
                               plan_.routing->layer(moe_layers[i]), plan_.routing->shape.k, first_token_, {}, padding);
  });
  for (auto& traffic : counted) {
    traffic_.push_back(std::move(*traffic));
  }
}

const LayerTraffic& ChunkWriter::traffic_of(std::size_t index) const {
  std::size_t moe_layers = 0;
  for (std::size_t i = 0; i < index; ++i) {
    moe_layers += layer(i).moe_index ? 1 : 0;
  }
  return traffic_[moe_layers];
}

KernelList ChunkWriter::mixer_of(const Layer& layer) const {
  const std::int64_t length = plan_.sequence_length;
  return mixer_kernels(mixer_context_, layer.block->mixer,
                       {.sequences = plan_.sequences, .query = length, .keys = length, .phase = StepPhase::kPrefill});
}

CollectivePhases ChunkWriter::over_group(Collective collective) const {
  if (plan_.tensor_parallel == 1) {
    return {};
  }
  return out_.in_groups(collective, bytes_of(plan_.tokens() * context_.hidden, plan_.precision.activations));
}

DispatchPlan ChunkWriter::dispatch_plan(DataType type) const {
  return {plan_.cluster, plan_.dispatch, plan_.communication_units, bytes_of(context_.hidden, type), kernels_};
}

ProgramWriter::Begun ChunkWriter::send_tokens(const MixtureOfExperts& moe, const LayerTraffic& traffic, DataType type) {
  if (!delivers_rows(plan_.dispatch)) {  // low-latency kernels quantise as they send
    out_.all_run_own_tokens([&](std::int64_t tokens) { return quantise_kernels(context_, tokens, type); });
  }
  if (sends_copies(plan_.dispatch)) {
    out_.all_run_own_tokens([&](std::int64_t tokens) {
      return KernelList{permute_kernel(context_, tokens, tokens * moe.experts_per_token, type)};
    });
  }
  return out_.begin(dispatch_phases(traffic, dispatch_plan(type)));
}

ProgramWriter::Begun ChunkWriter::send_results(const LayerTraffic& traffic, DataType type) {
  return out_.begin(combine_phases(traffic, dispatch_plan(type)));
}

void ChunkWriter::receive_results(const MixtureOfExperts& moe, ProgramWriter::Begun results) {
  out_.finish(std::move(results));
  if (sends_copies(plan_.dispatch)) {
    out_.all_run_own_tokens([&](std::int64_t tokens) {
      return KernelList{
          unpermute_kernel(context_, tokens, tokens * moe.experts_per_token, plan_.precision.activations)};
    });
  }
}

ChunkWriter::Permuted ChunkWriter::permuted(const LayerTraffic& traffic, std::size_t rank, DataType arrived,
                                            DataType sent) const {
  const auto& rows = traffic.rows[rank];
  const std::int64_t copies = std::accumulate(rows.begin(), rows.end(), std::int64_t{0});
  const std::int64_t tokens = sends() && sends_copies(plan_.dispatch) ? copies : traffic.tokens_at(rank);
  if (tokens == 0 || (sends() && delivers_rows(plan_.dispatch))) {
    return {};
  }
  // Where all tokens were gathered, the sum over ranks wants the same ones of each.
  const bool all = sends() && plan_.dispatch == DispatchProtocol::kAllGather;
  const std::int64_t summed = all ? static_cast<std::int64_t>(first_token_.back()) : tokens;
  return {{permute_kernel(context_, tokens, copies, sends() ? arrived : plan_.precision.activations)},
          {unpermute_kernel(context_, summed, copies, sends() ? sent : plan_.precision.activations)}};
}

}  // namespace moesim
