#pragma once

#include <string>

#include "workloads/routing/types.hpp"

namespace moesim {

/// The bytes of a .npy file of [tokens, layers, k]: as npy_bytes writes it where every slot has an expert; else int16
/// (int32 above 32,767 experts) with −1 in the empty slots.
std::string npy_of_choices(const StepRouting& step);

}  // namespace moesim
