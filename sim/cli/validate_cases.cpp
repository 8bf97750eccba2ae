#include <fmt/format.h>

#include <memory>

#include "sim/cli/case_report.hpp"
#include "sim/cli/commands.hpp"
#include "sim/cli/deliver.hpp"
#include "sim/config/decode.hpp"
#include "sim/report/result_frame.hpp"

namespace moesim {

namespace {

struct CaseOptions : CommonOptions {
  std::vector<std::string> files;
};

Json cases_json(const CaseOptions& options, const std::vector<Document>& documents,
                const std::vector<CaseOutcome>& outcomes) {
  std::vector<InputFile> inputs;
  for (const Document& document : documents) {
    if (auto input = input_of(document)) {
      inputs.push_back(*std::move(input));
    }
  }
  const std::vector<Metric> metrics{
      {"cases", static_cast<double>(outcomes.size()), "1", "published figures"},
      {"within", static_cast<double>(count_of(outcomes, CaseVerdict::kWithin)), "1", "predicted within the tolerance"},
      {"missed", static_cast<double>(count_of(outcomes, CaseVerdict::kMiss)), "1", "predicted outside it"},
      {"failed", static_cast<double>(count_of(outcomes, CaseVerdict::kFailed)), "1", "could not be simulated"},
      {"waiting", static_cast<double>(count_of(outcomes, CaseVerdict::kWaiting)), "1",
       "of what the simulator does not have yet"}};
  Json json = result_frame({.command = "validate cases",
                            .seed = Scenario{}.seed,
                            .scenario = {{"files", options.files}},
                            .inputs = inputs,
                            .metrics = metrics,
                            .warnings = {}});
  json["cases"] = case_rows(outcomes);
  return json;
}

void validate_published(const CaseOptions& options, int& exit_code) {
  const std::vector<Document> documents = case_documents(options.files);
  std::vector<CaseFile> files;
  for (const Document& document : documents) {
    files.push_back(decode_document<CaseFile>(document));
  }
  const std::vector<CaseOutcome> outcomes = validate_cases(files, TaskPool(options.thread_count()));
  deliver(
      options,
      {cases_json(options, documents, outcomes), case_table(outcomes), {}, {{"cases.md", case_markdown(outcomes)}}});
  if (!all_as_expected(outcomes)) {
    exit_code = kCheckFailed;
  }
}

}  // namespace

void add_validate_cases(CLI::App& validate, int& exit_code) {
  auto options = std::make_shared<CaseOptions>();
  CLI::App* command = validate.add_subcommand(
      "cases", "Published runs: predicted against published. Exit code 1 where one is outside its tolerance");
  command->add_option("files", options->files, "Names of `moesim list cases`, or files of cases (default: all)");
  options->add_threads(*command);
  options->add_out(*command);
  options->add_format(*command);
  command->callback([options, &exit_code] { validate_published(*options, exit_code); });
}

}  // namespace moesim
