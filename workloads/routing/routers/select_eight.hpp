#pragma once

#include <cstddef>

#include "workloads/routing/routers/select.hpp"

/// The same selection with eight lanes (AVX2), for machines that have them and not sixteen.
namespace moesim::eight {

bool available();
/// Whether a rule's sizes are such that eight lanes fit: experts of a group a multiple of 8, and k, groups up to 8.
bool can_select(const SelectRule& rule);
void select(const SelectRule& rule, const float* scores, std::size_t tokens, ExpertIndex* out);

}  // namespace moesim::eight
