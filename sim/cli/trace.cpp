#include <fmt/format.h>

#include <cmath>
#include <filesystem>
#include <memory>

#include "sim/cli/commands.hpp"
#include "sim/cli/options.hpp"
#include "sim/config/document.hpp"
#include "sim/core/error.hpp"
#include "sim/core/file.hpp"
#include "sim/core/suggest.hpp"
#include "sim/report/number.hpp"
#include "sim/report/version.hpp"
#include "workloads/routing/fit.hpp"
#include "workloads/routing/statistics.hpp"
#include "workloads/routing/write_trace.hpp"

namespace moesim {

namespace {

struct TraceArguments : CommonOptions {
  std::string file;
  std::string output;
  std::string sequence_lengths;
  std::string name;
  std::string source;
  std::string licence;
  std::size_t top_k = 0;
  std::vector<std::size_t> raw_shape;

  [[nodiscard]] TraceOptions trace_options() const {
    TraceOptions options;
    if (!raw_shape.empty()) {
      options.raw = RawTraceShape{raw_shape.at(0), raw_shape.at(1), raw_shape.at(2), std::nullopt};
    }
    if (!sequence_lengths.empty()) {
      options.sequence_lengths = sequence_lengths;
    }
    return options;
  }
  void add_reading(CLI::App& command) {
    command.add_option("file", file, "Counts (.json) or choices per token (.npy, raw .u8)")->required();
    command.add_option("--sequence-lengths", sequence_lengths, "JSON array with the tokens of each sequence");
    command.add_option("--raw-shape", raw_shape, "LAYERS K EXPERTS of a raw file whose name does not say them")
        ->expected(3);
  }
};

bool is_counts(const std::string& file) { return std::filesystem::path(file).extension() == ".json"; }

struct Recording {
  CountTrace counts;
  std::optional<std::size_t> k;
};

Recording read_recording(const TraceArguments& arguments) {
  if (is_counts(arguments.file)) {
    CountTrace counts = read_counts(arguments.file);
    if (arguments.top_k > counts.experts) {
      throw ConfigError({arguments.file, {}}, fmt::format("expected at most its {} experts per token, found --top-k {}",
                                                          counts.experts, arguments.top_k));
    }
    return {std::move(counts), arguments.top_k > 0 ? std::optional(arguments.top_k) : std::nullopt};
  }
  const TokenTrace trace = TokenTrace::open(arguments.file, arguments.trace_options());
  return {count(trace), trace.shape().k};
}

Json info_json(const std::string& file, const TraceStatistics& statistics) {
  Json json = {{"schema", "moesim.result/1"},
               {"command", "trace info"},
               {"version", std::string(version())},
               {"inputs", Json::array({{{"path", file}, {"sha256", sha256(MappedFile(file).bytes())}}})},
               {"layers", Json::array()},
               {"ranks", Json::array()}};
  for (const LayerStatistics& layer : statistics.layers) {
    json["layers"].push_back({{"layer", layer.layer},
                              {"experts", layer.experts},
                              {"tokens", layer.tokens ? Json(*layer.tokens) : Json(nullptr)},
                              {"choices", layer.choices},
                              {"max_over_mean", layer.max_over_mean},
                              {"gini", layer.gini},
                              {"entropy", layer.entropy}});
  }
  for (const RankStatistics& ranks : statistics.ranks) {
    json["ranks"].push_back({{"ranks", ranks.ranks},
                             {"max_over_mean_mean", ranks.max_over_mean_mean},
                             {"max_over_mean_worst", ranks.max_over_mean_worst}});
  }
  return json;
}

void info(const TraceArguments& arguments) {
  const Recording recording = read_recording(arguments);
  const TraceStatistics result = statistics(recording.counts, recording.k);
  if (arguments.format == OutputFormat::kJson) {
    fmt::print("{}\n", info_json(arguments.file, result).dump(2));
    return;
  }
  fmt::print("{}: {} MoE layers of {} experts\n\n", arguments.file, recording.counts.layers, recording.counts.experts);
  fmt::print("layer         choices  max/mean    gini  entropy (bits)\n");
  for (const LayerStatistics& layer : result.layers) {
    fmt::print("{:>5}  {:>14}  {:>8.3f}  {:>6.3f}  {:>14.3f}\n", layer.layer,
               layer.choices < 1e15 ? grouped(std::llround(layer.choices)) : fmt::format("{:.4g}", layer.choices),
               layer.max_over_mean, layer.gini, layer.entropy);
  }
  fmt::print(
      "\nload of ranks when experts are placed in contiguous blocks, max/mean\nranks    mean over layers    worst "
      "layer\n");
  for (const RankStatistics& ranks : result.ranks) {
    fmt::print("{:>5}  {:>18.3f}  {:>13.3f}\n", ranks.ranks, ranks.max_over_mean_mean, ranks.max_over_mean_worst);
  }
}

void fit_recording(const TraceArguments& arguments) {
  FitOptions options;
  options.name = arguments.name.empty() ? std::filesystem::path(arguments.file).stem().string() : arguments.name;
  options.source = arguments.source;
  options.licence = arguments.licence;
  options.trace = arguments.trace_options();
  if (is_counts(arguments.file) && arguments.top_k == 0) {
    throw ConfigError({"--top-k", {}}, "expected the experts per token, which counts do not tell; found none");
  }
  if (arguments.top_k > 0) {
    options.k = arguments.top_k;
  }
  const GeneratorParameters parameters = fit(arguments.file, options, TaskPool(arguments.thread_count()));
  write_file(arguments.output, encode_generator(parameters));
  fmt::print("{}: fitted to {}\n", arguments.output, arguments.file);
  for (const FitCheck& check : parameters.provenance ? parameters.provenance->checks : std::vector<FitCheck>{}) {
    fmt::print("  {:<52} recorded {:>9.4f}  generated {:>9.4f}\n", check.quantity, check.recorded, check.generated);
  }
}

}  // namespace

void add_trace(CLI::App& app) {
  CLI::App* trace = app.add_subcommand("trace", "Read, convert, fit and generate recordings of routing");
  trace->require_subcommand(1);
  auto arguments = std::make_shared<TraceArguments>();

  CLI::App* info_command = trace->add_subcommand("info", "How unevenly experts and ranks are used");
  arguments->add_reading(*info_command);
  info_command->add_option("--top-k", arguments->top_k, "Experts per token, for counts, which do not tell")
      ->check(CLI::Range(1, 65535));
  arguments->add_format(*info_command);
  info_command->callback([arguments] { info(*arguments); });

  CLI::App* convert_command =
      trace->add_subcommand("convert", "Rewrite a recording as .npy [tokens, layers, k] or as counts .json");
  arguments->add_reading(*convert_command);
  convert_command->add_option("-o,--output", arguments->output, "File to write, .npy or .json")->required();
  convert_command->callback([arguments] {
    convert(arguments->file, arguments->output, arguments->trace_options());
    fmt::print("{}: written\n", arguments->output);
  });

  CLI::App* fit_command = trace->add_subcommand("fit", "Parameters of a generator that routes like a recording");
  arguments->add_reading(*fit_command);
  fit_command->add_option("-o,--output", arguments->output, "File to write, .json")->required();
  fit_command->add_option("--top-k", arguments->top_k, "Experts per token, for counts, which do not tell")
      ->check(CLI::Range(1, 65535));
  fit_command->add_option("--name", arguments->name, "Name of the parameters");
  fit_command->add_option("--source", arguments->source, "Where the recording was published");
  fit_command->add_option("--licence", arguments->licence, "Its licence");
  arguments->add_threads(*fit_command);
  fit_command->callback([arguments] { fit_recording(*arguments); });

  add_trace_generate(*trace);
}

}  // namespace moesim
