#include <fmt/format.h>

#include <filesystem>
#include <map>
#include <memory>

#include "sim/cli/commands.hpp"
#include "sim/cli/options.hpp"
#include "sim/core/file.hpp"
#include "sim/core/suggest.hpp"
#include "sim/placement/formats/expert_map.hpp"
#include "sim/report/placement_report.hpp"

namespace moesim {

namespace {

struct PlaceOptions : CommonOptions {
  std::string comparison;
  std::string write;
  std::optional<ExpertMapFormat> as;
  bool timing = false;
};

Document read_argument(const PlaceOptions& options) {
  const std::string& argument = options.comparison;
  std::error_code unused;
  const bool looks_like_name = argument.find('/') == std::string::npos && !argument.ends_with(".json");
  const bool named = looks_like_name && !std::filesystem::exists(argument, unused);
  if (named && !comparison_catalogue().contains(argument)) {
    throw ConfigError({argument, {}}, "expected a comparison file or the name of a comparison, found neither" +
                                          suggestion(argument, comparison_catalogue().names()));
  }
  Document document = named ? comparison_catalogue().find(argument, {argument, {}}) : Document::read(argument);
  for (const std::string& assignment : options.assignments) {
    document.set(assignment);
  }
  return document;
}

void place(const PlaceOptions& options) {
  if (options.write.empty() != !options.as) {
    throw ConfigError(
        {"moesim place", {}},
        fmt::format("expected --write FILE and --as FORMAT together, found {} alone", options.as ? "--as" : "--write"));
  }
  const Document document = read_argument(options);
  auto config = decode_document<PlacementComparisonConfig>(document);
  if (options.seed) {
    config.seed = *options.seed;
  }
  const TaskPool pool(options.thread_count());
  PlacementComparison result = compare_placements(config, {document.name(), {}}, pool);
  if (!document.folder().empty() || std::filesystem::exists(document.name())) {
    result.inputs.insert(result.inputs.begin(), {document.name(), sha256(read_file(document.name()))});
  }
  const ShowTiming timing = options.timing ? ShowTiming::kYes : ShowTiming::kNo;
  const std::string text = placement_json(result, timing).dump(2) + '\n';
  const std::string table = placement_table(result, timing);
  if (options.as) {
    write_file(options.write, write_expert_map(result.rows.front().placement, result.problem, *options.as));
  }
  if (!options.out.empty()) {
    const std::filesystem::path folder(options.out);
    write_file(folder / "result.json", text);
    write_file(folder / "result.txt", table);
  }
  for (const std::string& warning : result.warnings) {
    fmt::print(stderr, "warning: {}\n", warning);
  }
  fmt::print("{}", options.format == OutputFormat::kJson ? text : table);
}

}  // namespace

void add_place(CLI::App& app) {
  static const std::map<std::string, ExpertMapFormat> kFormats = [] {
    std::map<std::string, ExpertMapFormat> formats;
    for (const auto& [format, name] : EnumNames<ExpertMapFormat>::names) {
      formats.emplace(name, format);
    }
    return formats;
  }();
  auto options = std::make_shared<PlaceOptions>();
  CLI::App* command = app.add_subcommand("place", "Compare strategies of expert placement in time");
  command
      ->add_option("comparison", options->comparison,
                   "A moesim.placement-comparison/1 file, or the name of one that comes with the program")
      ->required();
  options->add_set(*command);
  options->add_seed(*command);
  options->add_threads(*command);
  options->add_out(*command);
  options->add_format(*command);
  command->add_option("--write", options->write, "Write the map of the fastest strategy on the first trace");
  command->add_option("--as", options->as, "Whose format: sglang, tensorrt-llm, vllm-ascend or eplb")
      ->transform(CLI::CheckedTransformer(kFormats))
      ->option_text("sglang|tensorrt-llm|vllm-ascend|eplb");
  command->add_flag("--timing", options->timing, "Also say how long each strategy took to decide");
  command->callback([options] { place(*options); });
}

}  // namespace moesim
