#include <fmt/format.h>

#include <memory>
#include <string_view>
#include <vector>

#include "sim/cli/commands.hpp"
#include "sim/cli/deliver.hpp"
#include "sim/config/describe.hpp"
#include "sim/core/file.hpp"
#include "sim/core/units.hpp"
#include "sim/report/error_table.hpp"
#include "sim/report/result_frame.hpp"
#include "validate/cases/serving.hpp"

namespace moesim {

namespace {

struct ServingOptions : CommonOptions {
  std::string table;
  std::string system;
  bool only_several_tokens = false;
};

std::string_view suffix_of(const ServingErrors& group) {
  return group.phases == ServerPhases::kDecode     ? ", decode servers"
         : group.tokens == TokensPerStep::kSeveral ? ", multi-token prediction"
                                                   : "";
}

std::string serving_table(const ServingValidation& result) {
  std::string text = error_heading("time per output token");
  for (const ServingErrors& group : result.groups) {
    text +=
        error_row(fmt::format("{} {} {}{}", group.system, group.backend, group.model, suffix_of(group)), group.errors);
  }
  if (result.all) {
    text += error_row("all", *result.all);
  }
  if (result.several_tokens) {
    text += error_row("all, multi-token prediction", *result.several_tokens);
  }
  if (result.disaggregated) {
    text += error_row("all decode servers", *result.disaggregated);
  }
  std::map<std::string, std::vector<std::string>> left_out;  // kind → details
  for (const SkippedRun& skipped : result.skipped) {
    left_out[skipped.kind].push_back(skipped.details.substr(0, skipped.details.find('\n')));
  }
  for (const auto& [kind, details] : left_out) {
    text += fmt::format("left out: {} x {}\n", details.size(), kind);
    for (const std::string& line : details) {
      text += line.empty() ? "" : fmt::format("  {}\n", line);
    }
  }
  return text;
}

Json serving_json(const ServingOptions& options, const ServingValidation& result) {
  const std::vector<InputFile> inputs{{options.table, sha256_of_file(options.table)}};
  std::vector<Metric> metrics{
      {"runs", static_cast<double>(result.predictions.size()), "1", "measured runs that were predicted"},
      {"left_out", static_cast<double>(result.skipped.size()), "1", "runs of the table that were not"}};
  if (result.all) {
    metrics.push_back(
        {"mape", result.all->mape, "1", "mean of |predicted / measured - 1| of the time per output token"});
    metrics.push_back({"bias", result.all->bias, "1", "mean of predicted / measured - 1"});
  }
  if (result.several_tokens) {
    metrics.push_back({"mape_multi_token_prediction", result.several_tokens->mape, "1",
                       "the same, of servers that predict several tokens a step"});
    metrics.push_back({"bias_multi_token_prediction", result.several_tokens->bias, "1",
                       "mean of predicted / measured - 1, of servers that predict several tokens a step"});
  }
  if (result.disaggregated) {
    metrics.push_back({"mape_disaggregated", result.disaggregated->mape, "1",
                       "the same, of servers that generate tokens of prompts which others read"});
    metrics.push_back(
        {"bias_disaggregated", result.disaggregated->bias, "1",
         "mean of predicted / measured - 1, of servers that generate tokens of prompts which others read"});
  }
  Json json = result_frame({.command = "validate serving",
                            .seed = Scenario{}.seed,
                            .scenario = {{"table", options.table}, {"system", options.system}},
                            .inputs = inputs,
                            .metrics = metrics,
                            .warnings = {}});
  json["groups"] = Json::array();
  for (const ServingErrors& group : result.groups) {
    Json row = {{"system", group.system},
                {"backend", group.backend},
                {"model", group.model},
                {"phases", group.phases == ServerPhases::kDecode ? "decode" : "all"}};
    if (group.tokens == TokensPerStep::kSeveral) {
      row["multi_token_prediction"] = true;
    }
    row.update(Codec<FitErrors>::encode(group.errors));
    json["groups"].push_back(std::move(row));
  }
  json["runs"] = Json::array();
  for (const ServingPrediction& run : result.predictions) {
    json["runs"].push_back({{"id", run.run.id},
                            {"profile", run.profile},
                            {"predicted", run.per_output_token.base()},
                            {"measured", run.run.per_output_token.base()},
                            {"error", run.error()},
                            {"decode_step", run.decode.base()},
                            {"prefill_step", run.prefill.base()},
                            {"measured_first_token", run.run.first_token.base()}});
    if (run.run.speculative) {
      json["runs"].back()["draft_tokens"] = run.run.speculative->draft_tokens;
      json["runs"].back()["tokens_per_step"] = run.tokens_per_step;
    }
  }
  json["left_out"] = Json::array();
  for (const SkippedRun& skipped : result.skipped) {
    json["left_out"].push_back({{"id", skipped.id}, {"reason", skipped.kind}, {"details", skipped.details}});
  }
  return json;
}

void validate_runs(const ServingOptions& options) {
  ServingTable table = read_serving_table(options.table);
  if (options.only_several_tokens) {
    std::erase_if(table.runs, [](const ServingRun& run) { return run.tokens() == TokensPerStep::kOne; });
    table.skipped.clear();
  }
  const ServingValidation result = validate_serving(table, options.system, TaskPool(options.thread_count()));
  deliver(options, {serving_json(options, result), serving_table(result), {}});
}

}  // namespace

void add_validate_serving(CLI::App& validate) {
  auto options = std::make_shared<ServingOptions>();
  CLI::App* command =
      validate.add_subcommand("serving", "Measured serving runs: time per output token, predicted against measured");
  command
      ->add_option("--table", options->table,
                   "Measured runs, CSV or CSV.gz with the columns of aiconfigurator's silicon_sample.csv")
      ->required();
  command->add_option("--system", options->system, "Only runs on this system, such as h200_sxm");
  command->add_flag("--multi-token-prediction", options->only_several_tokens,
                    "Only runs of servers that predict several tokens a step: a tenth of the time");
  options->add_threads(*command);
  options->add_out(*command);
  options->add_format(*command);
  command->callback([options] { validate_runs(*options); });
}

}  // namespace moesim
