#pragma once

#include "models/architecture/architecture.hpp"
#include "models/hardware/hardware.hpp"
#include "sim/core/quantity.hpp"
#include "sim/program/operators.hpp"

namespace moesim {

/// The work that a step of one attention group needs whatever way it is computed, by which MFU is defined (PaLM,
/// arXiv 2204.02311, appendix B): of the layers that run,
///   2·(weights that a token is multiplied with)·tokens + 2·heads·(d_qk + d_v)·(query–key pairs)
/// and 2·hidden·vocabulary per sampled token. Work that is done twice, or that a faster kernel does more of, is not in.
Flops model_flops(const Model& model, const BatchShape& batch);

/// Dense peak rate of the type in which weights of type `weights` are computed: its own, or fp8 for its blocked form,
/// else bf16, else the highest that the accelerator has.
FlopRate reference_peak(const Accelerator& accelerator, DataType weights);

}  // namespace moesim
