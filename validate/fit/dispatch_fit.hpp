#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <vector>

#include "models/kernels/communication.hpp"
#include "models/kernels/fit_errors.hpp"
#include "sim/core/task_pool.hpp"
#include "validate/fit/communication_bench.hpp"
#include "validate/fit/communication_table.hpp"

namespace moesim {

/// One direction of DeepEP's kernels, in one scale-up domain or over a network.
struct DispatchErrors {
  CommunicationSource source = CommunicationSource::kDeepEpNormal;
  StepOperator op = StepOperator::kDispatch;
  bool network = false;
  std::size_t rows = 0;
  std::optional<FitErrors> in_grid;      ///< other rows of shapes that were fitted
  std::optional<FitErrors> out_of_grid;  ///< shapes that were not: widths, experts, choices and nodes
};

struct DispatchFit {
  std::optional<DispatchTerms> low_latency;      ///< where tables of it were given
  std::optional<DispatchTerms> high_throughput;  ///< likewise
  std::vector<DispatchErrors> errors;
  std::vector<std::string> warnings;
};

/// Fits DispatchTerms to tables of DeepEP, each row run as the simulator runs it: those terms that the profile has are
/// moved until Σ |log(predicted / measured)| is least, by iteratively reweighted least squares with Levenberg's damping
/// over the logarithms of the terms. Terms of one domain are found on rows of one node first; those over a network,
/// with what both share held, on the others. Errors come from k folds of the rows and k of the shapes, each fitted
/// anew from a start that is off by a third in every term. Of one node only the table with most such rows is used:
/// versions of the library differ by factors there. Eight nodes of the normal kernels are left out, as in validation.
DispatchFit fit_dispatch(const std::vector<CommunicationTable>& tables, const std::string& accelerator,
                         const KernelProfile& profile, std::size_t folds, const TaskPool& pool);

}  // namespace moesim
