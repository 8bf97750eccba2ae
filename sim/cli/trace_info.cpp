#include <fmt/format.h>

#include <filesystem>
#include <future>
#include <string>
#include <vector>

#include "sim/cli/trace_arguments.hpp"
#include "sim/core/error.hpp"
#include "sim/core/file.hpp"
#include "sim/report/trace_report.hpp"
#include "workloads/routing/trace_sample.hpp"

namespace moesim {

namespace {

constexpr std::size_t kSampleTokens = 65536;  ///< for pairs of experts, which take k² times as long as counting

void add_tokens(TraceReport& report, const TokenTrace& trace, const TraceArguments& arguments) {
  const TaskPool pool(arguments.thread_count());
  report.tokens = trace.shape().tokens;
  if (trace.rows_with_duplicates() > 0) {
    report.notes.push_back(fmt::format("{} rows of k choices name an expert twice", trace.rows_with_duplicates()));
  }
  if (const std::uint64_t dropped = trace.scan().dropped; dropped > 0) {
    const RoutingShape& shape = trace.shape();
    report.notes.push_back(
        fmt::format("{:.4g} % of choices were dropped (-1): loads are of those that were not",
                    100.0 * static_cast<double>(dropped) / static_cast<double>(shape.tokens * shape.layers * shape.k)));
    if (arguments.pairs > 0) {
      throw ConfigError({arguments.file, {}},
                        "expected k experts for every token, which --pairs looks at, found dropped choices (-1)");
    }
  }
  if (arguments.batch_tokens > 0) {
    report.batch_tokens = std::min(arguments.batch_tokens, report.tokens);
    report.statistics.capacity = capacity_of_batches(trace, arguments.batch_tokens, pool);
  }
  if (arguments.pairs > 0) {
    const TraceSample sample = sample_of(trace, kSampleTokens);
    report.pairs = pair_statistics(sample.routing, arguments.pairs, pool);
    report.correlation = correlation_statistics(sample.routing, sample.starts);
  }
}

/// A recording and, where they are asked for, the hashes of its files. That of a single file is worked out while its
/// ids are looked at, which takes about as long.
struct Opened {
  Recording recording;
  std::vector<InputFile> inputs;
};

Opened open_with_hashes(const TraceArguments& arguments) {
  if (arguments.format != OutputFormat::kJson) {
    return {arguments.open(), {}};
  }
  std::future<std::string> ahead;
  std::error_code unused;
  if (std::filesystem::is_regular_file(arguments.file, unused)) {
    ahead = std::async(std::launch::async, [&] { return sha256_of_file(arguments.file); });
  }
  Opened opened{arguments.open(), {}};
  for (const std::filesystem::path& path : opened.recording.files) {
    const bool done = ahead.valid() && path == arguments.file;
    opened.inputs.push_back({path, done ? ahead.get() : sha256_of_file(path)});
  }
  return opened;
}

void info(const TraceArguments& arguments) {
  const Opened opened = open_with_hashes(arguments);
  const Recording& recording = opened.recording;
  TraceReport report;
  report.file = arguments.file;
  report.format = recording.format;
  report.inputs = opened.inputs;
  report.notes = recording.notes;
  {
    const CountTrace counts = counts_of(recording);
    report.experts = counts.experts;
    report.k = arguments.k_of(counts);
    report.statistics = statistics(counts, report.k);
  }
  if (const TokenTrace* trace = recording.tokens()) {
    add_tokens(report, *trace, arguments);
  } else if (arguments.pairs > 0 || arguments.batch_tokens > 0) {
    throw ConfigError({arguments.file, {}},
                      "expected choices of tokens, which --pairs and --batch-tokens look at, found counts only");
  }
  if (arguments.format == OutputFormat::kJson) {
    fmt::print("{}\n", trace_json(report).dump(2));
  } else {
    fmt::print("{}", trace_table(report));
  }
}

}  // namespace

TraceOptions TraceArguments::trace_options() const {
  TraceOptions options;
  if (!raw_shape.empty()) {
    options.raw = RawTraceShape{raw_shape.at(0), raw_shape.at(1), raw_shape.at(2), std::nullopt};
  }
  if (!sequence_lengths.empty()) {
    options.sequence_lengths = sequence_lengths;
  }
  if (!from.empty()) {
    options.format = from;
  }
  options.dropped = dropped;
  options.threads = thread_count();
  return options;
}

Recording TraceArguments::open() const { return open_recording(file, trace_options()); }

std::optional<std::size_t> TraceArguments::k_of(const CountTrace& counts) const {
  if (counts.k || top_k == 0) {
    return counts.k;
  }
  if (top_k > counts.experts) {
    throw ConfigError(
        {file, {}}, fmt::format("expected at most its {} experts per token, found --top-k {}", counts.experts, top_k));
  }
  return top_k;
}

void TraceArguments::add_reading(CLI::App& command) {
  command.add_option("file", file, "Recording: a file, or the folder that a recorder filled")->required();
  std::string names;
  for (const TraceFormat& known : trace_formats()) {
    names += (names.empty() ? "" : ", ") + std::string(known.name);
  }
  command.add_option("--from", from, "Its format, where it is not recognised: " + names);
  command.add_option("--sequence-lengths", sequence_lengths, "JSON array with the tokens of each sequence");
  command.add_option("--raw-shape", raw_shape, "LAYERS K EXPERTS of a raw file whose name does not say them")
      ->expected(3);
}

void TraceArguments::add_top_k(CLI::App& command) {
  command.add_option("--top-k", top_k, "Experts per token, for counts, which do not tell")->check(CLI::Range(1, 65535));
}

void TraceArguments::add_dropped(CLI::App& command) {
  command.add_flag("--dropped", dropped, "-1 stands for a choice that the router dropped");
}

void add_trace_info(CLI::App& trace, const std::shared_ptr<TraceArguments>& arguments) {
  CLI::App* command = trace.add_subcommand("info", "How unevenly experts and ranks are used");
  arguments->add_reading(*command);
  arguments->add_top_k(*command);
  command
      ->add_option("--pairs", arguments->pairs,
                   "Also so many pairs of experts that are chosen together, and how sequences and layers hang together")
      ->expected(0, 1)
      ->default_str("16")
      ->check(CLI::Range(1, 1 << 20));
  arguments->add_dropped(*command);
  command->add_option("--batch-tokens", arguments->batch_tokens, "Drop rates for batches of so many tokens")
      ->check(CLI::Range(1, 1 << 30));
  arguments->add_format(*command);
  arguments->add_threads(*command);
  command->callback([arguments] { info(*arguments); });
}

}  // namespace moesim
