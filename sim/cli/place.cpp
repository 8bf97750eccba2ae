#include <fmt/format.h>

#include <map>
#include <memory>

#include "sim/cli/commands.hpp"
#include "sim/cli/deliver.hpp"
#include "sim/cli/document_argument.hpp"
#include "sim/config/decode.hpp"
#include "sim/config/document.hpp"
#include "sim/core/error.hpp"
#include "sim/core/file.hpp"
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

void place(const PlaceOptions& options) {
  if (options.write.empty() != !options.as) {
    throw ConfigError(
        {"moesim place", {}},
        fmt::format("expected --write FILE and --as FORMAT together, found {} alone", options.as ? "--as" : "--write"));
  }
  const Document document =
      read_document_argument(options.comparison, "comparison", comparison_catalogue(), options.assignments);
  auto config = decode_document<PlacementComparisonConfig>(document);
  if (options.seed) {
    config.seed = *options.seed;
  }
  const TaskPool pool(options.thread_count());
  PlacementComparison result = compare_placements(config, {document.name(), {}}, pool);
  put_first(document, result.inputs);
  const ShowTiming timing = options.timing ? ShowTiming::kYes : ShowTiming::kNo;
  if (options.as) {
    write_file(options.write, write_expert_map(result.rows.front().placement, result.problem, *options.as));
  }
  deliver(options, {placement_json(result, timing), placement_table(result, timing), result.warnings});
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
  options->add_simulation(*command);
  command->add_option("--write", options->write, "Write the map of the fastest strategy on the first trace");
  command->add_option("--as", options->as, "Whose format: sglang, tensorrt-llm, vllm-ascend or eplb")
      ->transform(CLI::CheckedTransformer(kFormats))
      ->option_text("sglang|tensorrt-llm|vllm-ascend|eplb");
  command->add_flag("--timing", options->timing, "Also say how long each strategy took to decide");
  command->callback([options] { place(*options); });
}

}  // namespace moesim
