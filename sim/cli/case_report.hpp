#pragma once

#include <span>
#include <string>
#include <vector>

#include "sim/config/document.hpp"
#include "validate/cases/published.hpp"

namespace moesim {

/// The files of cases that are named, in the catalogue or by path; all of the catalogue where there are no names.
/// Throws ConfigError.
std::vector<Document> case_documents(std::span<const std::string> names);

/// Published figures against predictions, in the order given: as rows of text, as Markdown, and as JSON rows.
std::string case_table(std::span<const CaseOutcome> outcomes);
std::string case_markdown(std::span<const CaseOutcome> outcomes);
Json case_rows(std::span<const CaseOutcome> outcomes);

/// "5 of 9 within their tolerance, 3 waiting".
std::string case_summary(std::span<const CaseOutcome> outcomes);

/// Whether none missed and none failed; those that wait do not count.
bool all_as_expected(std::span<const CaseOutcome> outcomes);
std::size_t count_of(std::span<const CaseOutcome> outcomes, CaseVerdict verdict);

}  // namespace moesim
