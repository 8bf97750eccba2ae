#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "models/kernels/fitted.hpp"
#include "validate/fit/communication_table.hpp"

namespace moesim {

struct CommunicationFit {
  DomainTable terms;
  std::vector<std::string> warnings;
};

/// Fits the terms of collectives inside one scale-up domain to tables of one accelerator, one fit for each collective
/// and number of ranks. NCCL's tables give its ring and pairwise sends; rows that it may have reduced in the switch
/// (may_reduce_in_switch, from 32 MiB on) give the in-switch all-reduce; custom all-reduces up to 256 KiB one shot, up
/// to 8 MiB two, and from 32 MiB on what NCCL does. Throws ConfigError where the tables have no such rows.
CommunicationFit fit_communication(const std::vector<CommunicationTable>& tables, const std::string& accelerator,
                                   const KernelProfile& profile, std::size_t folds);

}  // namespace moesim
