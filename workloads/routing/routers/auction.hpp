#pragma once

#include <cstddef>
#include <span>
#include <vector>

namespace moesim {

/// Assigns every token to one expert so that expert e has quota[e] of them (Σ = tokens) and the sum of scores [tokens,
/// experts] is within tokens·ε of the largest possible. Auction algorithm for similar objects: Bertsekas and Castañon
/// 1989, "The auction algorithm for the transportation problem", Annals of Operations Research 20.
std::vector<std::size_t> auction_assignment(std::span<const float> scores, std::size_t experts,
                                            std::span<const std::size_t> quota, double epsilon);

}  // namespace moesim
