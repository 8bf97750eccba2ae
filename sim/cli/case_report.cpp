#include "sim/cli/case_report.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "sim/cli/document_argument.hpp"
#include "sim/core/units.hpp"
#include "sim/report/number.hpp"

namespace moesim {

namespace {

std::string figure_text(const CaseOutcome& outcome, double value) {
  return outcome.unit() == "s"     ? to_text(seconds(value))
         : outcome.unit() == "B/s" ? to_text(bytes(value) / seconds(1.0))
         : outcome.unit() == "1"   ? fmt::format("{:.3f} x", value)
                                   : fmt::format("{} tokens/s", grouped(static_cast<std::int64_t>(value)));
}

std::string predicted_text(const CaseOutcome& outcome) {
  return outcome.predicted ? figure_text(outcome, *outcome.predicted) : "-";
}

std::string error_text(const CaseOutcome& outcome) {
  return outcome.predicted ? fmt::format("{:+.1f} %", 100.0 * *outcome.error()) : "-";
}

std::string limit_text(const CaseOutcome& outcome) {
  return fmt::format("{} {:.0f} %", outcome.of.relation == CaseRelation::kAtLeast ? "bound" : "+-",
                     100.0 * outcome.of.tolerance);
}

}  // namespace

std::vector<Document> case_documents(std::span<const std::string> names) {
  std::vector<Document> documents;
  for (const std::string& name : names) {
    documents.push_back(read_document_argument(name, "file of cases", case_catalogue(), {}));
  }
  if (names.empty()) {
    for (const std::string_view name : case_catalogue().names()) {
      documents.push_back(case_catalogue().find(name, {}));
    }
  }
  return documents;
}

std::size_t count_of(std::span<const CaseOutcome> outcomes, CaseVerdict verdict) {
  return static_cast<std::size_t>(std::count_if(
      outcomes.begin(), outcomes.end(), [&](const CaseOutcome& outcome) { return outcome.verdict == verdict; }));
}

bool all_as_expected(std::span<const CaseOutcome> outcomes) {
  return count_of(outcomes, CaseVerdict::kMiss) + count_of(outcomes, CaseVerdict::kFailed) == 0;
}

std::string case_summary(std::span<const CaseOutcome> outcomes) {
  const std::size_t waiting = count_of(outcomes, CaseVerdict::kWaiting);
  std::string text = fmt::format("{} of {} within their tolerance", count_of(outcomes, CaseVerdict::kWithin),
                                 outcomes.size() - waiting);
  if (const std::size_t failed = count_of(outcomes, CaseVerdict::kFailed); failed > 0) {
    text += fmt::format(", {} could not be run", failed);
  }
  return waiting > 0 ? text + fmt::format(", {} waiting", waiting) : text;
}

std::string case_table(std::span<const CaseOutcome> outcomes) {
  std::string text = fmt::format("{:<58}{:>17}{:>17}{:>10}{:>11}  {}\n", "published case", "published", "predicted",
                                 "error", "tolerance", "verdict");
  for (const CaseOutcome& outcome : outcomes) {
    text += fmt::format("{:<58}{:>17}{:>17}{:>10}{:>11}  {}\n", fmt::format("{}: {}", outcome.file, outcome.of.name),
                        figure_text(outcome, outcome.published()), predicted_text(outcome), error_text(outcome),
                        limit_text(outcome), name_of(outcome.verdict));
    for (const std::string& line : {outcome.note, outcome.verdict == CaseVerdict::kMiss ? outcome.of.remark : ""}) {
      if (!line.empty()) {
        text += fmt::format("  {}\n", line);
      }
    }
  }
  return text + case_summary(outcomes) + "\n";
}

std::string case_markdown(std::span<const CaseOutcome> outcomes) {
  std::string text =
      "| published case | published | predicted | error | tolerance | verdict |\n|---|---|---|---|---|---|\n";
  for (const CaseOutcome& outcome : outcomes) {
    text += fmt::format("| {}: {} | {} | {} | {} | {} | {}{} |\n", outcome.file, outcome.of.name,
                        figure_text(outcome, outcome.published()), predicted_text(outcome), error_text(outcome),
                        limit_text(outcome), name_of(outcome.verdict),
                        outcome.note.empty() ? "" : ": " + outcome.note.substr(0, outcome.note.find('\n')));
  }
  return text + "\n" + case_summary(outcomes) + ".\n";
}

Json case_rows(std::span<const CaseOutcome> outcomes) {
  Json rows = Json::array();
  for (const CaseOutcome& outcome : outcomes) {
    Json row = {{"file", outcome.file},
                {"case", outcome.of.name},
                {"source", outcome.source},
                {"conditions", outcome.conditions},
                {"conditions_of_case", outcome.of.conditions},
                {"published", outcome.published()},
                {"predicted", outcome.predicted ? Json(*outcome.predicted) : Json()},
                {"unit", std::string(outcome.unit())},
                {"error", outcome.predicted ? Json(*outcome.error()) : Json()},
                {"relation", std::string(name_of(outcome.of.relation))},
                {"tolerance", outcome.of.tolerance},
                {"verdict", std::string(name_of(outcome.verdict))}};
    for (const auto& [key, value] : {std::pair("remark", outcome.of.remark), std::pair("note", outcome.note)}) {
      if (!value.empty()) {
        row[key] = value;
      }
    }
    rows.push_back(std::move(row));
  }
  return rows;
}

}  // namespace moesim
