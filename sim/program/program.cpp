#include "sim/program/program.hpp"

#include <span>
#include <variant>

namespace moesim {

std::uint32_t Exchange::add(RankId from, RankId to, double bytes, std::span<const RankId> starting_ranks) {
  transfers.push_back({from, to, bytes, static_cast<std::uint32_t>(starters.size()),
                       static_cast<std::uint32_t>(starting_ranks.size())});
  starters.insert(starters.end(), starting_ranks.begin(), starting_ranks.end());
  return static_cast<std::uint32_t>(transfers.size() - 1);
}

Program stages_of(const Program& program, std::uint32_t first, std::uint32_t last) {
  const auto within = [&](std::uint32_t stage) { return stage >= first && stage <= last; };
  Program part;
  part.kernels = program.kernels;
  part.stages = program.stages;
  for (const Exchange& exchange : program.exchanges) {
    part.exchanges.push_back(within(exchange.stage) ? exchange : Exchange());
  }
  for (const auto& stream : program.ranks) {
    auto& out = part.ranks.emplace_back();
    for (const Instruction& instruction : stream) {
      const auto* kernel = std::get_if<RunKernel>(&instruction);
      const auto* send = std::get_if<Send>(&instruction);
      const std::uint32_t stage = kernel != nullptr ? kernel->stage
                                  : send != nullptr ? program.exchanges[send->exchange].stage
                                                    : program.exchanges[std::get<Receive>(instruction).exchange].stage;
      if (within(stage)) {
        out.push_back(instruction);
      }
    }
  }
  return part;
}

}  // namespace moesim
