#pragma once

#include <cstdint>
#include <span>

#include "models/architecture/architecture.hpp"
#include "models/hardware/hardware.hpp"
#include "sim/core/quantity.hpp"
#include "sim/program/operators.hpp"

namespace moesim {

/// The work that a step needs whatever way it is computed, by which MFU is defined (PaLM, arXiv 2204.02311, appendix
/// B).
struct ModelWork {
  Flops attention;  ///< and recurrences, with their matrices
  Flops rest;
  Flops experts;  ///< routed ones
};

/// Of `groups` attention groups with a batch each, of the layers that run:
///   attention = 2·(weights of its matrices)·tokens + 2·heads·(d_qk + d_v)·(query–key pairs)
///   rest = 2·(weights of dense blocks, shared experts and routers)·tokens, and 2·hidden·vocabulary per sampled token
///   experts = 2·(an expert's weights)·rows
/// `routed_rows`, [MoE layers that run], are the rows that experts were given over all ranks, without what only fills a
/// buffer or a tile: a router that drops tokens, or chooses fewer experts than the model was made for, needs less. Work
/// that is done twice, or that a faster kernel does more of, is not in.
ModelWork model_work(const Model& model, const BatchShape& batch, std::int64_t groups,
                     std::span<const double> routed_rows);

/// What attention to all keys of prompts would take beyond what a causal mask leaves of it; none where a window or an
/// indexer picks the keys.
Flops masked_attention_work(const Mixer& mixer, const BatchShape& batch);

/// Dense peak rate of the type in which weights of type `weights` are computed (multiplied_as, models/kernels), else
/// bf16, else the highest that the accelerator has.
FlopRate reference_peak(const Accelerator& accelerator, DataType weights);

}  // namespace moesim
