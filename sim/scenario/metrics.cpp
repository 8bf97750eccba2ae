#include "sim/scenario/metrics.hpp"

#include <algorithm>
#include <map>
#include <numeric>
#include <utility>

#include "sim/core/error.hpp"
#include "sim/core/quantity.hpp"

namespace moesim {

namespace {

double layer_value(const LayerImbalance& layer) { return layer.recording.value_or(layer.step); }

template <class Value>
ImbalanceSummary summarise(const StepResult& result, Value value) {
  ImbalanceSummary summary;
  if (result.imbalance.empty()) {
    return summary;
  }
  double sum = 0.0;
  summary.worst = 0.0;
  for (std::size_t l = 0; l < result.imbalance.size(); ++l) {
    const double imbalance = value(result.imbalance[l]);
    sum += imbalance;
    if (imbalance > summary.worst) {
      summary.worst = imbalance;
      summary.worst_layer = result.moe_layer_index[l];
    }
  }
  summary.mean = sum / static_cast<double>(result.imbalance.size());
  return summary;
}

}  // namespace

std::vector<OperatorTime> operator_times(const Execution& execution, std::size_t layers) {
  const auto head = static_cast<std::uint32_t>(layers) + 1;
  std::map<std::pair<StepPart, StepOperator>, std::int64_t> ticks;
  for (const auto& timeline : execution.timeline) {
    for (const Segment& segment : timeline) {
      ticks[{segment.stage > head ? StepPart::kDraft : StepPart::kModel, segment.op}] +=
          (segment.end - segment.begin).ticks();
    }
  }
  std::vector<OperatorTime> times;
  for (const auto& [which, sum] : ticks) {
    times.push_back({which.first, which.second,
                     seconds(static_cast<double>(sum) * 1e-12 / static_cast<double>(execution.timeline.size()))});
  }
  return times;
}

std::vector<LinkUse> busiest_links(std::span<const double> carried, std::span<const Bandwidth> capacity,
                                   Duration time) {
  std::vector<LinkUse> uses;
  for (std::size_t link = 0; link < carried.size(); ++link) {
    if (carried[link] > 0.0 && time > Duration{}) {
      uses.push_back({link, carried[link], carried[link] / (capacity[link].base() * time.base())});
    }
  }
  std::stable_sort(uses.begin(), uses.end(),
                   [](const LinkUse& a, const LinkUse& b) { return a.utilisation > b.utilisation; });
  return uses;
}

std::size_t fullest_rank(const StepResult& result) {
  const auto fullest =
      std::max_element(result.memory.begin(), result.memory.end(),
                       [](const MemoryFootprint& a, const MemoryFootprint& b) { return a.total() < b.total(); });
  return static_cast<std::size_t>(fullest - result.memory.begin());
}

ImbalanceSummary reported_imbalance(const StepResult& result) { return summarise(result, layer_value); }

ImbalanceSummary step_imbalance(const StepResult& result) {
  return summarise(result, [](const LayerImbalance& layer) { return layer.step; });
}

RouterTotals router_totals(const RouterOutcome& outcome, std::size_t tokens) {
  double choices = 0.0;
  RouterTotals totals;
  for (const RoutedLayerCounts& layer : outcome.layers) {
    choices += static_cast<double>(layer.choices);
    totals.dropped += static_cast<double>(layer.dropped);
    totals.unserved += static_cast<double>(layer.unserved_tokens);
  }
  totals.dropped = choices > 0.0 ? totals.dropped / choices : 0.0;
  const double all = static_cast<double>(tokens) * static_cast<double>(outcome.layers.size());
  totals.unserved = all > 0.0 ? totals.unserved / all : 0.0;
  return totals;
}

Duration draft_time(const StepResult& result) {
  Duration sum;
  for (const OperatorTime& time : operator_times(result.execution, result.layers)) {
    sum += time.part == StepPart::kDraft ? time.time : Duration{};
  }
  return sum;
}

namespace {

constexpr std::string_view kMfu =
    "model FLOP utilisation: operations that the model needs (two per weight and token, of routed experts two per "
    "weight and row routed to it; attention unabsorbed and causal), each over the dense peak rate of its weights' "
    "type, summed, / (step_time * ranks)";
constexpr std::string_view kMfuOfAccepted =
    "model FLOP utilisation: operations that the model needs for tokens that are kept (two per weight and token, of "
    "routed experts two per weight and row routed to it; attention unabsorbed and causal), each over the dense peak "
    "rate of its weights' type, summed, / (step_time * ranks)";

}  // namespace

std::vector<Metric> step_metrics(const StepResult& result) {
  const Execution& execution = result.execution;
  const double step = execution.end.duration().base();
  const auto ranks = static_cast<double>(result.ranks);
  const double rate = result.new_tokens / step;
  const ImbalanceSummary reported = reported_imbalance(result);
  const ImbalanceSummary drawn = step_imbalance(result);
  const int drafts = draft_tokens_of(result.scenario.step);
  std::vector<Metric> metrics{
      {"step_time", step, "s", "from the start of the step until the last rank has finished it"},
      {"tokens_per_second", rate, "tokens/s",
       drafts == 0 ? "new tokens of all sequences / step_time" : "tokens_per_step of all sequences / step_time"},
      {"tokens_per_second_per_gpu", rate / ranks, "tokens/s", "tokens_per_second / ranks"},
      {"flops", execution.work.base(), "FLOP",
       "floating-point operations of all kernels of all ranks; a multiply-add counts as two"},
      {"mfu", result.model_time / seconds(step) / ranks, "1", drafts == 0 ? kMfu : kMfuOfAccepted},
      {"hfu", execution.peak_time.base() / (step * ranks), "1",
       "hardware FLOP utilisation: operations of each GEMM and attention kernel as executed / the dense peak rate of "
       "the type it computes in, summed, / (step_time * ranks)"},
      {"hbm_utilisation", (execution.traffic / seconds(step) / (result.accelerator.memory_bandwidth * ranks)), "1",
       "HBM bytes read and written by all kernels / (HBM bandwidth * step_time * ranks)"},
      {"parameters_total", result.parameters_total.total(), "1", "weights of the model, computed from its shapes"},
      {"parameters_active", result.parameters_active.total(), "1",
       "weights that one token is multiplied with: k routed experts of each MoE layer; the embedding look-up is not "
       "counted, the LM head is"},
      {"hbm_peak_per_rank", result.memory[fullest_rank(result)].total().base(), "B",
       "largest memory footprint of any rank"},
      {"bytes_intra_node", execution.bytes_intra_node, "B",
       "payload sent between GPUs of one scale-up domain, forwarded payload once per hop"},
      {"bytes_inter_node", execution.bytes_inter_node, "B", "payload sent across the network"},
      {"load_imbalance_mean", reported.mean, "1",
       "routed tokens per rank, max over ranks / mean over ranks, mean over MoE layers; of the whole recording where "
       "counts were recorded, else of "
       "the tokens of this step"},
      {"load_imbalance_worst", reported.worst, "1", "the same, largest over MoE layers"},
      {"step_load_imbalance_mean", drawn.mean, "1",
       "routed tokens per rank of this step, max over ranks / mean over ranks, mean over MoE layers"},
      {"step_load_imbalance_worst", drawn.worst, "1", "the same, largest over MoE layers"},
      {"events", static_cast<double>(execution.events), "1", "events simulated"},
  };
  if (std::holds_alternative<DecodeStep>(result.scenario.step)) {
    metrics.push_back({"time_per_output_token", step / result.tokens_per_step, "s",
                       drafts == 0 ? "step_time: a step is a token" : "step_time / tokens_per_step"});
  }
  if (drafts > 0) {
    metrics.push_back({"tokens_per_step", result.tokens_per_step, "tokens",
                       "expected new tokens of a sequence in a step: 1 + a1 + a1 a2 + ..., with the probabilities that "
                       "a draft token is accepted given that those before it are"});
    metrics.push_back({"draft_time", draft_time(result).base(), "s",
                       "of step_time, what the passes that draft tokens take, waits included; mean over ranks"});
  }
  if (result.router) {
    const RouterTotals totals = router_totals(*result.router, static_cast<std::size_t>(result.tokens));
    metrics.push_back({"dropped_choices", totals.dropped, "1",
                       "choices of experts that found no room / choices made, over all MoE layers"});
    metrics.push_back(
        {"unserved_tokens", totals.unserved, "1", "tokens that no expert computes / tokens, mean over MoE layers"});
  }
  if (result.padding.computed > result.padding.routed) {
    metrics.push_back({"padding_rows", 1.0 - result.padding.routed / result.padding.computed, "1",
                       "rows that only fill a buffer or a tile / rows that experts compute"});
  }
  if (execution.distance) {
    metrics.push_back({"bound_distance", execution.distance->longer, "1",
                       "what fidelity bound leaves out of the first two layers that exchange anything: (time where "
                       "transfers share links max-min fairly - time here) / time where they share"});
  }
  if (result.scenario.price_per_gpu) {
    const double per_second = result.scenario.price_per_gpu->base() * ranks;
    metrics.push_back({"cost_per_million_tokens", per_second / rate * 1e6, "USD",
                       "price_per_gpu * ranks / tokens_per_second * 10^6"});
  }
  return metrics;
}

}  // namespace moesim
