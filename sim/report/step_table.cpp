#include "sim/report/step_table.hpp"

#include <fmt/format.h>

#include <cmath>
#include <variant>

#include "sim/core/units.hpp"
#include "sim/report/number.hpp"

namespace moesim {

namespace {

std::string line(std::string_view label, const std::string& value) { return fmt::format("  {:<28}{}\n", label, value); }

std::string step_text(const StepChoice& step) {
  const int micro_batches = micro_batches_of(step);
  const std::string split = micro_batches > 1 ? fmt::format(", in {} micro-batches", micro_batches) : "";
  if (const auto* decode = std::get_if<DecodeStep>(&step)) {
    const int drafts = decode->draft_tokens();
    return fmt::format("decode, {} sequences per data-parallel rank, context {}{}{}",
                       grouped(decode->sequences_per_dp_rank), grouped(decode->context),
                       drafts == 0 ? "" : fmt::format(", {} draft token{} a sequence", drafts, drafts == 1 ? "" : "s"),
                       split);
  }
  const auto& prefill = std::get<PrefillStep>(step);
  return fmt::format("prefill, {} prompts per data-parallel rank of {} tokens{}{}",
                     grouped(prefill.sequences_per_dp_rank), grouped(prefill.prompt),
                     prefill.cached_prefix > 0 ? fmt::format(" after {} cached", grouped(prefill.cached_prefix)) : "",
                     split);
}

std::string heading(const StepResult& result) {
  const Scenario& scenario = result.scenario;
  const std::size_t nodes = result.cluster.nodes.value_or(1);
  std::string text = fmt::format("{} on {} x {} ({}, {} node{})\n", result.model_name, result.ranks,
                                 result.accelerator.name, result.cluster.name, nodes, nodes == 1 ? "" : "s");
  text += fmt::format("{}\n", step_text(scenario.step));
  text += fmt::format("attention DP{} x TP{}",
                      result.ranks / static_cast<std::size_t>(scenario.parallelism.tensor_parallel),
                      scenario.parallelism.tensor_parallel);
  const Precision& types = scenario.precision;
  const std::string other_types = fmt::format("{}, KV cache {}, activations {}",
                                              result.attention_weights == result.weights
                                                  ? ""
                                                  : fmt::format(", attention {}", name_of(result.attention_weights)),
                                              name_of(types.kv), name_of(types.activations));
  if (result.imbalance.empty()) {  // a dense model has no experts to place
    return text + fmt::format("\nweights {}{}\n", name_of(result.weights), other_types);
  }
  const Parallelism& parallelism = scenario.parallelism;
  text += fmt::format(
      ", experts EP{}{}, {}, dispatch {}\n", parallelism.expert_parallel(),
      parallelism.expert_tensor_parallel > 1 ? fmt::format(" x TP{}", parallelism.expert_tensor_parallel) : "",
      scenario.placement.file ? "placed by " + scenario.placement.file->resolved.filename().string()
                              : scenario.placement.strategy + " placement",
      name_of(scenario.dispatch.protocol));
  text += fmt::format("weights {}, experts {}{}, dispatch {}, combine {}\n", name_of(result.weights),
                      name_of(result.expert_weights), other_types, name_of(types.dispatch), name_of(types.combine));
  text += fmt::format("routing: {}\n", result.routing_provenance);
  return text;
}

std::string speed(const StepResult& result) {
  const double step = result.execution.end.duration().base();
  const double rate = result.new_tokens / step;
  std::string text = line("step time", to_text(seconds(step)));
  if (draft_tokens_of(result.scenario.step) > 0) {
    text += line("tokens per step", fmt::format("{:.3f} expected of each sequence", result.tokens_per_step));
    text += line("time per output token", to_text(seconds(step / result.tokens_per_step)));
  }
  text += line("tokens/s per GPU", grouped(std::llround(rate / static_cast<double>(result.ranks))));
  text += line("tokens/s in all", grouped(std::llround(rate)));
  for (const Metric& metric : step_metrics(result)) {
    if (metric.name == "cost_per_million_tokens") {
      text += line("cost per million tokens", fmt::format("{:.4g} USD", metric.value));
    }
  }
  return text;
}

std::string share_line(std::string_view label, Duration part, Duration whole) {
  return fmt::format("  {:<28}{:>11}  {:>7}\n", label, to_text(part), percent(part / whole));
}

std::string time_parts(const StepResult& result) {
  const Duration whole = result.execution.end.duration();
  const auto parts = attribution(result.execution);
  std::string text = "\nwhere the time went (mean over ranks)\n";
  for (std::size_t c = 0; c < kTimeCategories; ++c) {
    if (parts[c].ticks() > 0) {
      text += share_line(EnumNames<TimeCategory>::names[c].second, parts[c].duration(), whole);
    }
  }
  text += share_line("whole step", whole, whole);
  text += "\nby operator (mean over ranks, waits included)\n";
  Duration other;
  for (const OperatorTime& time : operator_times(result.execution, result.layers)) {
    if (time.part == StepPart::kDraft) {
      continue;
    }
    if (time.time / whole >= 0.005) {
      text += share_line(name_of(time.op), time.time, whole);
    } else {
      other += time.time;
    }
  }
  if (other > Duration{}) {
    text += share_line("others, each below 0.5 %", other, whole);
  }
  if (draft_tokens_of(result.scenario.step) > 0) {
    text += share_line("drafting, all of it", draft_time(result), whole);
  }
  return text;
}

std::string memory(const StepResult& result) {
  const std::size_t rank = fullest_rank(result);
  const MemoryFootprint& footprint = result.memory[rank];
  std::string text = fmt::format("\nHBM of the fullest rank ({}): {} of {}\n", rank, to_text(footprint.total()),
                                 to_text(result.accelerator.memory));
  for (const auto& [part, size] : footprint.parts()) {
    if (size.base() > 0.0) {
      text += fmt::format("  {:<28}{:>11}\n", part, to_text(size));
    }
  }
  return text;
}

std::string experts_and_network(const StepResult& result) {
  const Execution& execution = result.execution;
  std::string text = "\nexperts and network\n";
  if (!result.imbalance.empty()) {
    const ImbalanceSummary reported = reported_imbalance(result);
    text += line("load max/mean", fmt::format("{:.3f} mean, {:.3f} worst (layer {})", reported.mean, reported.worst,
                                              reported.worst_layer));
    if (result.imbalance.front().recording) {
      const ImbalanceSummary drawn = step_imbalance(result);
      text += line("  of the tokens drawn",
                   fmt::format("{:.3f} mean, {:.3f} worst (layer {})", drawn.mean, drawn.worst, drawn.worst_layer));
    }
  }
  if (result.router) {
    const RouterTotals totals = router_totals(*result.router, static_cast<std::size_t>(result.tokens));
    text += line("dropped by the router", fmt::format("{} of choices; {} of tokens go to no expert",
                                                      percent(totals.dropped), percent(totals.unserved)));
  }
  if (result.padding.computed > result.padding.routed) {
    text += line("padding", fmt::format("{} of the experts' rows",
                                        percent(1.0 - result.padding.routed / result.padding.computed)));
  }
  text += line("sent inside nodes", to_text(bytes(execution.bytes_intra_node)));
  text += line("sent across nodes", to_text(bytes(execution.bytes_inter_node)));
  const auto links = busiest_links(execution.link_bytes, result.link_capacity, execution.end.duration());
  if (!links.empty()) {
    const LinkUse& busiest = links.front();
    text += line("busiest link", fmt::format("{}, {} of {}, {} of the step", result.link_names[busiest.link],
                                             to_text(bytes(busiest.bytes)), to_text(result.link_capacity[busiest.link]),
                                             percent(busiest.utilisation)));
  }
  if (execution.distance) {
    const auto& [first, last, longer] = *execution.distance;
    const std::string stretch = first > 0 ? fmt::format("layers {} to {}", first - 1, last - 1) : "what it has";
    text += line("fidelity bound", fmt::format("no sharing of links; with it {} would take {} {}", stretch,
                                               percent(std::abs(longer)), longer < 0.0 ? "less" : "longer"));
  }
  return text;
}

std::string model(const StepResult& result) {
  std::string text = "\nmodel\n";
  double mfu = 0.0;
  double hfu = 0.0;
  double hbm = 0.0;
  for (const Metric& metric : step_metrics(result)) {
    mfu = metric.name == "mfu" ? metric.value : mfu;
    hfu = metric.name == "hfu" ? metric.value : hfu;
    hbm = metric.name == "hbm_utilisation" ? metric.value : hbm;
  }
  text += line("parameters", fmt::format("{}, {} active per token", short_count(result.parameters_total.total()),
                                         short_count(result.parameters_active.total())));
  text += line("work", fmt::format("{} as executed, HFU {}; MFU {}, HBM utilisation {}", to_text(result.execution.work),
                                   percent(hfu), percent(mfu), percent(hbm)));
  return text;
}

}  // namespace

std::string step_table(const StepResult& result) {
  return heading(result) + '\n' + speed(result) + time_parts(result) + memory(result) + experts_and_network(result) +
         model(result);
}

}  // namespace moesim
