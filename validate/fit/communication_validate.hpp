#pragma once

#include "sim/core/task_pool.hpp"
#include "validate/fit/communication_table.hpp"
#include "validate/fit/validate.hpp"

namespace moesim {

/// Predicts every row on the catalogue's cluster of `accelerator`: by operation and number of GPUs, nodes or ranks.
/// Dispatch and combine are whole, the exchange of counts before them included, which stands by itself as well. Rows on
/// eight nodes of DeepEP's normal kernels are left out: their exchange of counts takes between 0.1 and 17 ms for the
/// same load.
Validation validate_communication(const CommunicationTable& table, const KernelProfile& profile,
                                  const std::string& accelerator, const TaskPool& pool);

}  // namespace moesim
