#include "sim/report/training_report.hpp"

#include <fmt/format.h>

#include <cmath>

#include "sim/config/document.hpp"
#include "sim/core/units.hpp"
#include "sim/report/number.hpp"
#include "sim/report/result_frame.hpp"
#include "sim/training/summary.hpp"

namespace moesim {

namespace {

FlopRate bf16_peak(const TrainingResult& result) {
  const auto found = result.accelerator.peak.find(DataType::kBf16);
  return found == result.accelerator.peak.end() ? FlopRate{} : found->second;
}

double per_gpu(const TrainingResult& result, Flops work) {
  return work.base() / result.step.duration().base() / static_cast<double>(result.training.parallelism.ranks);
}

std::string_view definition_of(TrainingTime time) {
  switch (time) {
    case TrainingTime::kCompute:
      return "kernels of passes whose work at the tensor cores' peak takes longer than their traffic at the HBM's";
    case TrainingTime::kMemory:
      return "kernels of passes whose traffic at the HBM's bandwidth takes longer than their work";
    case TrainingTime::kOverhead:
      return "launch and fixed times of kernels and exchanges, latency of paths";
    case TrainingTime::kExposedDispatch:
      return "waiting for tokens, or output gradients, that everybody has sent to the experts";
    case TrainingTime::kExposedCombine:
      return "waiting for results, or input gradients, that all experts have sent back";
    case TrainingTime::kExposedCollective:
      return "the same in collectives of tensor-parallel groups";
    case TrainingTime::kImbalanceWait:
      return "waiting for a rank of the expert-parallel group that has not sent yet, for the last of it to end a pass, "
             "and for ranks whose optimizer or parameters take longer";
    case TrainingTime::kBubble:
      return "no pass to run: waiting for another pipeline rank, sends included, or for it to have its gradients";
    case TrainingTime::kGradientReduce:
      return "reducing gradients after a pipeline rank's last pass, and the norm of all";
    case TrainingTime::kOptimizer:
      return "updating master weights and moments, casting parameters, zeroing gradients";
    case TrainingTime::kParameterGather:
      return "gathering parameters that passes wait for";
  }
  return {};
}

Json attribution_rows(const TrainingResult& result) {
  Json rows = Json::array();
  const auto parts = mean_times(result);
  for (std::size_t c = 0; c < kTrainingTimes; ++c) {
    const auto& [time, name] = EnumNames<TrainingTime>::names[c];
    rows.push_back({{"category", std::string(name)},
                    {"definition", std::string(definition_of(time))},
                    {"value", parts[c].duration().base()},
                    {"unit", "s"},
                    {"ticks", parts[c].ticks()}});
  }
  return rows;
}

Json stages_json(const TrainingResult& result) {
  Json rows = Json::array();
  for (std::size_t stage = 0; stage < result.layout.stages.size(); ++stage) {
    const Stage& of = result.layout.stages[stage];
    Json row = {{"stage", stage},
                {"rank", result.layout.schedule->rank_of(result.layout.shape, {static_cast<std::uint32_t>(stage), 0})},
                {"first_layer", of.first_layer},
                {"layers", of.layers()}};
    for (const auto& [pass, name] : EnumNames<Pass>::names) {
      if (const auto found = result.costs.find(PassKey{pass, result.kind_of_stage[stage], 0});
          found != result.costs.end()) {
        row[std::string(name)] = found->second.time.duration().base();
      }
    }
    rows.push_back(std::move(row));
  }
  return rows;
}

Json ranks_json(const TrainingResult& result) {
  Json rows = Json::array();
  for (std::size_t rank = 0; rank < result.ranks.size(); ++rank) {
    Json row = {{"pipeline_rank", rank}, {"hbm", result.memory[rank].total().base()}};
    Json in_flight = Json::array();
    for (const ChunkInFlight& chunk : result.in_flight[rank]) {
      in_flight.push_back({{"first_layer", chunk.first_layer}, {"micro_batches", chunk.micro_batches}});
    }
    row["in_flight"] = std::move(in_flight);
    for (std::size_t c = 0; c < kTrainingTimes; ++c) {
      row[std::string(EnumNames<TrainingTime>::names[c].second)] = result.ranks[rank].parts[c].duration().base();
    }
    rows.push_back(std::move(row));
  }
  return rows;
}

Json memory_rows(const TrainingResult& result) {
  Json rows = Json::array();
  for (const auto& [name, size] : result.memory[fullest_pipeline_rank(result)].parts()) {
    rows.push_back({{"part", std::string(name)}, {"value", size.base()}, {"unit", "B"}});
  }
  return rows;
}

/// What a step spends by pass, and beside passes.
struct Phase {
  std::string name;
  SimTime time;
};
std::vector<Phase> phases_of(const TrainingResult& result) {
  std::vector<Phase> phases;
  const auto passes = mean_passes(result);
  for (std::size_t pass = 0; pass < kPasses; ++pass) {
    phases.push_back({std::string(EnumNames<Pass>::names[pass].second), passes[pass]});
  }
  const auto parts = mean_times(result);
  for (const TrainingTime time : {TrainingTime::kBubble, TrainingTime::kGradientReduce, TrainingTime::kOptimizer,
                                  TrainingTime::kParameterGather}) {
    phases.push_back({std::string(name_of(time)), parts[static_cast<std::size_t>(time)]});
  }
  return phases;
}

std::string training_line(std::string_view label, const std::string& value) {
  return fmt::format("  {:<28}{}\n", label, value);
}
std::string training_share(std::string_view label, SimTime part, SimTime whole) {
  return fmt::format("  {:<28}{:>11}  {:>7}\n", label, to_text(part.duration()),
                     percent(part.duration() / whole.duration()));
}

std::string training_heading(const TrainingResult& result) {
  const Training& training = result.training;
  const TrainingParallelism& p = training.parallelism;
  std::string text = fmt::format("training of {} on {} x {} ({}, {} nodes)\n", result.model_name, p.ranks,
                                 result.accelerator.name, result.cluster.name, result.cluster.nodes.value_or(1));
  text += fmt::format("{} sequences of {} tokens a step, in {} micro-batches of {}\n",
                      grouped(training.batch.global_batch), grouped(training.batch.sequence_length),
                      result.layout.shape.micro_batches, training.batch.micro_batch);
  text += fmt::format("DP{} x TP{} x PP{}{}, {}; experts EP{} x DP{}\n", result.layout.data_parallel, p.tensor_parallel,
                      p.pipeline_parallel,
                      p.virtual_stages > 1 ? fmt::format(" of {} virtual stages", p.virtual_stages) : "",
                      training.schedule, p.expert_parallel, result.layout.stage_ranks / result.layout.group_ranks);
  text += fmt::format("dispatch {}, recompute {}, optimizer states {}\n", name_of(training.dispatch.protocol),
                      name_of(training.recompute), name_of(training.optimizer.states));
  return text + fmt::format("routing: {}; {} of {} micro-batches drawn and simulated, the step's take them in turn\n",
                            result.routing_provenance,
                            std::min<std::int64_t>(training.routing_samples,
                                                   static_cast<std::int64_t>(result.layout.shape.micro_batches)),
                            result.layout.shape.micro_batches);
}

std::string training_speed(const TrainingResult& result) {
  std::string text;
  for (const Metric& metric : training_metrics(result)) {
    if (metric.name == "step_time") {
      text += training_line("step time", to_text(seconds(metric.value)));
    } else if (metric.name == "tokens_per_second_per_gpu") {
      text += training_line("tokens/s per GPU", grouped(std::llround(metric.value)));
    } else if (metric.name == "tokens_per_second") {
      text += training_line("tokens/s in all", grouped(std::llround(metric.value)));
    } else if (metric.name == "cost_per_million_tokens") {
      text += training_line("cost per million tokens", fmt::format("{:.4g} USD", metric.value));
    }
  }
  const double causal = per_gpu(result, result.model_work);
  const double full = per_gpu(result, result.model_work + result.masked_work);
  const double peak = bf16_peak(result).base();
  const auto of_peak = [&](double rate) { return peak > 0.0 ? fmt::format(", MFU {}", percent(rate / peak)) : ""; };
  text += training_line("model TFLOP/s per GPU", fmt::format("{:.1f}{}", causal * 1e-12, of_peak(causal)));
  text += training_line("  attention not causal", fmt::format("{:.1f}{}", full * 1e-12, of_peak(full)));
  return text + training_line("pipeline bubble", percent(bubble_fraction(result)));
}

std::string stage_rows(const TrainingResult& result) {
  std::string text = fmt::format("\n  {:<13}{:>7}{:>12}{:>12}{:>9}{:>11}{:>11}\n", "pipeline rank", "layers", "passes",
                                 "bubble", "", "in flight", "HBM");
  for (std::size_t rank = 0; rank < result.ranks.size(); ++rank) {
    SimTime passes;
    for (const SimTime time : result.ranks[rank].passes) {
      passes += time;
    }
    std::size_t layers = 0;
    std::size_t in_flight = 0;
    for (const ChunkInFlight& chunk : result.in_flight[rank]) {
      layers += chunk.last_layer - chunk.first_layer;
      in_flight += chunk.micro_batches;
    }
    const SimTime bubble = result.pipeline.bubble(rank);
    text += fmt::format("  {:<13}{:>7}{:>12}{:>12}{:>9}{:>11}{:>11}\n", rank, layers, to_text(passes.duration()),
                        to_text(bubble.duration()), percent(bubble.duration() / result.pipeline.end.duration()),
                        in_flight, to_text(result.memory[rank].total()));
  }
  return text;
}

std::string training_memory(const TrainingResult& result) {
  const std::size_t rank = fullest_pipeline_rank(result);
  std::string text = fmt::format("\nHBM of the fullest pipeline rank ({}): {} of {}\n", rank,
                                 to_text(result.memory[rank].total()), to_text(result.accelerator.memory));
  for (const auto& [name, size] : result.memory[rank].parts()) {
    if (size.base() > 0.0) {
      text += fmt::format("  {:<28}{:>11}\n", name, to_text(size));
    }
  }
  return text;
}

}  // namespace

std::vector<Metric> training_metrics(const TrainingResult& result) {
  const double step = result.step.duration().base();
  const auto ranks = static_cast<double>(result.training.parallelism.ranks);
  const double rate = static_cast<double>(result.tokens) / step;
  const double peak = bf16_peak(result).base();
  const double causal = per_gpu(result, result.model_work);
  const double full = per_gpu(result, result.model_work + result.masked_work);
  std::vector<Metric> metrics{
      {"step_time", step, "s", "from one step's first pass, or the gathering that it waits for, to the next's"},
      {"tokens_per_second", rate, "tokens/s", "tokens of all sequences of a step / step_time"},
      {"tokens_per_second_per_gpu", rate / ranks, "tokens/s", "tokens_per_second / ranks"},
      {"tflops_per_gpu", causal * 1e-12, "TFLOP/s",
       "operations that the model needs (two per weight and token, or row of a routed expert, forward, four backward, "
       "LM "
       "head included, embedding not; attention causal; nothing that is computed again) / (step_time * ranks)"},
      {"tflops_per_gpu_not_causal", full * 1e-12, "TFLOP/s",
       "the same with attention of every token to all of its sequence, but in layers with windows"},
      {"flops", result.work.base(), "FLOP", "floating-point operations of all kernels of all passes of all ranks"},
      {"mfu", peak > 0.0 ? causal / peak : 0.0, "1", "tflops_per_gpu / dense bf16 peak, whatever type computes"},
      {"mfu_not_causal", peak > 0.0 ? full / peak : 0.0, "1", "tflops_per_gpu_not_causal / dense bf16 peak"},
      {"hfu", result.peak_time.base() / (step * ranks), "1",
       "operations of each GEMM and attention kernel as executed / the dense peak rate of the type it computes in, "
       "summed, / (step_time * ranks)"},
      {"bubble_fraction", bubble_fraction(result), "1",
       "time without a pass from the pipeline's first pass to its last, mean over pipeline ranks / that time"},
      {"pipeline_time", result.pipeline.end.duration().base(), "s", "from the first pass to the end of the last"},
      {"send_time", result.longest_send.duration().base(), "s",
       "activations of a micro-batch from one pipeline rank to the next, the slowest pair"},
      {"parameters_total", result.parameters_total.total(), "1", "weights of the model, computed from its shapes"},
      {"parameters_active", result.parameters_active.total(), "1",
       "weights that one token is multiplied with: k routed experts of each MoE layer; the embedding look-up is not "
       "counted, the LM head is"},
      {"hbm_peak_per_rank", result.memory[fullest_pipeline_rank(result)].total().base(), "B",
       "largest memory footprint of any rank"},
      {"bytes_intra_node", result.bytes_intra_node, "B",
       "payload of passes between GPUs of one scale-up domain, forwarded payload once per hop; all ranks"},
      {"bytes_inter_node", result.bytes_inter_node, "B", "payload of passes sent across the network; all ranks"},
      {"load_imbalance_mean", result.imbalance_mean, "1",
       "routed tokens per rank of an expert-parallel group, max over ranks / mean over ranks, mean over simulated "
       "layers and micro-batches"},
      {"load_imbalance_worst", result.imbalance_worst, "1", "the same, largest"},
  };
  if (result.training.price_per_gpu) {
    const double per_second = result.training.price_per_gpu->base() * ranks;
    metrics.push_back({"cost_per_million_tokens", per_second / rate * 1e6, "USD",
                       "price_per_gpu * ranks / tokens_per_second * 10^6"});
  }
  return metrics;
}

Json training_json(const TrainingResult& result) {
  const auto metrics = training_metrics(result);
  Json json = result_frame({.command = "train",
                            .seed = result.training.seed,
                            .scenario = Codec<Training>::encode(result.training),
                            .inputs = result.inputs,
                            .metrics = metrics,
                            .warnings = result.warnings});
  json["cluster"] = Codec<ClusterConfig>::encode(result.cluster);
  json["routing"] = result.routing_provenance;
  json["attribution"] = attribution_rows(result);
  json["phases"] = Json::array();
  for (const Phase& phase : phases_of(result)) {
    json["phases"].push_back({{"phase", phase.name}, {"value", phase.time.duration().base()}, {"unit", "s"}});
  }
  json["stages"] = stages_json(result);
  json["pipeline_ranks"] = ranks_json(result);
  json["memory"] = memory_rows(result);
  return json;
}

std::string training_table(const TrainingResult& result) {
  std::string text = training_heading(result) + '\n' + training_speed(result);
  text += "\nwhere the time went (mean over ranks)\n";
  const auto parts = mean_times(result);
  for (std::size_t c = 0; c < kTrainingTimes; ++c) {
    if (parts[c].ticks() > 0) {
      text += training_share(EnumNames<TrainingTime>::names[c].second, parts[c], result.step);
    }
  }
  text += training_share("whole step", result.step, result.step);
  text += "\nby pass (mean over ranks)\n";
  for (const Phase& phase : phases_of(result)) {
    if (phase.time.ticks() > 0) {
      text += training_share(phase.name, phase.time, result.step);
    }
  }
  text += result.ranks.size() > 1 ? stage_rows(result) : "";
  text += training_memory(result);
  text += fmt::format("\nmodel\n");
  text +=
      training_line("parameters", fmt::format("{}, {} active per token", short_count(result.parameters_total.total()),
                                              short_count(result.parameters_active.total())));
  text += training_line("load max/mean",
                        fmt::format("{:.3f} mean, {:.3f} worst", result.imbalance_mean, result.imbalance_worst));
  return text;
}

std::string pipeline_trace(const TrainingResult& result) {
  const auto microseconds = [](SimTime time) {
    return fmt::format("{}.{:06}", time.ticks() / 1'000'000, time.ticks() % 1'000'000);
  };
  std::string text = "{\"displayTimeUnit\":\"ms\",\"traceEvents\":[\n";
  const char* separator = "";
  for (std::size_t rank = 0; rank < result.pipeline.ranks.size(); ++rank) {
    text += fmt::format(R"({}{{"ph":"M","name":"thread_name","pid":0,"tid":{},"args":{{"name":"pipeline rank {}"}}}})",
                        separator, rank, rank);
    separator = ",\n";
    for (const PlacedItem& placed : result.pipeline.ranks[rank]) {
      const ScheduleItem& item = placed.item;
      const std::string other = item.pass == Pass::kForwardBackward
                                    ? fmt::format(R"(,"backward_stage":{},"backward_micro_batch":{})",
                                                  item.backward.stage, item.backward.micro_batch)
                                    : "";
      text += fmt::format(
          R"({}{{"ph":"X","name":"{} {}","cat":"{}","pid":0,"tid":{},"ts":{},"dur":{},"args":{{"stage":{},"micro_batch":{}{}}}}})",
          separator, name_of(item.pass), item.visit.micro_batch, name_of(item.pass), rank,
          microseconds(result.ends.gather_before + placed.begin), microseconds(placed.end - placed.begin),
          item.visit.stage, item.visit.micro_batch, other);
    }
  }
  return text + "\n]}\n";
}

}  // namespace moesim
