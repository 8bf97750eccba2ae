#pragma once

#include "models/architecture/architecture.hpp"
#include "models/architecture/huggingface_reader.hpp"

namespace moesim {

/// Sets the types of an architecture's weights, its layers known, by a checkpoint's `quantization_config`: which parts
/// are quantised, which are left in 16 bits. A way of quantising that no type stands for is a fault; what a type stands
/// for only nearly is among the architecture's remarks.
void read_quantization(const HuggingFaceReader& quantization, Architecture& architecture);

}  // namespace moesim
